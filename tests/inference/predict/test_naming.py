"""Ids of predicted radiographs: no two have one, the next run gives the same, and labels are known again."""

import shutil

import numpy as np
import pydicom
import pytest

from pneumodet.data import listing, synthetic
from pneumodet.inference.predict import naming
from pneumodet.inference.predict.naming import SAME, Identities


def write(path, *, patient_id="somebody", seed=0, **elements):
    path.parent.mkdir(parents=True, exist_ok=True)
    synthetic.write_dicom(path, np.full((8, 8), seed, np.uint8), patient_id=patient_id, rng=np.random.default_rng(seed))
    if elements:
        dataset = pydicom.dcmread(path)
        for keyword, value in elements.items():
            setattr(dataset, keyword, value)
        dataset.save_as(path)
    return path


def named(folder, known=()):
    """Return (path below the folder -> id, refused, notes)."""
    listed, _ = listing.candidates(folder, known, images=True)
    result = naming.name(listed, known=known)
    of_source = {one.source: one.path for one in listed}
    return {of_source[source]: exam for exam, source in result.exams}, result.refused, result.notes


def empty(folder, *paths):
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"")


@pytest.mark.parametrize(
    ("paths", "ids"),
    [
        pytest.param(["a.dcm", "deep/b.png"], ["a", "b"], id="names that say it"),
        pytest.param(
            ["PAT1/CR Chest/CR000000.dcm", "PAT2/CR Chest/CR000000.dcm", "other.dcm"],
            ["PAT1/CR Chest/CR000000", "PAT2/CR Chest/CR000000", "other"],
            id="a CD",
        ),
        pytest.param(["a.dcm", "more/a.dcm"], ["a", "more/a"], id="the top keeps its name"),
        pytest.param(["a.dcm", "a.png", "b/a.png"], ["a.dcm", "a.png", "b/a"], id="suffixes"),
        pytest.param(["1.2.3", "x/1.2.3"], ["1.2.3", "x/1.2.3"], id="UIDs"),
        # the first file's suffix is .dcm, so that its stem is what the second one needs its suffix for
        pytest.param(["a.png.dcm", "a.png", "a.dcm"], ["a.dcm", "a.png (2)", "a.png"], id="a name that is another's"),
    ],
)
def test_ids_are_unique_and_depend_on_names_alone(tmp_path, paths, ids):
    empty(tmp_path, *paths)
    exams, refused, notes = named(tmp_path)
    assert [exams[path] for path in sorted(paths)] == ids
    assert refused == []
    assert bool(notes) == any("/" in one or "." in one for one in ids if one not in ("1.2.3",))


def test_what_is_said_of_paths(tmp_path):
    empty(tmp_path, "1/view1_frontal.jpg", "2/view1_frontal.jpg", "2/view2_lateral.jpg")
    _, _, notes = named(tmp_path)
    assert notes == [
        "2 radiographs whose file name does not say which one it is are called by the path below the input, as 1/view1_frontal."
    ]


def test_one_label_and_two_views(tmp_path):
    write(tmp_path / "1.dcm", patient_id="P1", seed=1, ViewPosition="LL")
    write(tmp_path / "2.dcm", patient_id="P1", seed=2, ViewPosition="PA")
    assert named(tmp_path, {"P1"}) == ({"2.dcm": "P1", "1.dcm": "1"}, [], [])


@pytest.mark.parametrize("views", [("PA", "PA"), ("", "PA"), ("", "")])
def test_one_label_that_could_mean_two(tmp_path, views):
    for seed, view in enumerate(views):
        write(tmp_path / str(seed) / "IM1.dcm", patient_id="P1", seed=seed, ViewPosition=view)
    exams, refused, notes = named(tmp_path, {"P1"})
    assert (exams, refused) == ({"0/IM1.dcm": "0/IM1", "1/IM1.dcm": "1/IM1"}, [])
    assert "1 id of the labels could mean several radiographs" in notes[0]
    assert "the first is P1: 0/IM1.dcm and 1/IM1.dcm. Label them" in notes[0]


def test_a_file_of_the_labels_name_is_what_they_mean_and_no_other_has_that_id(tmp_path):
    write(tmp_path / "exam.dcm", patient_id="exam", seed=1)
    write(tmp_path / "a.dcm", patient_id="exam", seed=2)
    empty(tmp_path, "exam.png")
    assert named(tmp_path, {"exam"})[0] == {"exam.dcm": "exam", "a.dcm": "a", "exam.png": "exam.png"}


def test_a_copy_does_not_take_a_labels_place(tmp_path):
    write(tmp_path / "exam.dcm", patient_id="exam", seed=1)
    shutil.copy(tmp_path / "exam.dcm", tmp_path / "a.dcm")
    exams, refused, _ = named(tmp_path, {"exam"})
    assert (exams, refused) == ({"exam.dcm": "exam"}, [("a.dcm", SAME + "exam")])


def test_own_captures_are_not_what_a_label_means(tmp_path):
    write(tmp_path / "1.dcm", patient_id="P1", seed=1, Manufacturer="pneumodet")
    write(tmp_path / "2.dcm", patient_id="P1", seed=2)
    assert named(tmp_path, {"P1"}) == ({"2.dcm": "P1"}, [("1.dcm", "it was made by pneumodet itself")], [])


def test_identities():
    assert naming.identity_of(b"a", "1.2.3") == naming.identity_of(b"b", "1.2.3")
    assert naming.identity_of(b"a", None) == naming.identity_of(b"a", "no UID") != naming.identity_of(b"b", "")
    seen = Identities({"left", "right"})
    seen.add("x", "left")
    assert (seen.first_of("x", "other"), seen.first_of("x", "left"), seen.first_of("y", "other")) == ("left", None, None)
    assert seen.first_of("x", "right") is None, "two exams of the labels stay two"
