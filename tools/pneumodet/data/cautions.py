"""What a user should know of a record set before training on it, a sentence each.

for text in cautions.of(manifest): print(text)
"""

from collections.abc import Iterator

from pneumodet.core.formatting import counted
from pneumodet.data import grouping, splits
from pneumodet.data.manifest import IMAGE_NOTE, Manifest
from pneumodet.dicom import header_facts

FAR_OFF = 0.25
"""A split whose share of patients differs by more than this part of the share asked for is named."""

_WITHOUT = {splits.TEST: ", or --test-fraction 0 to do without"}
"""Split -> how to have none."""


def of(manifest: Manifest) -> list[str]:
    """Return the sentences; none where nothing is doubtful."""
    return [*_of_patients(manifest), *_of_splits(manifest), *_of_pixels(manifest)]


def _of_patients(manifest: Manifest) -> Iterator[str]:
    split = manifest.split
    # the mistake that matters most: patients on both ends of a split flatter every later figure
    if split.by == grouping.BY_EXAM:
        yield (
            "split by patientId, which in RSNA's files is an exam; 4,355 of its patients have several exams, so that a patient may be in "
            "train and in val or test, whose figures then flatter the model. Give --patient-map."
        )
    if same := split.same_image:
        yield (
            f"{len(same)} groups of exams of different patients share one image across splits (first: {same[0][0]} and {same[0][1]}; "
            "all are in manifest.json). Say --quality exclude."
        )
    # a column or tag that is unique for each exam passes for a patient and changes nothing
    if split.by != grouping.BY_EXAM and not split.patients_with_several_exams and (split.patients or 0) > 1:
        yield f"by the {split.by} no patient has more than one exam. In RSNA's files PatientID names the exam; is this so here?"


def _of_splits(manifest: Manifest) -> Iterator[str]:
    patients = counted(manifest.split.patients or 0, "patient")
    for name, counts in manifest.splits.items():
        share, without = getattr(manifest, f"{name}_fraction", None), _WITHOUT.get(name, "")
        flag = f" or a larger --{name}-fraction" if share else ""
        if not counts.exams and share:
            yield f"{name} has no exam: {patients} are too few for a share of {share:g}. Give another --seed{flag}{without}."
        elif not counts.exams:
            yield f"{name} has no exam."
        elif not counts.positive_exams:
            yield f"{name} has no exam with pneumonia, so that most figures on it are undefined. Give --stratify class{flag}{without}."
    if uneven := list(_uneven(manifest)):
        yield (
            f"{'; '.join(uneven)}: which split a patient is in depends on the patient alone, so that shares of few patients differ from those asked for. "
            "--stratify class deals them out evenly."
        )


def _uneven(manifest: Manifest) -> Iterator[str]:
    """Yield what differs in splits that were dealt by patient alone; nothing where a file, the data set or strata decided, nor of folds."""
    from pneumodet.data.box_audit import FEW_POSITIVES  # here, since it needs packages that prediction does without

    split = manifest.split
    if split.folds or split.stratified_by or split.given or split.own or not split.patients:
        return
    for name in (splits.VAL, splits.TEST):
        counts, asked = manifest.splits.get(name), getattr(manifest, f"{name}_fraction")
        if not counts or not asked or not counts.positive_exams:
            continue  # of an empty one there is a sentence already
        share = counts.patients / split.patients
        if abs(share - asked) > FAR_OFF * asked:
            yield f"{name} has {share:.1%} of the patients in place of {asked:.1%}"
        if counts.positive_exams < FEW_POSITIVES:
            yield f"{name} has {counted(counts.positive_exams, 'exam')} with pneumonia"


def _of_pixels(manifest: Manifest) -> Iterator[str]:
    count = manifest.counts.get(f"{IMAGE_NOTE}{header_facts.BURNED_IN_NOTE}", 0)
    if manifest.pseudonyms and count:
        yield (
            f"{count:,} images say that they have writing burned in (BurnedInAnnotation YES), which may name the patient: --pseudonymize replaces ids "
            "and leaves pixels as they are. See to these images before the records are passed on."
        )
