"""One label, several images."""

import json
import shutil

import pydicom
import pytest
from PIL import Image
from pydicom.uid import generate_uid
from record_making import convert, records

from pneumodet.core.errors import DataError
from pneumodet.data import annotations, sources
from pneumodet.dicom import reading

LABELS = "patientId,x,y,width,height,Target\nPAT,10,10,20,20,1\nOTHER,,,,,0\n"


@pytest.fixture
def several(synthetic, tmp_path):
    """Return a function that writes images of the patient PAT, name -> (ViewPosition, another object than that of its exam), and converts."""
    exams = iter(annotations.read_rsna_labels(synthetic.labels).exams)
    folder = tmp_path / "in"
    labels = tmp_path / "labels.csv"
    labels.write_text(LABELS)

    def write(name, view, patient="PAT", uid=None):
        dataset = pydicom.dcmread(synthetic.dicom_dir / f"{next(exams)}.dcm")
        dataset.PatientID, dataset.ViewPosition, dataset.SOPInstanceUID = patient, view, uid or generate_uid(entropy_srcs=[name])
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset.save_as(path)
        return path

    def run(files, **arguments):
        write("other.dcm", "PA", "OTHER")
        written = [write(name, *more) for name, more in files.items()]
        manifest = convert(synthetic, tmp_path / "out", dicom_dir=folder, labels=labels, **arguments)
        return written, manifest, {one.patient_id: one.encoded for one in records(tmp_path / "out")}

    run.folder, run.labels = folder, labels
    return run


@pytest.mark.parametrize("lateral", ["LL", "LATERAL"])
def test_the_frontal_one_is_taken(several, lateral, tmp_path):
    (_, frontal), manifest, images = several({"a/1.dcm": (lateral,), "b/2.dcm": ("AP",)})
    (entry,) = [
        image for name in ("train", "val") for image in json.loads((tmp_path / "out" / f"instances_{name}.json").read_text())["images"]
        if image["file_name"] == "PAT"
    ]  # fmt: skip
    assert entry["sop_instance_uid"] == reading.header(sources.Source(str(frontal), size=1)).sop_instance_uid
    assert manifest["skipped"] == {"file refused": ["1.dcm: a second file of exam PAT"]}
    assert len(images) == 2


@pytest.mark.parametrize(
    ("views", "why"),
    [
        pytest.param(("AP", "PA"), "more than one may be the frontal one", id="two frontal ones"),
        pytest.param(("", "PA"), "more than one may be the frontal one", id="one is not known"),
        pytest.param(("", ""), "none of them is said to be frontal", id="none is known"),
        pytest.param(("LL", "RL"), "none of them is said to be frontal", id="two lateral ones"),
    ],
)
def test_where_nobody_can_know_the_exam_is_left_out_and_both_are_named(several, views, why):
    several.labels.write_text(LABELS + "THIRD,1,1,5,5,1\n")
    files = {f"{name}.dcm": (view,) for name, view in zip("ab", views, strict=True)}
    _, manifest, images = several(files | {"third.dcm": ("PA", "THIRD")})
    (said,) = manifest["skipped"]["several images of one label"]
    assert said.startswith(f"PAT: a.dcm, b.dcm are 2 images of one label, and {why}; label each image by its own file name or by")
    assert sorted(images) == ["OTHER", "THIRD"]
    assert "label without a DICOM" not in manifest["skipped"]


def test_pseudonyms_do_not_name_the_files(several):
    several.labels.write_text(LABELS + "THIRD,1,1,5,5,1\n")
    _, manifest, _ = several({"PAT-a.dcm": ("",), "PAT-b.dcm": ("",), "third.dcm": ("PA", "THIRD")}, pseudonym_key=b"k" * 32)
    assert "PAT" not in json.dumps(manifest)
    assert len(manifest["skipped"]["several images of one label"]) == 1


@pytest.mark.parametrize("uid", [generate_uid(entropy_srcs=["same"]), "no UID"], ids=["UID", "malformed"])
def test_a_copy_is_no_second_image(several, uid):
    shutil.rmtree(several.folder, ignore_errors=True)
    _, manifest, images = several({"a.dcm": ("", "PAT", uid), "b.dcm": ("", "PAT", uid)})
    assert manifest["skipped"] == {"file refused": ["b.dcm: a second file of exam PAT"]}
    assert "PAT" in images


def test_a_file_of_the_labels_name_goes_before_headers(several):
    _, manifest, images = several({"PAT.dcm": ("",), "b.dcm": ("",)})
    assert manifest["skipped"] == {"file refused": ["b.dcm: a second file of exam PAT"]}
    assert "PAT" in images


def test_equal_names_in_several_folders_are_several_images(several, synthetic, tmp_path):
    several.folder.mkdir()
    for place, gray in (("x", 10), ("y", 200)):
        (several.folder / place).mkdir()
        Image.new("L", (64, 64), gray).save(several.folder / place / "PAT.png")
    Image.new("L", (64, 64)).save(several.folder / "OTHER.png")
    with pytest.raises(DataError, match=r"1 several images of one label .*x/PAT\.png, y/PAT\.png are 2 images") as caught:
        convert(synthetic, tmp_path / "out", dicom_dir=several.folder, labels=several.labels, strict=True)
    assert "file refused" not in str(caught.value)
