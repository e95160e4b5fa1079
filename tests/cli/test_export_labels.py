"""The command export_labels, as it is typed."""

import json
import shlex
import subprocess
import sys

import pytest

from pneumodet.cli import export_labels, make_tfrecords
from pneumodet.core import paths
from pneumodet.data import conversion, formats
from pneumodet.data.settings import Inputs

SCRIPT = paths.PROJECT_ROOT / "tools" / "export_labels.py"


@pytest.fixture(scope="module")
def records(synthetic, tmp_path_factory):
    """Return a record set, not to be changed."""
    folder = tmp_path_factory.mktemp("records") / "set"
    conversion.convert(Inputs(dicom_dir=synthetic.dicom_dir, labels=synthetic.labels), folder)
    return folder


@pytest.mark.parametrize(
    ("format", "labels"),
    [
        pytest.param("coco", "instances.json", id="coco"),
        pytest.param("voc", "annotations", id="voc"),
        pytest.param("csv", "labels.csv", id="csv"),
        pytest.param("rsna", "labels.csv", id="rsna"),
    ],
)
def test_says_where_everything_lies(records, tmp_path, capsys, format, labels):
    folder = tmp_path / "out"
    assert export_labels.main(["--data", str(records), "--format", format, "--output-dir", str(folder), "--images"]) == 0
    card = json.loads((folder / "label_export.json").read_text())
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[0] == f"Labels:  {folder / labels} (12 exams, {card['boxes']} boxes, {card['negatives']} exams without a finding)"
    assert lines[1:3] == [f"Images:  {folder / 'images'}", f"Splits:  {folder / 'split.csv'}"]
    assert lines[3].startswith("Next: ")
    again = lines[3].partition("python tools/make_tfrecords.py ")[2]
    assert make_tfrecords.main([*shlex.split(again), "--workers", "1"]) == 0, "it can be pasted"
    made = json.loads((tmp_path / "out_records" / "manifest.json").read_text())
    assert sum(split["boxes"] for split in made["splits"].values()) == card["boxes"]
    capsys.readouterr()
    assert (len(lines), captured.err) == (4, "")
    assert len(formats.read_labels(folder / labels).exams) == len(list((folder / "images").iterdir())) == 12


def test_without_images_and_with_underscores(records, tmp_path, capsys):
    flags = [f"--data={records}", "--format=csv", f"--output_dir={tmp_path / 'out'}"]
    assert export_labels.main(flags) == 0
    assert "Images:" not in capsys.readouterr().out
    assert not (tmp_path / "out" / "images").exists()
    assert export_labels.main(flags) == 2
    assert "Give --overwrite to replace it" in capsys.readouterr().err
    assert export_labels.main([*flags, "--overwrite"]) == 0


def test_what_is_no_record_set_is_one_line_and_exit_code_2(tmp_path, capsys):
    assert export_labels.main(["--data", str(tmp_path), "--format", "voc", "--output-dir", str(tmp_path / "out")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("export_labels: error: Cannot read the manifest")
    assert captured.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        pytest.param(["--data", "/no/such"], "'/no/such' is not a folder (it does not exist)", id="missing folder"),
        pytest.param(["--format", "labelme"], "invalid choice: 'labelme'", id="format"),
        pytest.param(["--image"], "--image", id="unknown flag"),
    ],
)
def test_bad_flags(records, tmp_path, capsys, more, message):
    assert export_labels.main(["--data", str(records), "--format", "voc", "--output-dir", str(tmp_path / "out"), *more]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_script_does_not_start_tensorflow(records, tmp_path):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", str(SCRIPT), "--data", str(records), "--format", "voc", "--output-dir", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "lxml" in imported
    assert "tensorflow" not in imported
