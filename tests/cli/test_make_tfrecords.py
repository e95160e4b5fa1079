"""The command make_tfrecords, as it is typed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image

from pneumodet.api import converting
from pneumodet.cli import make_tfrecords
from pneumodet.core import paths

SCRIPT = paths.PROJECT_ROOT / "tools" / "make_tfrecords.py"


def flags(synthetic, folder, *more, dash="-"):
    # one process: to start two takes longer than to convert twelve exams; data/test_conversion.py has several
    pairs = {"dicom-dir": synthetic.dicom_dir, "labels": synthetic.labels, "output-dir": folder, "workers": 1}
    return [text for name, value in pairs.items() for text in ("--" + name.replace("-", dash), str(value))] + list(map(str, more))


def test_writes_what_it_says(synthetic, tmp_path, capsys):
    more = ("--patient-map", synthetic.patient_map, "--class-info", synthetic.class_info, "--val-fraction", "0.4", "--seed", "4")
    assert make_tfrecords.main(flags(synthetic, tmp_path / "out", *more)) == 0
    captured = capsys.readouterr()
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert (manifest["seed"], manifest["val_fraction"], manifest["test_fraction"]) == (4, 0.4, 0.15)
    assert (manifest["split"]["by"], list(manifest["splits"])) == ("patient map", ["train", "val", "test"])
    lines = captured.out.splitlines()
    for line, (name, split) in zip(lines[1:4], manifest["splits"].items(), strict=True):
        exams, patients, positive, boxes = (split[key] for key in ("exams", "patients", "positive_exams", "boxes"))
        shares = f"{patients / manifest['split']['patients']:.1%}", f"{positive / exams:.1%}" if exams else "–"
        assert line.split() == [name, str(exams), str(patients), shares[0], str(positive), shares[1], str(boxes), str(len(split["shards"]))]
    assert "JPEG streams copied as they are: 12, images decoded: 0" in captured.out
    assert lines[-1] == f"Next:    python tools/train.py --config ssd_mobilenet --data {tmp_path / 'out'} --run my_first"
    assert "leak" not in captured.err
    assert "warning: split by patientId" not in captured.err


def test_underscores_and_the_warning_without_a_patient_map(synthetic, tmp_path, capsys):
    assert make_tfrecords.main(flags(synthetic, tmp_path / "out", "--val_fraction=0.5", dash="_")) == 0
    err = capsys.readouterr().err
    assert "warning: split by patientId" in err
    assert "a patient may be in train and in val or test" in err
    assert "Give --patient-map." in err


def test_a_split_that_is_empty_or_without_pneumonia_is_told(synthetic, tmp_path, capsys):
    assert make_tfrecords.main(flags(synthetic, tmp_path / "out", "--val-fraction", "0", "--test-fraction", "0.0001")) == 0
    err = capsys.readouterr().err
    assert "warning: val has no exam." in err
    assert (
        "warning: test has no exam: 12 patients are too few for a share of 0.0001. Give another --seed or a larger --test-fraction, or "
        "--test-fraction 0 to do without." in err
    )
    rows = synthetic.labels.read_text().splitlines()
    negative = next(row.partition(",")[0] for row in rows[1:] if row.endswith(",0"))
    (tmp_path / "split.csv").write_text(f"patientId,split\n{negative},test\n")
    more = ("--split-file", tmp_path / "split.csv", "--test-fraction", "0.0001")
    assert make_tfrecords.main(flags(synthetic, tmp_path / "one", *more)) == 0
    assert (
        "warning: test has no exam with pneumonia, so that most figures on it are undefined. Give --stratify class"
        in capsys.readouterr().err
    )


def test_no_test_split_where_none_is_wanted(synthetic, tmp_path, capsys):
    assert make_tfrecords.main(flags(synthetic, tmp_path / "out", "--test-fraction", "0")) == 0
    assert "test" not in capsys.readouterr().out.replace(str(tmp_path), "")
    assert list(json.loads((tmp_path / "out" / "manifest.json").read_text())["splits"]) == ["train", "val"]
    assert make_tfrecords.main(flags(synthetic, tmp_path / "other", "--val-fraction", "0.9")) == 2
    assert "val_fraction 0.9 and test_fraction 0.15 are more than 1 together" in capsys.readouterr().err


def test_skipped_exams_are_told(synthetic, tmp_path, capsys):
    labels = tmp_path / "labels.csv"
    labels.write_text(synthetic.labels.read_text() + "stranger,,,,,0\nbad,1,2,3,4,9\n")
    assert make_tfrecords.main([*flags(synthetic, tmp_path / "out"), "--labels", str(labels)]) == 0
    out = capsys.readouterr().out
    assert "skipped, label without a DICOM: 1 (first: stranger); all are in manifest.json" in out
    assert "skipped, label rejected: 1 (first: bad: line " in out


def no_column(tmp_path):
    (tmp_path / "bad.csv").write_text("patientId,x,y,w,h,Target\na,1,2,3,4,1\n")
    return ["--labels", tmp_path / "bad.csv"]


def empty_folder(tmp_path):
    (tmp_path / "empty").mkdir()
    return ["--dicom-dir", tmp_path / "empty"]


def used_folder(tmp_path):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "thesis.txt").write_text("")
    return ["--output-dir", tmp_path / "used"]


def bad_label_map(tmp_path):
    (tmp_path / "map.pbtxt").write_text("item { id: 0 name: 'a' }")
    return ["--label-map", tmp_path / "map.pbtxt"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        pytest.param(no_column, "bad.csv has no column 'width', 'height'", id="no CSV column"),
        pytest.param(empty_folder, "There is no DICOM or image file", id="empty folder"),
        pytest.param(used_folder, "holds other things", id="output folder in use"),
        pytest.param(bad_label_map, "id 0 is not allowed", id="label map"),
        pytest.param(lambda tmp_path: ["--patient-map", no_column(tmp_path)[1]], "has no column 'patient'", id="patient map"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(synthetic, tmp_path, capsys, more, message):
    assert make_tfrecords.main([*flags(synthetic, tmp_path / "out"), *map(str, more(tmp_path))]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("make_tfrecords: error: ")
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        pytest.param(["--dicom-dir", "/no/such"], "'/no/such' does not exist", id="missing folder"),
        pytest.param(["--labels", "/no/such.csv"], "'/no/such.csv' does not exist", id="missing file"),
        pytest.param(["--val-fraction", "1.5"], "'1.5' is not a number from 0 to 1", id="fraction"),
        pytest.param(["--val-fraction", "nan"], "'nan' is not a number from 0 to 1", id="fraction NaN"),
        pytest.param(["--seed", "x"], "invalid int value: 'x'", id="seed"),
        pytest.param(["--negatives", "none"], "invalid choice: 'none'", id="negatives"),
        pytest.param(["--lables", "x"], "--lables", id="unknown flag"),
    ],
)
def test_bad_flags(synthetic, tmp_path, capsys, more, message):
    assert make_tfrecords.main([*flags(synthetic, tmp_path / "out"), *more]) == 2
    err = capsys.readouterr().err
    assert message in err.splitlines()[-1]
    assert "Traceback" not in err


def test_required_flags(capsys):
    assert make_tfrecords.main([]) == 2
    assert "Missing: --dicom-dir, --labels, --output-dir. Try --help." in capsys.readouterr().err


def test_script_does_not_start_tensorflow(synthetic, tmp_path):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", str(SCRIPT), *flags(synthetic, tmp_path / "out")], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "numpy" in imported
    assert "pydicom" not in imported, "copying needs none of it, and it takes long to import"
    assert "tensorflow" not in imported


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_finished(synthetic, tmp_path):
    # the same radiographs under many names, so that there is a middle to be interrupted in
    folder = tmp_path / "in"
    folder.mkdir()
    exams = []
    for path in synthetic.dicom_dir.iterdir():
        for index in range(500):
            os.link(path, folder / f"{index}-{path.name}")
            exams.append(f"{index}-{path.stem},,,,,0")
    labels = tmp_path / "labels.csv"
    labels.write_text("patientId,x,y,width,height,Target\n" + "\n".join(exams) + "\n")
    command = [str(SCRIPT), "--dicom-dir", folder, "--labels", labels, "--output-dir", tmp_path / "out"]
    heeded = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731 - a shell's background jobs are told to ignore it
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, *map(str, command)], **pipes, preexec_fn=heeded) as process:
        deadline = time.monotonic() + 60
        while not any(path.stat().st_size for path in tmp_path.glob(".out.partial/new/.*.tmp")):  # until the first records are on the disk
            assert process.poll() is None, "ended before it could be interrupted"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    message = "\nmake_tfrecords: stopped by Ctrl-C. Finished shards are kept; the same command resumes from there.\n"
    assert (process.returncode, out, err) == (130, "", message)
    assert {".out.partial"} == set(os.listdir(tmp_path)) - {"in", "labels.csv"}
    assert subprocess.run([sys.executable, *map(str, command)], capture_output=True, timeout=120).returncode == 0
    assert {"out"} == set(os.listdir(tmp_path)) - {"in", "labels.csv"}


def test_quality_writes_a_report_and_a_picture_and_can_leave_out(synthetic, tmp_path, capsys):
    folder = tmp_path / "in"
    shutil.copytree(synthetic.dicom_dir, folder)
    one, other, *_ = sorted(folder.iterdir())
    shutil.copyfile(one, other)
    arguments = [*flags(synthetic, tmp_path / "report"), "--dicom-dir", str(folder), "--quality", "report"]
    assert make_tfrecords.main(arguments) == 0
    out = capsys.readouterr().out
    assert f"Quality: {tmp_path / 'report' / 'quality.json'} and quality.png: something found in 1 of " in out
    report = json.loads((tmp_path / "report" / "quality.json").read_text())
    assert report["counts"]["duplicate"] == 1
    assert Image.open(tmp_path / "report" / "quality.png").size[0] > 100
    arguments = [*flags(synthetic, tmp_path / "exclude"), "--dicom-dir", str(folder), "--quality", "exclude"]
    assert make_tfrecords.main(arguments) == 0
    assert "skipped, image quality: 1 (first: " in capsys.readouterr().out
    assert make_tfrecords.main([*flags(synthetic, tmp_path / "clean"), "--quality", "report"]) == 0
    out = capsys.readouterr().out
    assert "quality.png" not in out
    assert f"Quality: {tmp_path / 'clean' / 'quality.json'}: nothing found in 12 images\n" in out


def test_verify(synthetic, tmp_path, capsys):
    assert make_tfrecords.main(flags(synthetic, tmp_path / "out")) == 0
    assert make_tfrecords.main(["--verify", str(tmp_path / "out"), "--workers", "1"]) == 0
    assert "is whole: every checksum is right." in capsys.readouterr().out
    shard = min((tmp_path / "out").glob("*.tfrecord"))
    shard.write_bytes(shard.read_bytes()[:-1])
    assert make_tfrecords.main(["--verify", str(tmp_path / "out"), "--workers", "1"]) == 2
    captured = capsys.readouterr()
    assert f"make_tfrecords: {shard.name} has " in captured.err
    assert "is damaged: make it again." in captured.out
    assert make_tfrecords.main(["--verify", str(tmp_path / "out"), "--labels", str(synthetic.labels)]) == 2
    assert "--verify only checks" in capsys.readouterr().err


def test_for_a_config_and_folds(synthetic, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(converting, "max_side_for", lambda name: {"ssd_mobilenet": 128}[name])
    arguments = [*flags(synthetic, tmp_path / "out"), "--for", "ssd_mobilenet", "--folds", "2", "--patient-map", str(synthetic.patient_map)]
    assert make_tfrecords.main(arguments) == 0
    assert f"--data {tmp_path / 'out'}/fold-0 --run my_first" in capsys.readouterr().out
    manifest = json.loads((tmp_path / "out" / "fold-1" / "manifest.json").read_text())
    assert manifest["arguments"]["max_side"] == 128
    assert set(manifest["splits"]["val"]["statistics"]["sizes"]) == {"128x128"}


def test_the_max_side_for_a_config_is_twice_its_input():
    assert converting.max_side_for("ssd_mobilenet") == 640


def test_the_key_does_not_lie_with_the_records(synthetic, tmp_path, capsys):
    arguments = [*flags(synthetic, tmp_path / "out"), "--pseudonymize", str(tmp_path / "out" / "study.key")]
    assert make_tfrecords.main(arguments) == 2
    assert "The key lies in --output-dir" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
