"""What a user should know of a record set before training on it, a sentence each.

for text in cautions.of(manifest): print(text)
"""

from collections.abc import Iterator

from pneumodet.data import grouping
from pneumodet.data.manifest import IMAGE_NOTE, Manifest
from pneumodet.dicom import header_facts


def of(manifest: Manifest) -> list[str]:
    """Return the sentences; none where nothing is doubtful."""
    return [*_of_patients(manifest), *_of_splits(manifest), *_of_pixels(manifest)]


def _of_patients(manifest: Manifest) -> Iterator[str]:
    split = manifest.split
    # the mistake that matters most: patients on both ends of a split flatter every later figure
    if split.by == grouping.BY_EXAM:
        yield (
            "split by patientId, which in RSNA's files is an exam; 4,355 of its patients have several exams, so that a patient may be in "
            "train and in val, and validation then flatters the model. Give --patient-map."
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
    for name, counts in manifest.splits.items():
        if not counts.exams:
            yield f"{name} has no exam."
        elif not counts.positive_exams:
            yield f"{name} has no exam with pneumonia."


def _of_pixels(manifest: Manifest) -> Iterator[str]:
    count = manifest.counts.get(f"{IMAGE_NOTE}{header_facts.BURNED_IN_NOTE}", 0)
    if manifest.pseudonyms and count:
        yield (
            f"{count:,} images say that they have writing burned in (BurnedInAnnotation YES), which may name the patient: --pseudonymize replaces ids "
            "and leaves pixels as they are. See to these images before the records are passed on."
        )
