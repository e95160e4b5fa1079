"""Radiographs by DICOMweb, from a server on loopback: what is asked, what comes, and what servers do wrong."""

import base64
import json
import subprocess

import pydicom
import pytest
import small_pacs

from pneumodet import results
from pneumodet.cli import predict as command
from pneumodet.errors import ConfigError, DataError
from pneumodet.inference.admission import DX_PROCESSING
from pneumodet.prediction import dicomweb, predicting

requests = pytest.importorskip("requests")

SR = "1.2.840.10008.5.1.4.1.1.88.33"


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """No credentials but those of a test, and short pauses."""
    for name in ("USER", "PASSWORD", "TOKEN", "CA"):
        monkeypatch.delenv(f"PNEUMODET_PACS_{name}", raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(dicomweb, "PAUSE_SECONDS", 0.01)


@pytest.fixture
def pacs():
    with small_pacs.serving() as pacs:
        yield pacs


@pytest.fixture
def filled(pacs, radiographs):
    """Return the server with six studies; ``pacs.uids`` is exam -> instance."""
    pacs.uids = {path.stem: pacs.add(path) for path in sorted(radiographs.iterdir())}
    return pacs


def place_of(pacs, uid):
    return next(key for key in pacs.objects if key[2] == uid)


def test_all_studies_are_predicted_as_files_are(filled, model, radiographs, tmp_path):
    summary = predicting.predict([model], f"{filled.url}/studies", tmp_path / "web")
    assert (summary.radiographs, summary.positive, summary.refused) == (6, 4, [])
    predicting.predict([model], radiographs, tmp_path / "files")
    by_uid = results.read_coco_results(tmp_path / "web" / "detections.json")
    for exam, found in results.read_coco_results(tmp_path / "files" / "detections.json").items():
        same = by_uid[filled.uids[exam]]
        assert (same.boxes_xyxy_px == found.boxes_xyxy_px).all()
        assert (same.scores == found.scores).all()


def test_exams_are_called_by_patient_id_where_labels_do(filled, model, tmp_path):
    (tmp_path / "labels.csv").write_text("patientId,x,y,width,height,Target\nleft,12,24,24,24,1\n")
    predicting.predict([model], f"{filled.url}/studies", tmp_path / "out", labels=tmp_path / "labels.csv")
    exams = {line.split(",")[0] for line in (tmp_path / "out" / "scores.csv").read_text().splitlines()[1:]}
    assert exams == {"left", *(uid for exam, uid in filled.uids.items() if exam != "left")}


@pytest.mark.parametrize("depth", [1, 2, 3], ids=["study", "series", "instance"])
def test_one_study_series_or_instance(filled, model, tmp_path, depth):
    key = place_of(filled, filled.uids["right"])
    path = "".join(f"/{name}/{uid}" for name, uid in zip(("studies", "series", "instances"), key[:depth], strict=False))
    assert predicting.predict([model], filled.url + path, tmp_path / "out").radiographs == 1
    assert list(results.read_coco_results(tmp_path / "out" / "detections.json")) == [filled.uids["right"]]


def test_all_pages_are_read_of_a_server_with_small_ones(pacs, radiographs):
    path = next(radiographs.iterdir())
    for number in range(45):
        pacs.add(path, study=f"1.2.3.{number}")
    pacs.page = 21
    refused = []
    found = list(dicomweb.Server.of(f"{pacs.url}/studies").radiographs(f"{pacs.url}/studies", known=(), refused=refused))
    assert len(found) + len(refused) == 45
    assert [query for path, query, _ in pacs.seen if path.endswith("/studies")] == [f"limit=500&offset={start}" for start in (0, 21, 42)]


def test_a_server_that_knows_no_pages(filled):
    everything = json.dumps([{"0020000D": {"Value": [key[0]]}} for key in filled.objects] * 10).encode()
    filled.answers["/dicom-web/studies"] = (200, {}, everything)
    refused = []
    found = list(dicomweb.Server.of(f"{filled.url}/studies").radiographs(f"{filled.url}/studies", known=(), refused=refused))
    assert len(found) == 6
    assert all(reason.startswith("a second file of exam") for _, reason in refused)


def test_the_query_of_the_url_is_passed_on(filled, model, tmp_path):
    predicting.predict([model], f"{filled.url}/studies?StudyDate=20260101-&ModalitiesInStudy=DX", tmp_path / "out")
    assert filled.seen[0][1] == "StudyDate=20260101-&ModalitiesInStudy=DX&limit=500&offset=0"


def test_objects_that_are_no_radiographs_are_listed(filled, model, tmp_path):
    _, attributes = filled.objects[place_of(filled, filled.uids["none"])]
    attributes["00080016"]["Value"] = [SR]
    summary = predicting.predict([model], f"{filled.url}/studies", tmp_path / "out")
    assert summary.radiographs == 5
    assert summary.refused == [(f"{filled.uids['none']}.dcm", "it is no CR or DX image but of the SOP class Comprehensive SR Storage")]
    wado = [path for path, _, _ in filled.seen if path.count("/") == 7]
    assert not [path for path in wado if path.endswith(filled.uids["none"])], "it was not even fetched"


@pytest.mark.parametrize("where", ["list", "file"])
def test_what_is_for_processing_is_left_out_as_the_worker_does(filled, model, radiographs, tmp_path, where):
    uid = filled.uids["left"]
    key = place_of(filled, uid)
    _, attributes = filled.objects[key]
    if where == "list":
        attributes["00080016"]["Value"] = [DX_PROCESSING]
    else:
        raw = pydicom.dcmread(radiographs / "left.dcm")
        raw.PresentationIntentType = "FOR PROCESSING"
        raw.save_as(tmp_path / "raw.dcm")
        filled.objects[key] = ((tmp_path / "raw.dcm").read_bytes(), attributes)
    summary = predicting.predict([model], f"{filled.url}/studies", tmp_path / "out")
    assert summary.radiographs == 5
    ((name, reason),) = summary.refused
    assert (name, reason.rstrip(".")) == (f"{uid}.dcm", "it is a radiograph for processing, which is not meant for the eye")
    assert [entry[0] for entry in json.loads((tmp_path / "out" / "predictions.json").read_text())["refused"]] == [f"{uid}.dcm"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param((404, {}, b""), "answers with HTTP 404", id="gone"),
        pytest.param((500, {}, b"<b>patient</b>"), "answers with HTTP 500", id="broken"),
        pytest.param((200, {"Content-Type": "text/html"}, b"<html>log in</html>"), "DICOM object", id="html"),
        pytest.param((302, {"Location": "http://127.0.0.1:9/"}, b""), "answers with HTTP 302", id="redirect"),
        pytest.param(
            (200, {"Content-Type": f"multipart/related; boundary={small_pacs.BOUNDARY}"}, b"--b0undary\r\n\r\nDICM"),
            "cut off",
            id="cut off",
        ),
        pytest.param((200, {"Content-Type": "application/dicom"}, b"no DICOM"), "not a DICOM file", id="no DICOM"),
    ],
)
def test_what_one_object_has_wrong_stops_nothing(filled, model, tmp_path, answer, reason):
    study, series, uid = place_of(filled, filled.uids["low"])
    filled.answers[f"/dicom-web/studies/{study}/series/{series}/instances/{uid}"] = answer
    summary = predicting.predict([model], f"{filled.url}/studies", tmp_path / "out")
    assert summary.radiographs == 5
    ((name, why),) = summary.refused
    assert name == f"{uid}.dcm"
    assert reason in why
    assert "patient" not in why


def test_an_endless_object_is_not_read_to_its_end(filled, model, tmp_path, monkeypatch):
    monkeypatch.setattr(dicomweb, "MAX_OBJECT_BYTES", 1 << 10)
    study, series, uid = place_of(filled, filled.uids["low"])
    with pytest.raises(DataError, match="could be read"):
        predicting.predict([model], f"{filled.url}/studies/{study}", tmp_path / "out")


def test_a_busy_server_is_asked_again(filled, model, tmp_path):
    filled.busy = 3
    assert predicting.predict([model], f"{filled.url}/studies", tmp_path / "out").radiographs == 6


def test_a_server_that_goes_away_stops_and_the_rest_comes_later(filled, model, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["--model", str(model), "--input", f"{filled.url}/studies", "--output-dir", str(out)]
    real = filled.answer

    def dies(path, query):
        if path.count("/") == 7 and sum(seen.count("/") == 7 for seen, _, _ in filled.seen) > 3:
            filled.busy = 1000
        return real(path, query)

    filled.answer = dies
    assert command.main(arguments) == 2
    err = capsys.readouterr().err
    assert f"{filled.url} does not answer" in err
    assert "the same command with --resume goes on from there." in err
    filled.busy, filled.answer = 0, real
    assert command.main([*arguments, "--resume"]) == 0
    summary = json.loads((out / "predictions.json").read_text())
    assert summary["radiographs"] == 6
    assert summary["resumed"] > 0


def test_a_server_that_is_not_there(model, tmp_path):
    with pytest.raises(DataError, match="http://127.0.0.1:9/dicom-web does not answer"):
        predicting.predict([model], "http://127.0.0.1:9/dicom-web/studies", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_page_that_is_no_list(pacs, model, tmp_path):
    pacs.answers["/dicom-web/studies"] = (200, {"Content-Type": "text/html"}, b"<html>hello</html>")
    with pytest.raises(DataError, match="does not answer with a list of DICOM objects. Is this a DICOMweb service?"):
        predicting.predict([model], f"{pacs.url}/studies", tmp_path / "out")


def test_nothing_there(pacs, model, tmp_path):
    with pytest.raises(DataError, match="There is no radiograph at"):
        predicting.predict([model], f"{pacs.url}/studies", tmp_path / "out")


def test_password_of_the_environment(filled, model, tmp_path, monkeypatch):
    filled.wanted = "Basic " + base64.b64encode("ä:s3cret".encode()).decode()
    with pytest.raises(DataError, match=r"refuses us \(HTTP 401\). Set PNEUMODET_PACS_USER"):
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


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Return a file with a key and a certificate for 127.0.0.1 that nobody has signed but itself."""
    folder = tmp_path_factory.mktemp("tls")
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    made += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key.pem", "-out", folder / "certificate.pem"]
    try:
        subprocess.run(made, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("no openssl to make a certificate with")
    both = folder / "both.pem"
    both.write_bytes((folder / "key.pem").read_bytes() + (folder / "certificate.pem").read_bytes())
    return both


def test_certificates_are_checked(certificate, model, radiographs, tmp_path, monkeypatch):
    with small_pacs.serving(certificate) as pacs:
        pacs.add(radiographs / "left.dcm")
        with pytest.raises(DataError, match="its certificate is not trusted"):
            predicting.predict([model], f"{pacs.url}/studies", tmp_path / "out")
        assert pacs.seen == []
        monkeypatch.setenv("PNEUMODET_PACS_CA", str(certificate.with_name("certificate.pem")))
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
    ],
    ids=["credentials", "clear", "base", "list of a study", "no UID", "limit"],
)
def test_urls_that_are_refused(url, message):
    with pytest.raises(ConfigError, match=message) as error:
        dicomweb.Server.of(url)
    assert "s3cret" not in str(error.value)


def test_an_object_at_which_the_server_breaks_off(filled, model, tmp_path):
    """It is that object's fault as long as the server answers other questions."""
    study, series, uid = place_of(filled, filled.uids["low"])
    path = f"/dicom-web/studies/{study}/series/{series}/instances/{uid}"
    filled.answers[path] = (200, {"Content-Type": "application/dicom", "Content-Length": "5000", "Connection": "close"}, b"DICM")
    summary = predicting.predict([model], f"{filled.url}/studies", tmp_path / "out")
    assert summary.radiographs == 5
    assert "the server answers, but not when it is asked for this object" in summary.refused[0][1]
