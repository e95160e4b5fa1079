"""The families of models that are exported.

subject = of_run(Path("workspace/my_classifier"))
"""

from pathlib import Path

from pneumodet.core import runs
from pneumodet.core.errors import ConfigError
from pneumodet.export.subject import Subject
from pneumodet.inference import card as cards
from pneumodet.inference import exported


def of_run(folder: Path) -> Subject:
    """Return what is exported of a run, which was not opened yet.

    Raises:
      ConfigError: runs of its family are not exported, or its settings cannot be read.
      DataError: its record cannot be read.
      CheckpointError: it has no checkpoint.
    """
    family = runs.family_of(folder) or runs.DETECTION
    if family == runs.CLASSIFICATION:
        from pneumodet.export.classifier import ClassifierSubject

        return ClassifierSubject(folder)
    if family == runs.SEGMENTATION:
        raise ConfigError(exported.of_u_net(folder))
    if family != runs.DETECTION:
        raise ConfigError(
            f"{folder.name} is a run of the family {family}, which is not exported; there are exports of {' and '.join(cards.FAMILIES)}."
        )
    from pneumodet.export.detector import DetectorSubject

    return DetectorSubject(folder)
