"""The command pacs_worker, as it is typed."""

import contextlib
import json
import signal
import subprocess
import sys
import time

import pytest
from fake_pacs import radiograph

from pneumodet.apps.pacs import adoption, receiver, worker
from pneumodet.apps.pacs import journal as journals
from pneumodet.apps.pacs.journal import Journal
from pneumodet.cli import pacs_worker
from pneumodet.core import paths
from pneumodet.dicom.net import access
from pneumodet.dicom.net.errors import short

SCRIPT = paths.PROJECT_ROOT / "tools" / "pacs_worker.py"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    pytest.importorskip("highdicom", reason="needs highdicom, which writes the reports")
    tiny_export = pytest.importorskip("tiny_export", reason="needs onnx, which writes the model")
    return tiny_export.make(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture
def flags(tmp_path, pacs):
    """Everything but the model."""
    return ["--state", str(tmp_path / "state"), "--dicomweb", pacs.url, "--all-days", "--health", "off"]


def test_a_radiograph_in_and_reports_back(model, flags, pacs, capsys, tmp_path):
    visible, nothing = radiograph(1), radiograph(2, bright=False)
    uids = [
        pacs.put(visible),
        pacs.put(nothing),
        pacs.put(radiograph(3, ViewPosition="LL")),
        pacs.put(radiograph(4, PixelData=b"\0\0")),
    ]
    assert pacs_worker.main(["--model", str(model), *flags, "--once"]) == 0
    reports = {report.StudyInstanceUID: report for report in pacs.of_modality("SR")}
    (state,) = pacs.of_modality("PR")
    assert len(reports) == 2
    assert state.StudyInstanceUID.endswith(".1")
    assert all(str(report.PatientID) == "SECRET-ID" for report in reports.values())
    assert state.ReferencedSeriesSequence[0].ReferencedImageSequence[0].ReferencedSOPInstanceUID == uids[0]
    capsys.readouterr()

    assert pacs_worker.main(["--state", flags[1], "--status"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("model: ")
    assert [line.split() for line in lines[4:6]] == [["stored", "2"], ["refused", "2"]]
    assert "refused: 1 because it is not a frontal view: ViewPosition is 'LL' (--view adds a word of your site)" in lines
    assert any(line.startswith("refused: 1 because its pixel data have fewer than") for line in lines)

    before = dict(pacs.files)
    assert pacs_worker.main(["--model", str(model), *flags, "--once"]) == 0
    assert pacs.files == before
    assert len(pacs.posted) == 3


def test_status_lists_dead_letters_and_retry_revives_them(tmp_path, capsys):
    (tmp_path / "state").mkdir()
    book = Journal(tmp_path / "state" / "journal.sqlite")
    book.add("1.2.3", now=0.0)
    book.move("1.2.3", journals.DEAD, reason="the PACS answered 500", now=0.0)
    state = ["--state", str(tmp_path / "state")]
    assert pacs_worker.main([*state, "--status"]) == 0
    assert f"dead, until --retry-dead: {short('1.2.3')} 1.2.3 after 0 attempts: the PACS answered 500" in capsys.readouterr().out
    assert pacs_worker.main([*state, "--retry-dead"]) == 0
    assert capsys.readouterr().out == "1 exams are tried again\n"
    assert book.counts()[journals.SEEN] == 1
    book.move("1.2.3", journals.REFUSED, reason="it is damaged", now=0.0)
    assert pacs_worker.main([*state, "--retry-refused", "damaged"]) == 0
    assert capsys.readouterr().out == "0 exams are tried again; 1 came by C-STORE, and are taken when they are sent again\n"
    book.close()


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        pytest.param([], "--model is missing", id="no-model"),
        pytest.param(["--status"], "There is no journal in", id="no-journal"),
        pytest.param(["--model", "."], "Nothing says where radiographs come from", id="from"),
        pytest.param(["--model", ".", "--listen", "A@127.0.0.1:104"], "Nothing says where reports go to", id="to"),
        pytest.param(["--model", ".", "--dicomweb", "https://user:hush@pacs.example"], "holds a user or password", id="credentials"),
        pytest.param(["--model", ".", "--dicomweb", "http://pacs.example"], "without TLS", id="no-tls"),
        pytest.param(["--model", ".", "--dicomweb", "https://pacs.example", "--send", "x"], "must look like TITLE@HOST:PORT", id="peer"),
        pytest.param(["--model", ".", "--dicomweb", "https://pacs.example", "--health", "8105"], "must be HOST:PORT", id="health"),
        pytest.param(["--model", ".", "--dicomweb", "https://pacs.example", "--caller", "A"], "without --listen", id="caller"),
        pytest.param(
            ["--model", ".", "--dicomweb", "https://p.example", "--commitment-to", "A@127.0.0.1:104"], "without --listen", id="commitment"
        ),
        pytest.param(
            ["--model", ".", "--dicomweb", "https://p.example", "--listen", "A@127.0.0.1:104", "--send", "B@127.0.0.1:104"],
            "not to both",
            id="both",
        ),
        pytest.param(
            ["--model", ".", "--dicomweb", "https://p.example", "--listen", "A@127.0.0.1:104", "--once"], "--once ends before", id="once"
        ),
    ],
)
def test_faults_are_one_line_and_code_2(tmp_path, capsys, given, reason):
    assert pacs_worker.main(["--state", str(tmp_path / "state"), *given]) == 2
    error = capsys.readouterr().err
    assert reason in error
    assert "hush" not in error
    assert error.count("\n") == 1


def test_the_compose_file_fits_the_command(tmp_path):
    """No engine is needed to see that flags, variables and the health page's port are the command's."""
    yaml = pytest.importorskip("yaml")
    services = yaml.safe_load((paths.PROJECT_ROOT / "deploy" / "compose.yml").read_text())["services"]
    name, command, *given = services["worker"]["command"]
    assert (name, command) == ("pneumodet", "pacs-worker")
    args = pacs_worker.build_parser().parse_args([flag.replace("/model", str(tmp_path)) for flag in given])
    secret = tmp_path / "pacs_password"
    secret.write_text("made up")
    environment = {key: value.replace("/run/secrets", str(tmp_path)) for key, value in services["worker"]["environment"].items()}
    assert access.read(environment).check_url(args.dicomweb) == "http://orthanc:8042/dicom-web"
    assert args.health in services["worker"]["healthcheck"]["test"][-1]
    orthanc = json.loads((paths.PROJECT_ROOT / "deploy" / "orthanc.json").read_text())
    assert orthanc["AuthenticationEnabled"]
    assert f":{orthanc['HttpPort']}{orthanc['DicomWeb']['Root']}".rstrip("/") in args.dicomweb
    assert all(port.startswith("127.0.0.1:") for port in services["orthanc"]["ports"])
    assert "ports" not in services["worker"]


def test_leftovers_go_before_anybody_may_send(model, tmp_path, monkeypatch):
    """A file that a sender has just written looks like one until the journal knows of it."""
    pytest.importorskip("pynetdicom", reason="needs pynetdicom, which speaks C-STORE")
    order = []
    monkeypatch.setattr(adoption, "tidy", lambda *_, **__: order.append("leftovers"))
    monkeypatch.setattr(receiver, "receiving", lambda *_, **__: contextlib.nullcontext(order.append("senders")))
    monkeypatch.setattr(worker.Worker, "run", lambda *_, **__: order.append("work"))
    given = ["--listen", "A@127.0.0.1:11112", "--send", "B@127.0.0.1:104", "--health", "off"]
    assert pacs_worker.main(["--model", str(model), "--state", str(tmp_path / "state"), *given]) == 0
    assert order == ["leftovers", "senders", "work"]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_sigterm_ends_it_and_no_secret_is_in_the_log(model, flags, pacs, tmp_path):
    pacs.put(radiograph(1, PatientAge="Mustermann", PatientSex="Mustermann", StudyTime="Mustermann"))
    command = [sys.executable, str(SCRIPT), "--verbose", "--model", str(model), *flags]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PNEUMODET_PACS_TOKEN": "hush-hush"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        end = time.monotonic() + 120
        while len(pacs.posted) < 2 and time.monotonic() < end and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, log
    assert len(pacs.posted) == 2
    assert pacs.headers["Authorization"] == "Bearer hush-hush"
    for secret in ("hush", "Mustermann", "SECRET-ID", "1.2.826", "2.25."):
        assert secret not in log
