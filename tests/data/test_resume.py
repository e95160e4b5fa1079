"""A conversion that was killed, stopped or out of disk is resumed, and gives the same bytes as one that was not."""

import errno
import functools
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
import record_making
from record_making import records

from pneumodet.core import paths
from pneumodet.core.errors import DataError, EnvironmentProblem
from pneumodet.data import record_sets, settings, shards, tfrecord, verification

SCRIPT = paths.PROJECT_ROOT / "tools" / "make_tfrecords.py"

convert = functools.partial(record_making.convert, test_fraction=settings.Settings().test_fraction)
"""The command's defaults, since the command resumes what it began."""

KILLED_AT = """
import os, signal, sys
from pathlib import Path
from pneumodet.data import conversion, settings, tfrecord
dicom_dir, labels, output, call = sys.argv[1:]
real, calls = tfrecord.Writer.write, []
def write(self, record):
    calls.append(record)
    if len(calls) == int(call):
        os.kill(os.getpid(), signal.SIGKILL)
    real(self, record)
tfrecord.Writer.write = write
conversion.convert(settings.Inputs(dicom_dir=Path(dicom_dir), labels=Path(labels)), Path(output), overwrite=True)
"""


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def whole(synthetic, tmp_path_factory):
    """Return a record set that was made in one go."""
    folder = tmp_path_factory.mktemp("whole") / "whole"
    convert(synthetic, folder)
    return folder


@pytest.fixture(scope="module")
def killed(synthetic, tmp_path_factory):
    """Return a folder with what a conversion to "out" leaves that is killed at its last record: copy it, do not change it."""
    folder = tmp_path_factory.mktemp("killed")
    command = [sys.executable, "-c", KILLED_AT, synthetic.dicom_dir, synthetic.labels, folder / "out", "12"]
    assert subprocess.run(command, timeout=120).returncode == -signal.SIGKILL
    assert os.listdir(folder) == [".out.partial"]
    return folder


def count_writes(monkeypatch):
    """Return a list that grows with every record that is written in this process."""
    written, real = [], tfrecord.Writer.write
    monkeypatch.setattr(tfrecord.Writer, "write", lambda self, record: [written.append(record), real(self, record)])
    return written


@pytest.mark.parametrize("call", [pytest.param(1, marks=pytest.mark.slow), 4, pytest.param(12, marks=pytest.mark.slow)])
def test_killed_at_a_record(synthetic, whole, tmp_path, monkeypatch, call):
    command = [sys.executable, "-c", KILLED_AT, synthetic.dicom_dir, synthetic.labels, tmp_path / "out", str(call)]
    assert subprocess.run(command, timeout=120).returncode == -signal.SIGKILL
    assert os.listdir(tmp_path) == [".out.partial"]
    done = sum(
        len(list(tfrecord.read_records(path))) for path in (tmp_path / ".out.partial" / "new").glob("*.tfrecord") if path.name[0] != "."
    )
    written = count_writes(monkeypatch)
    convert(synthetic, tmp_path / "out")
    assert len(written) == 12 - done, "finished shards are not made again"
    assert contents(tmp_path / "out") == contents(whole)
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.slow
def test_the_command_killed_again_and_again_at_any_moment(synthetic, tmp_path):
    many = tmp_path / "many"
    many.mkdir()
    rows = ["patientId,x,y,width,height,Target"]
    for copy in range(200):
        for path in synthetic.dicom_dir.iterdir():
            os.link(path, many / f"{copy}-{path.name}")
            rows.append(f"{copy}-{path.stem},,,,,0")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    command = [sys.executable, SCRIPT, "--dicom-dir", many, "--labels", tmp_path / "labels.csv", "--shard-mb", "1", "--workers", "2"]
    start = time.monotonic()
    subprocess.run([*command, "--output-dir", tmp_path / "whole"], check=True, capture_output=True, timeout=300)
    seconds = time.monotonic() - start
    moments, kills = random.Random(0), 0
    for _ in range(40):
        process = subprocess.Popen(
            [*command, "--output-dir", tmp_path / "out"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        try:
            code = process.wait(timeout=moments.uniform(0.2, 0.5) * seconds if kills < 6 else 300)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
            if (tmp_path / "out").exists():  # killed when all was done
                break
            continue
        assert code == 0, process.stderr.read()
        break
    assert kills
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert sorted(path.name for path in tmp_path.iterdir() if "out" in path.name) == ["out"]


def test_other_work_does_not_take_what_was_left(synthetic, tmp_path):
    command = [sys.executable, "-c", KILLED_AT, synthetic.dicom_dir, synthetic.labels, tmp_path / "out", "9"]
    subprocess.run(command, timeout=120)
    convert(synthetic, tmp_path / "whole", seed=1)
    convert(synthetic, tmp_path / "out", seed=1)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_file_that_changed_meanwhile_is_read_again(synthetic, tmp_path):
    folder = shutil.copytree(synthetic.dicom_dir, tmp_path / "in")
    subprocess.run([sys.executable, "-c", KILLED_AT, folder, synthetic.labels, tmp_path / "out", "12"], timeout=120)
    one, other = sorted(folder.iterdir())[:2]
    shutil.copyfile(one, other)
    convert(synthetic, tmp_path / "out", dicom_dir=folder)
    encoded = {record.patient_id: record.encoded for record in records(tmp_path / "out")}
    assert encoded[one.stem] == encoded[other.stem]


def test_a_damaged_leftover_is_made_again(synthetic, whole, killed, tmp_path):
    shutil.copytree(killed, tmp_path, dirs_exist_ok=True)
    finished = sorted((tmp_path / ".out.partial" / "new").glob("train-*.tfrecord"))
    finished[0].write_bytes(finished[0].read_bytes()[:-1])
    (tmp_path / ".out.partial" / "new" / shards.RESULTS / f"{finished[1].name}.json").unlink()
    convert(synthetic, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(whole)


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), KeyboardInterrupt()], ids=["disk full", "Ctrl-C"])
def test_an_interruption_keeps_the_earlier_set_and_the_finished_shards(synthetic, whole, tmp_path, monkeypatch, error):
    earlier = convert(synthetic, tmp_path / "out", seed=5)
    real, calls = tfrecord.Writer.write, []

    def fail(self, record):
        calls.append(record)
        if len(calls) == 8:
            raise error
        real(self, record)

    monkeypatch.setattr(tfrecord.Writer, "write", fail)
    kind, message = (DataError, "No space left .* what is finished is kept") if isinstance(error, OSError) else (KeyboardInterrupt, None)
    with pytest.raises(kind, match=message):
        convert(synthetic, tmp_path / "out", overwrite=True)
    assert record_sets.RecordSet.open(tmp_path / "out").manifest.to_json() == earlier
    assert verification.verify(tmp_path / "out") == []
    monkeypatch.setattr(tfrecord.Writer, "write", real)
    written = count_writes(monkeypatch)
    convert(synthetic, tmp_path / "out", overwrite=True)
    assert 0 < len(written) < 12
    assert contents(tmp_path / "out") == contents(whole)
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_a_result_that_a_power_failure_cut_off(synthetic, whole, killed, tmp_path, text):
    shutil.copytree(killed, tmp_path, dirs_exist_ok=True)
    min((tmp_path / ".out.partial" / "new" / shards.RESULTS).iterdir()).write_text(text)
    convert(synthetic, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(whole)


@pytest.mark.parametrize("name", ["instances_train.json", "split.csv", "manifest.json"])
def test_a_disk_that_is_full_at_the_very_end_keeps_the_shards(synthetic, whole, tmp_path, monkeypatch, name):
    real = os.replace

    def replace(source, target):
        if os.path.basename(target) == name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(DataError, match="No space left on device"):
        convert(synthetic, tmp_path / "out")
    monkeypatch.setattr(os, "replace", real)
    written = count_writes(monkeypatch)
    convert(synthetic, tmp_path / "out")
    assert written == []
    assert contents(tmp_path / "out") == contents(whole)


def test_a_killed_worker_leaves_what_is_finished(synthetic, tmp_path, monkeypatch):
    monkeypatch.setattr(tfrecord.Writer, "write", lambda self, record: (_ for _ in ()).throw(EnvironmentProblem("killed")))
    with pytest.raises(EnvironmentProblem):
        convert(synthetic, tmp_path / "out")
    assert os.listdir(tmp_path) == [".out.partial"]


def test_bad_data_leaves_nothing(synthetic, tmp_path):
    folder = shutil.copytree(synthetic.dicom_dir, tmp_path / "in")
    path = min(folder.iterdir())
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(DataError, match="--strict"):
        convert(synthetic, tmp_path / "out", dicom_dir=folder, strict=True)
    assert os.listdir(tmp_path) == ["in"]


def test_a_second_start_is_refused_while_the_first_works(synthetic, tmp_path):
    code = KILLED_AT.replace("os.kill(os.getpid(), signal.SIGKILL)", "print('here', flush=True); sys.stdin.read()")
    command = [sys.executable, "-c", code, synthetic.dicom_dir, synthetic.labels, tmp_path / "out", "5"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "here\n"
    with pytest.raises(DataError, match="Another process is making .*out at the moment"):
        convert(synthetic, tmp_path / "out")
    process.communicate("", timeout=60)
    assert process.returncode == 0
    assert verification.verify(tmp_path / "out") == []


def test_workers_end_with_their_parent(tmp_path):
    work = "import os, time\ndef work(n):\n    os.write(1, f'{os.getpid()}\\n'.encode())\n    time.sleep(600)\n"
    code = "import job\nfrom pneumodet.core import processes\nwith processes.Pool(2) as pool:\n    list(pool.run(job.work, [1, 2]))\n"
    (tmp_path / "job.py").write_text(work)
    (tmp_path / "main.py").write_text(code)
    process = subprocess.Popen([sys.executable, tmp_path / "main.py"], stdout=subprocess.PIPE, text=True)
    workers = [int(process.stdout.readline()) for _ in range(2)]
    process.kill()
    process.wait()
    end = time.monotonic() + 20
    while any(os.path.exists(f"/proc/{pid}") for pid in workers) and time.monotonic() < end:
        time.sleep(0.05)
    assert not [pid for pid in workers if os.path.exists(f"/proc/{pid}")]
