"""Radiographs by DICOMweb, from a server on loopback: what is asked, what comes, and what servers do wrong."""

import base64
import json
import logging

import pydicom
import pytest
import squares
from certificates import certificate
from fake_pacs import FakePacs, answer, place_of, radiograph

from pneumodet.cli import predict as command
from pneumodet.core.errors import ConfigError, DataError
from pneumodet.data import detection_files
from pneumodet.dicom.net.access import Access
from pneumodet.dicom.net.retries import Retries
from pneumodet.dicom.net.transport import Limits
from pneumodet.inference.admission import DX_PROCESSING
from pneumodet.inference.predict import predicting, remote

requests = pytest.importorskip("requests")

SR = "1.2.840.10008.5.1.4.1.1.88.33"


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """No credentials but those of a test, short pauses, and log lines that come through whatever ran before."""
    for name in ("pneumodet", "pneumodet.dicom.net"):
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)
    for name in ("USER", "PASSWORD", "TOKEN", "CA"):
        monkeypatch.delenv(f"PNEUMODET_PACS_{name}", raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(remote, "RETRIES", Retries(attempts=5, first_seconds=0.001))


@pytest.fixture
def pacs():
    with FakePacs().running() as pacs:
        yield pacs


@pytest.fixture
def filled(pacs, radiographs):
    """Return the server with six studies; ``pacs.uids`` is exam -> instance."""
    pacs.uids = {path.stem: pacs.put(path.read_bytes()) for path in sorted(radiographs.iterdir())}
    return pacs


def test_all_studies_are_predicted_as_files_are(filled, model, radiographs, tmp_path):
    summary = predicting.predict([model], f"{filled.url}/studies", tmp_path / "web")
    assert (summary.radiographs, summary.positive, summary.refused) == (6, 4, [])
    predicting.predict([model], radiographs, tmp_path / "files")
    by_uid = detection_files.by_exam(tmp_path / "web" / "detections.json")
    for exam, other in detection_files.by_exam(tmp_path / "files" / "detections.json").items():
        same = by_uid[filled.uids[exam]]
        assert (same.boxes_xyxy_px == other.boxes_xyxy_px).all()
        assert (same.scores == other.scores).all()


def test_exams_are_called_by_patient_id_where_labels_do(filled, model, tmp_path):
    (tmp_path / "labels.csv").write_text("patientId,x,y,width,height,Target\nleft,12,24,24,24,1\n")
    predicting.predict([model], f"{filled.url}/studies", tmp_path / "out", labels=tmp_path / "labels.csv")
    exams = {line.split(",")[0] for line in (tmp_path / "out" / "scores.csv").read_text().splitlines()[1:]}
    assert exams == {"left", *(uid for exam, uid in filled.uids.items() if exam != "left")}


@pytest.mark.parametrize("views", [("LL", "PA"), ("PA", "PA")], ids=["one frontal", "two frontal"])
def test_one_label_of_a_patient_with_two_objects(pacs, model, tmp_path, views):
    uids = []
    for number, view in enumerate(views):
        uids.append(pacs.put(radiograph(number, PatientID="P1")))
        pacs.attributes[uids[-1]] = {"00185101": {"vr": "CS", "Value": [view]}, "00100020": {"vr": "LO", "Value": ["P1"]}}
    (tmp_path / "labels.csv").write_text("patientId,x,y,width,height,Target\nP1,12,24,24,24,1\n")
    refused, notes = [], []
    listed = remote.RemoteRadiographs.of(f"{pacs.url}/studies").radiographs(known={"P1"}, refused=refused, notes=notes)
    exams = {one.sop_uid: exam for exam, one in listed}
    settled = views == ("LL", "PA")
    assert exams == {uids[0]: uids[0], uids[1]: "P1" if settled else uids[1]}
    assert refused == []
    assert bool(notes) != settled


@pytest.mark.parametrize("depth", [1, 2, 3], ids=["study", "series", "instance"])
def test_one_study_series_or_instance(filled, model, tmp_path, depth):
    key = place_of(filled.files[filled.uids["right"]])
    path = "".join(f"/{name}/{uid}" for name, uid in zip(("studies", "series", "instances"), key[:depth], strict=False))
    assert predicting.predict([model], filled.url + path, tmp_path / "out").radiographs == 1
    assert list(detection_files.by_exam(tmp_path / "out" / "detections.json")) == [filled.uids["right"]]


@pytest.fixture(scope="module")
def nine(tmp_path_factory):
    """Return nine DICOM files."""
    folder = tmp_path_factory.mktemp("nine")
    return [squares.write(folder / f"{number}.dcm").read_bytes() for number in range(9)]


def test_all_radiographs_of_a_server_that_gives_three_a_page(pacs, nine, model, tmp_path):
    pacs.page, pacs.most_limit = 3, 200
    uids = {pacs.put(data) for data in nine}
    summary = predicting.predict([model], f"{pacs.url}/studies", tmp_path / "out")
    assert (summary.radiographs, summary.refused) == (9, [])
    assert {line.split(",")[0] for line in (tmp_path / "out" / "scores.csv").read_text().splitlines()[1:]} == uids
    assert [query for path, query, _ in pacs.seen if path.endswith("/studies")] == [f"limit=100&offset={start}" for start in (0, 3, 6, 9)]


def listed(pacs):
    refused = []
    exams = [exam for exam, _ in remote.RemoteRadiographs.of(f"{pacs.url}/studies").radiographs(known=(), refused=refused, notes=[])]
    return exams, refused


def test_all_instances_of_a_study_on_small_pages(pacs):
    pacs.page = 4
    for number in range(9):
        pacs.put(radiograph(number, StudyInstanceUID="1.2.3"))
    exams, refused = listed(pacs)
    assert (len(set(exams)), refused) == (9, [])


def test_a_server_that_knows_no_pages(filled):
    filled.knows_offset = False
    exams, refused = listed(filled)
    assert (sorted(exams), refused) == (sorted(filled.uids.values()), [])


def test_an_object_that_is_in_two_studies(filled, radiographs):
    everything = [{"0020000D": {"Value": [place_of(data)[0]]}} for data in filled.files.values()]
    entry = {
        tag: {"Value": [uid]} for tag, uid in zip(("0020000E", "00080018"), place_of(next(iter(filled.files.values())))[1:], strict=True)
    }
    filled.spoilers.append(
        lambda request: (
            "offset=0" in request.path
            and answer(request, 200, json.dumps(everything if "/studies?" in request.path else [entry, {}]).encode())
        )
    )
    exams, refused = listed(filled)
    assert len(exams) == 1
    reasons = [reason.partition(" as ")[0] for _, reason in refused]
    assert (reasons.count("the same radiograph"), reasons.count("the service does not give its UIDs")) == (5, 6)


def test_a_list_that_ends_early_stops_and_says_so(pacs, nine, model, tmp_path, monkeypatch, capsys):
    """What was listed before is predicted, and nobody takes it for all there is."""
    monkeypatch.setattr(remote, "LIMITS", Limits(pages=2))
    pacs.page = 3
    for data in nine:
        pacs.put(data)
    out = tmp_path / "out"
    assert command.main(["--model", str(model), "--input", f"{pacs.url}/studies", "--output-dir", str(out)]) == 2
    err = capsys.readouterr().err
    assert "the list of the PACS has more than 2 pages; 6 entries were read. Name fewer studies" in err
    assert sum(path.count("/") == 7 for path, _, _ in pacs.seen) == 6


def test_warnings_and_refusals_of_a_service_are_shown(filled, model, tmp_path, caplog):
    filled.more = {"Warning": "299 pacs.example: The fuzzymatching parameter is not supported"}
    with caplog.at_level("WARNING", "pneumodet.dicom"):
        predicting.predict([model], f"{filled.url}/studies", tmp_path / "out")
    assert [record.getMessage() for record in caplog.records if "fuzzymatching" in record.getMessage()] == [
        "the PACS warns: The fuzzymatching parameter is not supported (such a warning is logged once)"
    ]
    filled.answers["/dicom-web/studies"] = (400, {"Content-Type": "text/html"}, b"<p>StudyDate is malformed</p>")
    with pytest.raises(DataError, match='the PACS answered 400 \\("StudyDate is malformed"\\)'):
        predicting.predict([model], f"{filled.url}/studies?StudyDate=x", tmp_path / "other")


def test_the_query_of_the_url_is_passed_on(filled, model, tmp_path):
    predicting.predict([model], f"{filled.url}/studies?StudyDate=19000101-&ModalitiesInStudy=DX", tmp_path / "out")
    assert filled.seen[0][1] == "StudyDate=19000101-&ModalitiesInStudy=DX&limit=100&offset=0"


def test_objects_that_are_no_radiographs_are_listed(filled, model, tmp_path):
    filled.attributes[filled.uids["none"]] = {"00080016": {"Value": [SR]}}
    summary = predicting.predict([model], f"{filled.url}/studies", tmp_path / "out")
    assert summary.radiographs == 5
    assert summary.refused == [(f"{filled.uids['none']}.dcm", "it is no CR or DX image but of the SOP class Comprehensive SR Storage")]
    wado = [path for path, _, _ in filled.seen if path.count("/") == 7]
    assert not [path for path in wado if path.endswith(filled.uids["none"])], "it was not even fetched"


@pytest.mark.parametrize("where", ["list", "file"])
def test_what_is_for_processing_is_left_out_as_the_worker_does(filled, model, radiographs, tmp_path, where):
    uid = filled.uids["left"]
    if where == "list":
        filled.attributes[uid] = {"00080016": {"vr": "UI", "Value": [DX_PROCESSING]}}
    else:
        raw = pydicom.dcmread(radiographs / "left.dcm")
        raw.PresentationIntentType = "FOR PROCESSING"
        raw.save_as(tmp_path / "raw.dcm")
        filled.files[uid] = (tmp_path / "raw.dcm").read_bytes()
        filled.attributes[uid] = {"00080068": None}  # the list does not say what the file says
    summary = predicting.predict([model], f"{filled.url}/studies", tmp_path / "out")
    assert summary.radiographs == 5
    ((name, reason),) = summary.refused
    assert (name, reason.rstrip(".")) == (f"{uid}.dcm", "it is a radiograph for processing, which is not meant for the eye")
    assert [entry[0] for entry in json.loads((tmp_path / "out" / "predictions.json").read_text())["refused"]] == [f"{uid}.dcm"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param((404, {}, b""), "answered 404; it does not have it", id="gone"),
        pytest.param((500, {}, b"of Mustermann^patient"), 'answered 500 ("of …")', id="broken"),
        pytest.param((200, {"Content-Type": "text/html"}, b"<html>log in</html>"), "DICOM object", id="html"),
        pytest.param((302, {"Location": "http://127.0.0.1:9/"}, b""), "answered 302; redirects are not followed", id="redirect"),
        pytest.param(
            (200, {"Content-Type": "multipart/related; boundary=cut"}, b"--cut\r\n\r\nDICM"),
            "cut off",
            id="cut off",
        ),
        pytest.param((200, {"Content-Type": "application/dicom"}, b"no DICOM"), "not a DICOM file", id="no DICOM"),
    ],
)
def test_what_one_object_has_wrong_stops_nothing(filled, model, tmp_path, answer, reason):
    uid = filled.uids["low"]
    filled.answers[filled.path_of(uid)] = answer
    summary = predicting.predict([model], f"{filled.url}/studies", tmp_path / "out")
    assert summary.radiographs == 5
    ((name, why),) = summary.refused
    assert name == f"{uid}.dcm"
    assert reason in why
    assert "patient" not in why


def test_an_endless_object_is_not_read_to_its_end(filled, model, tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "LIMITS", Limits(object_bytes=1 << 10))
    study, _, _ = place_of(filled.files[filled.uids["low"]])
    with pytest.raises(DataError, match="could be read"):
        predicting.predict([model], f"{filled.url}/studies/{study}", tmp_path / "out")


def test_a_busy_server_is_asked_again(filled, model, tmp_path):
    filled.busy = 3
    assert predicting.predict([model], f"{filled.url}/studies", tmp_path / "out").radiographs == 6


def test_a_server_that_goes_away_stops_and_the_rest_comes_later(filled, model, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["--model", str(model), "--input", f"{filled.url}/studies", "--output-dir", str(out)]

    def dies(request):
        if request.path.count("/") == 7 and sum(seen.count("/") == 7 for seen, _, _ in filled.seen) > 3:
            filled.busy = 1000

    filled.spoilers.append(dies)
    assert command.main(arguments) == 2
    err = capsys.readouterr().err
    assert f"{filled.url}: the PACS answered 503. Check that it runs" in err
    assert "the same command with --resume continues from there." in err
    filled.busy = filled.spoilers.clear() or 0
    assert command.main([*arguments, "--resume"]) == 0
    summary = json.loads((out / "predictions.json").read_text())
    assert summary["radiographs"] == 6
    assert summary["resumed"] > 0


def test_a_server_that_is_not_there(model, tmp_path):
    with pytest.raises(DataError, match="http://127.0.0.1:9/dicom-web: the PACS cannot be reached"):
        predicting.predict([model], "http://127.0.0.1:9/dicom-web/studies", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_page_that_is_no_list(pacs, model, tmp_path):
    pacs.answers["/dicom-web/studies"] = (200, {"Content-Type": "text/html"}, b"<html>hello</html>")
    with pytest.raises(DataError, match="did not answer with a list of DICOM objects; is this a DICOMweb service?"):
        predicting.predict([model], f"{pacs.url}/studies", tmp_path / "out")


def test_nothing_there(pacs, model, tmp_path):
    with pytest.raises(DataError, match="There is no radiograph at"):
        predicting.predict([model], f"{pacs.url}/studies", tmp_path / "out")


def test_password_of_the_environment(filled, model, tmp_path, monkeypatch):
    filled.wanted = "Basic " + base64.b64encode("ä:s3cret".encode()).decode()
    with pytest.raises(DataError, match="answered 401; check the credentials. Set PNEUMODET_PACS_USER"):
        predicting.predict([model], f"{filled.url}/studies", tmp_path / "out")
    monkeypatch.setenv("PNEUMODET_PACS_USER", "ä")
    monkeypatch.setenv("PNEUMODET_PACS_PASSWORD", "s3cret")
    assert predicting.predict([model], f"{filled.url}/studies", tmp_path / "out").radiographs == 6
    assert "s3cret" not in (tmp_path / "out" / "predictions.json").read_text()


def test_token_of_the_environment(filled, model, tmp_path, monkeypatch):
    filled.wanted = "Bearer t0ken"
    monkeypatch.setenv("PNEUMODET_PACS_TOKEN", "t0ken")
    assert predicting.predict([model], f"{filled.url}/studies", tmp_path / "out").radiographs == 6


def test_no_password_of_a_file_is_sent(filled, model, tmp_path, monkeypatch):
    (tmp_path / ".netrc").write_text("default login me password s3cret\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    predicting.predict([model], f"{filled.url}/studies", tmp_path / "out")
    assert not any("Authorization" in headers for _, _, headers in filled.seen)


def test_certificates_are_checked(model, radiographs, tmp_path, monkeypatch):
    pem, key = certificate(tmp_path, "pacs")
    pacs = FakePacs()
    with pacs.running(tls=Access(certificate=pem, key=key).server_context()):
        pacs.put((radiographs / "left.dcm").read_bytes())
        with pytest.raises(DataError, match="its certificate is not trusted"):
            predicting.predict([model], f"{pacs.url}/studies", tmp_path / "out")
        assert pacs.seen == []
        monkeypatch.setenv("PNEUMODET_PACS_CA", str(pem))
        assert predicting.predict([model], f"{pacs.url}/studies", tmp_path / "out").radiographs == 1


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("https://me:s3cret@pacs.example/dicom-web/studies", "holds a user or password"),
        ("http://pacs.example/dicom-web/studies", "without TLS"),
        ("https://pacs.example/dicom-web", "is no DICOMweb URL. It must end in /studies"),
        ("https://pacs.example/dicom-web/studies/1.2/instances", "is no DICOMweb URL"),
        ("https://pacs.example/dicom-web/studies/../../etc", "is no DICOM"),
        ("https://pacs.example/dicom-web/studies?limit=5", "Leave limit and offset out"),
        ("https://[pacs.example/studies", "cannot be read"),
    ],
    ids=["credentials", "clear", "base", "list of a study", "no UID", "limit", "bracket"],
)
def test_urls_that_are_refused(url, message):
    with pytest.raises(ConfigError, match=message) as error:
        remote.RemoteRadiographs.of(url)
    assert "s3cret" not in str(error.value)


def test_an_object_at_which_the_server_breaks_off(filled, model, tmp_path):
    """It is that object's error as long as the server answers other questions."""
    filled.answers[filled.path_of(filled.uids["low"])] = (
        200,
        {"Content-Type": "application/dicom", "Content-Length": "5000", "Connection": "close"},
        b"DICM",
    )
    summary = predicting.predict([model], f"{filled.url}/studies", tmp_path / "out")
    assert summary.radiographs == 5
    assert "the service answers, but not when it is asked for this object" in summary.refused[0][1]
