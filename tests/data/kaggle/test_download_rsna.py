"""The real Kaggle client against a server on loopback that speaks its API: signs in, redirects to storage, cuts, refuses."""

import contextlib
import http.server
import io
import json
import os
import re
import sys
import threading
import zipfile

import pytest

from pneumodet.cli import download_rsna
from pneumodet.core.errors import DataError, EnvironmentProblem
from pneumodet.data.kaggle import archive, client, fetching

FAST = (0.0, 0.0)
FEW = fetching.Counts({"stage_2_train_images": 3, "stage_2_test_images": 2}, 4)
LABELS = "patientId,x,y,width,height,Target\na,,,,,0\nb,1,2,3,4,1\nb,5,6,7,8,1\nc,,,,,0\n"
FILES = {
    **{f"stage_2_train_images/{name}.dcm": bytes(range(256)) * 40 + name.encode() for name in "abc"},
    **{f"stage_2_test_images/{name}.dcm": b"test" * 999 + name.encode() for name in "de"},
    "stage_2_train_labels.csv": LABELS.encode(),
}


def zipped(files):
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as made:  # stored, so that a byte can be broken in a known place
        for name, content in files.items():
            made.writestr(name, content)
    return whole.getvalue()


class Kaggle:
    """What the server does, and what it was asked.

    Attributes:
      body: the archive.
      active: whether it knows the token.
      code: what it answers to who asks for the files; 302 sends to the storage.
      cut_after: number of bytes after which the storage closes the connection, for each request in turn.
      asked: the API's methods and the storage's ranges, in order.
    """

    def __init__(self):
        self.body, self.active, self.code, self.cut_after, self.asked, self.url = zipped(FILES), True, 302, [], [], ""


@pytest.fixture
def kaggle(monkeypatch, tmp_path):
    """Return a Kaggle; the client talks to it, with the token of a made-up user."""
    does = Kaggle()

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            method = self.path.rpartition("/")[2]
            does.asked.append(method)
            if method == "IntrospectToken":
                self.answer(200, {"active": does.active, "username": "reader"})
            elif self.headers["Authorization"] != "Bearer made-up" or does.code != 302:
                self.answer(
                    401 if does.code == 302 else does.code, {"code": does.code, "message": "You must accept this competition's rules"}
                )
            else:
                self.send_response(302)
                self.send_header("Location", f"{does.url}/storage/archive.zip?Signature={len(does.asked)}")
                self.send_header("Content-Length", "0")
                self.end_headers()

        def do_GET(self):
            wanted = self.headers.get("Range")
            if self.headers["User-Agent"].startswith("pneumodet"):
                does.asked.append(wanted or "all")
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted else 0
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(does.body) - 1}/{len(does.body)}")
            self.send_header("ETag", '"a"')
            rest = does.body[start:]
            self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            cuts = does.cut_after if self.headers["User-Agent"].startswith("pneumodet") else []
            with contextlib.suppress(OSError):
                self.wfile.write(rest[: cuts.pop(0) if cuts else len(rest)])

        def answer(self, code, content):
            body = json.dumps(content).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    kaggle_env = pytest.importorskip("kagglesdk.kaggle_env")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        does.url = f"http://127.0.0.1:{listening.server_port}"
        for name in [name for name in os.environ if name.startswith("KAGGLE_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        monkeypatch.setenv("KAGGLE_API_TOKEN", "made-up")
        monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, does.url)
        from kaggle.api.kaggle_api_extended import KaggleApi  # signs in, at the server above

        monkeypatch.setattr(KaggleApi, "config", str(tmp_path / "home" / "kaggle.json"))
        does.asked.clear()
        yield does
        listening.shutdown()
        thread.join()


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_all_files_arrive_through_cuts_and_a_second_start_asks_nobody(kaggle, tmp_path):
    kaggle.cut_after = [3000, 0, 5000]
    calls = []
    fetched = fetching.fetch(
        tmp_path / "rsna", expected=FEW, delays=FAST, on_download=lambda *now: calls.append(now), on_unpack=lambda *now: calls.append(now)
    )
    assert (fetched.counts, fetched.was_whole) == (FEW, False)
    assert kaggle.asked == ["IntrospectToken", "DownloadDataFiles", "all", "bytes=3000-", "bytes=3000-", "bytes=8000-"]
    there = contents(tmp_path / "rsna")
    assert there.pop(fetching.MARKER)
    assert there == FILES
    assert (len(kaggle.body), len(kaggle.body)) in calls
    assert calls[-1] == (sum(map(len, FILES.values())),) * 2
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "home") == ["rsna", f"{client.COMPETITION}.zip"]
    kaggle.asked.clear()
    again = fetching.fetch(tmp_path / "rsna", expected=FEW)
    assert again.was_whole
    assert again.counts == FEW
    assert kaggle.asked == []


def test_the_next_process_goes_on_although_the_address_is_signed_anew(kaggle, tmp_path):
    kaggle.cut_after = [1000, 0, 0, 0]
    with pytest.raises(
        DataError, match=r"ended after 1000 of .* resumes from what has arrived.*browser at https://www\.kaggle\.com/"
    ) as cut:
        fetching.fetch(tmp_path / "rsna", expected=FEW, delays=FAST)
    assert "Signature" not in str(cut.value)
    assert not (tmp_path / "rsna").exists()
    assert not fetching.archive_path(tmp_path / "rsna").exists()
    kaggle.asked.clear()
    kaggle.cut_after.clear()
    fetching.fetch(tmp_path / "rsna", expected=FEW, delays=FAST)
    assert kaggle.asked[-1] == "bytes=1000-"
    assert fetching.archive_path(tmp_path / "rsna").read_bytes() == kaggle.body


def test_a_stopped_unpacking_goes_on_with_the_files_that_are_there(kaggle, tmp_path, monkeypatch):
    written, unpack_one = [], archive._unpack_one

    def stops(opened, member, *rest):
        if len(written) == 4:
            raise KeyboardInterrupt
        unpack_one(opened, member, *rest)
        written.append(member.filename)

    monkeypatch.setattr(archive, "_unpack_one", stops)
    with pytest.raises(KeyboardInterrupt):
        fetching.fetch(tmp_path / "rsna", expected=FEW)
    assert not (tmp_path / "rsna").exists()
    (half,) = tmp_path.glob(f".rsna.partial/new/{written[1]}")
    half.write_bytes(b"?" * half.stat().st_size)  # the right size, and wrong
    first, written[:] = list(written), []
    kaggle.asked.clear()
    fetching.fetch(tmp_path / "rsna", expected=FEW)
    assert written == [first[1], *list(FILES)[4:]]
    assert kaggle.asked == []
    assert {name: content for name, content in contents(tmp_path / "rsna").items() if name != fetching.MARKER} == FILES


@pytest.mark.parametrize(
    ("code", "message"),
    [
        pytest.param(401, r"credentials \(401\)\. Make a token at https://www\.kaggle\.com/settings/api", id="credentials"),
        pytest.param(
            403, rf"not accepted the rules.*Accept them at https://www\.kaggle\.com/competitions/{client.COMPETITION}/rules", id="rules"
        ),
        pytest.param(404, "does not know the competition", id="gone"),
        pytest.param(429, "too many requests.*Wait", id="busy"),
        pytest.param(503, "cannot be reached .it answers 503", id="down"),
    ],
)
def test_refusals_say_what_mends_them(kaggle, tmp_path, code, message):
    kaggle.code = code
    with pytest.raises((DataError, EnvironmentProblem), match=message + ".*Or download all in the browser"):
        fetching.fetch(tmp_path / "rsna", expected=FEW)
    assert not (tmp_path / "rsna").exists()


def test_missing_credentials_do_not_end_the_process(kaggle, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    with pytest.raises(
        DataError, match=r"no credentials for Kaggle\. Make a token at https://www\.kaggle\.com/settings/api .*KAGGLE_API_TOKEN"
    ):
        fetching.fetch(tmp_path / "rsna", expected=FEW)
    assert capsys.readouterr() == ("", "")  # nothing of what the client says


def test_a_token_that_is_no_longer_valid_is_told_from_none(kaggle, tmp_path):
    kaggle.active = False
    with pytest.raises(DataError, match="does not accept the token in the environment variable KAGGLE_API_TOKEN"):
        fetching.fetch(tmp_path / "rsna", expected=FEW)


def test_a_server_that_is_not_there(kaggle, tmp_path, monkeypatch):
    kaggle_env = pytest.importorskip("kagglesdk.kaggle_env")
    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, "http://127.0.0.1:9")
    with pytest.raises(EnvironmentProblem, match="Kaggle cannot be reached .ConnectionError"):
        fetching.fetch(tmp_path / "rsna", expected=FEW)


def test_the_package_is_missing(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "kaggle.api.kaggle_api_extended", None)
    with pytest.raises(EnvironmentProblem, match=r"not installed\. Run: pip install .*\[kaggle\]'"):
        fetching.fetch(tmp_path / "rsna", expected=FEW)


@pytest.mark.parametrize("raised", ["exit(1)", "raise OSError('Could not find kaggle.json')"], ids=["exits", "raises"])
def test_older_clients_that_end_while_they_are_imported(monkeypatch, tmp_path, raised):
    folder = tmp_path / "old" / "kaggle"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(f"print('Missing username')\n{raised}\n")
    monkeypatch.syspath_prepend(folder.parent)
    for name in [name for name in sys.modules if name.partition(".")[0] == "kaggle"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delenv("KAGGLE_API_TOKEN", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(DataError, match="no credentials for Kaggle"):
        client.archive_address()


def test_what_else_is_in_the_folder_stays(kaggle, tmp_path):
    """RSNA's list of patients is loaded by hand, from another place, and may be there first."""
    folder = tmp_path / "rsna"
    folder.mkdir()
    (folder / download_rsna.MAPPING).write_text("[]")
    fetching.fetch(folder, expected=FEW, delays=FAST)
    mine = {download_rsna.MAPPING: b"[]"}
    assert {name: content for name, content in contents(folder).items() if name != fetching.MARKER} == FILES | mine
    (folder / "notes").mkdir()
    (folder / "notes" / "mine.txt").write_text("keep")
    mine |= {"notes/mine.txt": b"keep"}
    (folder / "stage_2_train_images" / "a.dcm").unlink()
    with pytest.raises(DataError, match="no longer whole.*--overwrite"):
        fetching.fetch(folder, expected=FEW)
    fetching.fetch(folder, expected=FEW, overwrite=True)
    assert {name: content for name, content in contents(folder).items() if name != fetching.MARKER} == FILES | mine


@pytest.mark.parametrize("before", ["download", "unpacking"])
def test_what_comes_into_the_folder_meanwhile_stays(kaggle, tmp_path, before):
    """Four GB take their time, in which RSNA's list of patients is put where it belongs."""
    folder = tmp_path / "rsna"
    folder.mkdir()
    if before == "unpacking":
        (folder / "notes.txt").write_text("mine")

    def put(*_):
        (folder / download_rsna.MAPPING).write_text("[]")

    fetching.fetch(folder, expected=FEW, delays=FAST, **{"on_download" if before == "download" else "on_unpack": put})
    assert (folder / download_rsna.MAPPING).read_text() == "[]"
    assert (folder / fetching.MARKER).is_file()


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["stage_2_train_labels.csv", "credits.txt"])
def test_a_file_of_the_archives_names_is_not_overwritten(kaggle, tmp_path, name, overwrite):
    kaggle.body = zipped(FILES | {"credits.txt": b"of Google"})
    folder = tmp_path / "rsna"
    folder.mkdir()
    (folder / download_rsna.MAPPING).write_text("[]")
    (folder / name).write_text("mine")
    with pytest.raises(DataError, match=f"holds {name}, which this command would overwrite"):
        fetching.fetch(folder, expected=FEW, overwrite=overwrite)
    assert contents(folder) == {download_rsna.MAPPING: b"[]", name: b"mine"}
    assert ("all" in kaggle.asked) == (name == "credits.txt"), "refused before the download where the name is known"


def test_the_cause_of_a_lost_connection_is_told_whole():
    """As requests and urllib3 wrap it; its first 200 characters would end within a word."""
    from requests import exceptions
    from urllib3.exceptions import MaxRetryError, NewConnectionError

    said = "HTTPSConnection(host='api.kaggle.com', port=443): Failed to resolve 'api.kaggle.com' ([Errno -2] Name or service not known)"
    pool = "HTTPSConnectionPool(host='api.kaggle.com', port=443)"
    inner = MaxRetryError(pool, "/v1/security.OAuthService/IntrospectToken", NewConnectionError(None, said))
    text = str(client._explained(exceptions.ConnectionError(inner)))
    assert "(ConnectionError: Failed to resolve 'api.kaggle.com' ([Errno -2] Name or service not known))" in text
    text = str(client._explained(exceptions.ConnectionError("word " * 99)))
    assert "word word …)" in text and len(text) < 350


def test_disk_space_is_looked_at_before_the_download(kaggle, tmp_path, monkeypatch):
    monkeypatch.setattr(archive.shutil, "disk_usage", lambda path: type("", (), {"free": int(2.05 * len(kaggle.body))}))
    with pytest.raises(DataError, match=r"To download and unpack .* are needed, but the disk of .* has .* left"):
        fetching.fetch(tmp_path / "rsna", expected=FEW)
    assert "all" not in kaggle.asked
    monkeypatch.setattr(archive.shutil, "disk_usage", lambda path: type("", (), {"free": int(2.15 * len(kaggle.body))}))
    assert fetching.fetch(tmp_path / "rsna", expected=FEW).counts == FEW


def by_hand(tmp_path, content):
    path = fetching.archive_path(tmp_path / "rsna")
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", ["../out.dcm", "/out.dcm", "a/../../out.dcm", "..\\out.dcm", "C:out.dcm"])
def test_no_member_leaves_the_folder(tmp_path, name):
    by_hand(tmp_path, zipped({**FILES, name: b"?"}))
    with pytest.raises(DataError, match="leads out of its folder"):
        fetching.fetch(tmp_path / "rsna", expected=FEW)
    assert [path.name for path in tmp_path.iterdir()] == [f"{client.COMPETITION}.zip"]


def test_links_are_refused(tmp_path):
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as made:
        link = zipfile.ZipInfo("stage_2_train_images")
        link.external_attr = 0o120777 << 16
        made.writestr(link, "/tmp")
    by_hand(tmp_path, whole.getvalue())
    with pytest.raises(DataError, match="is a link"):
        fetching.fetch(tmp_path / "rsna", expected=FEW)


def test_damage_is_noticed(tmp_path):
    good = zipped(FILES)
    path = by_hand(tmp_path, good[:-30])
    with pytest.raises(DataError, match="no whole ZIP archive"):
        fetching.fetch(tmp_path / "rsna", expected=FEW)
    place = good.index(b"test" * 999)
    path.write_bytes(good[:place] + b"T" + good[place + 1 :])
    with pytest.raises(DataError, match=r"stage_2_test_images/d\.dcm is damaged .*CRC.*Remove it, and run the same command again"):
        fetching.fetch(tmp_path / "rsna", expected=FEW)
    assert not (tmp_path / "rsna").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"stage_2_train_images/more.dcm": b"?"}, "stage_2_train_images has 4 DICOM files; 3 are expected", id="images"),
        pytest.param({"stage_2_train_labels.csv": (LABELS + "d,,,,,0\n").encode()}, "has 5 rows; 4 are expected", id="rows"),
    ],
)
def test_other_counts_are_no_result(tmp_path, change, message):
    by_hand(tmp_path, zipped(FILES | change))
    with pytest.raises(DataError, match=message):
        fetching.fetch(tmp_path / "rsna", expected=FEW)
    assert not (tmp_path / "rsna").exists()


def test_a_folder_that_lost_a_file_is_made_anew_only_when_asked_to(tmp_path):
    by_hand(tmp_path, zipped(FILES))
    fetching.fetch(tmp_path / "rsna", expected=FEW)
    lost = tmp_path / "rsna" / "stage_2_train_images" / "b.dcm"
    lost.write_bytes(b"short")
    with pytest.raises(DataError, match=r"b\.dcm has 5 bytes instead of 10,241\. Give --overwrite"):
        fetching.fetch(tmp_path / "rsna", expected=FEW)
    fetching.fetch(tmp_path / "rsna", expected=FEW, overwrite=True)
    assert lost.read_bytes() == FILES["stage_2_train_images/b.dcm"]


def test_a_folder_with_other_things_is_left_alone(kaggle, tmp_path):
    (tmp_path / "rsna" / "thesis").mkdir(parents=True)
    (tmp_path / "rsna" / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match="holds other things"):
        fetching.fetch(tmp_path / "rsna", expected=FEW, overwrite=True)
    assert kaggle.asked == []


def test_the_command(kaggle, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(fetching, "EXPECTED", FEW)
    monkeypatch.setattr(fetching.fetch, "__kwdefaults__", fetching.fetch.__kwdefaults__ | {"expected": FEW})
    kaggle.code = 403
    assert download_rsna.main(["--output-dir", str(tmp_path / "rsna")]) == 2
    assert client.RULES in capsys.readouterr().err
    kaggle.code = 302
    assert download_rsna.main(["--output-dir", str(tmp_path / "rsna")]) == 0
    out = capsys.readouterr().out
    assert "3 DICOM files" in out
    mapping = tmp_path / "rsna" / download_rsna.MAPPING
    assert f"put it into {tmp_path / 'rsna'}\n" in out and f"--patient-map {mapping} --output-dir" in out
    mapping.write_text("[]")
    assert "make_tfrecords.py --dicom-dir" in out
    assert download_rsna.main(["--output-dir", str(tmp_path / "rsna")]) == 0
    out = capsys.readouterr().out
    assert "nothing was downloaded" in out and "put it into" not in out


def test_what_kaggle_has():
    assert (fetching.EXPECTED.images["stage_2_train_images"], fetching.EXPECTED.images["stage_2_test_images"]) == (26_684, 3_000)
    assert fetching.EXPECTED.label_rows == 30_227


@pytest.mark.real_data
def test_the_expected_rows_are_those_of_the_real_labels(shared_data):
    with open(shared_data / "rsna_csv" / fetching.LABELS, encoding="utf-8") as file:
        assert sum(1 for _ in file) - 1 == fetching.EXPECTED.label_rows
