"""What is said of a record set whose splits differ from what was asked for."""

import pytest

from pneumodet.data import cautions
from pneumodet.data.manifest import Grouping, Manifest, SplitEntry


def made(*, val=(29, 60), test=(29, 60), **split):
    """Return a manifest of 193 patients; ``val`` and ``test`` are (patients, exams with pneumonia)."""
    there = {"train": (193 - val[0] - test[0], 400), "val": val, "test": test}
    entries = {
        name: SplitEntry(
            exams=4 * patients, patients=patients, positive_exams=positive, boxes=positive, annotations="", annotations_sha256="", shards=()
        )
        for name, (patients, positive) in there.items()
    }
    return Manifest(
        label_map={},
        val_fraction=0.15,
        test_fraction=0.15,
        splits=entries,
        split=Grouping(by="patient map", patients=193, patients_with_several_exams=90, **split),
    )


@pytest.mark.parametrize(
    ("sizes", "named"),
    [
        pytest.param({}, None, id="as asked for"),
        pytest.param({"val": (34, 60)}, None, id="near enough"),
        pytest.param({"test": (19, 60)}, "test has 9.8% of the patients in place of 15.0%: ", id="far off"),
        pytest.param({"val": (29, 19)}, "val has 19 exams with pneumonia: ", id="few positives"),
        pytest.param(
            {"val": (40, 60), "test": (19, 7)},
            "val has 20.7% of the patients in place of 15.0%; test has 9.8% of the patients in place of 15.0%; test has 7 exams with pneumonia: ",
            id="one line",
        ),
    ],
)
def test_a_split_far_from_its_share_is_named_with_the_remedy(sizes, named):
    texts = cautions.of(made(**sizes))
    assert [text.startswith(named) and text.endswith("--stratify class deals them out evenly.") for text in texts] == (
        [True] if named else []
    )


@pytest.mark.parametrize("decided", [{"folds": 5}, {"stratified_by": ("class",)}, {"given": 20}, {"own": ("test",)}])
def test_nothing_is_said_where_somebody_else_dealt(decided):
    assert cautions.of(made(test=(19, 7), **decided)) == []
