"""The page in a real Chromium: dropping, sliding, downloading, hostile files, two users, keyboard, contrast, phone."""

import csv
import io
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import radiographs
from PIL import Image

playwright_api = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
pytest.importorskip("streamlit", reason="the package streamlit is not installed")
pytest.importorskip("onnxruntime", reason="the package onnxruntime is not installed")
tiny_export = pytest.importorskip("tiny_export", reason="the package onnx is not installed")

CHROMIUM = Path("/usr/bin/chromium")
APP = Path(__file__).resolve().parents[3] / "tools" / "app.py"
PATIENCE_MS = 120_000

# its quick sibling is test_web_first_view
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not CHROMIUM.exists(), reason=f"{CHROMIUM} is not there: apt-get install chromium")]

LABELS = "patientId,x,y,width,height,Target\nlabelled,16,24,16,16,1\n"

MEASURED = {"images": 57, "patients": 47, "operating_point": {"chosen": {}}, "checkpoint_chosen_of": 10}
"""What model.json says of its evaluation."""

TOO_PALE = (Path(__file__).with_name("contrast.js")).read_text()


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """Start the page with a tiny model, labels and a heatmap; return its address."""
    folder = tmp_path_factory.mktemp("app")
    model = tiny_export.make(folder / "model")
    card = json.loads((model / "model.json").read_text())
    card |= {"calibrator": {"method": "platt", "slope": 1.0, "intercept": 0.0}, "metrics": MEASURED}
    (model / "model.json").write_text(json.dumps(card))
    (folder / "labels.csv").write_text(LABELS)
    (folder / "heatmap").mkdir()
    Image.fromarray(np.full((8, 8), 255, np.uint8)).save(folder / "heatmap" / "heated.png")
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    command = [sys.executable, str(APP), "--model", str(model), "--port", str(port)]
    command += ["--labels", str(folder / "labels.csv"), "--heatmap", str(folder / "heatmap")]
    environment = {**os.environ, "HOME": str(folder)}  # a new user, whom Streamlit would ask for an e-mail address
    server = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(address, server)
        yield address
    finally:
        server.terminate()
        server.wait(timeout=60)


def wait_for(address, server):
    for _ in range(PATIENCE_MS // 100):
        try:
            return urllib.request.urlopen(address, timeout=10).read()
        except OSError:
            assert server.poll() is None, server.stdout.read()
            time.sleep(0.1)
    raise AssertionError("the page did not come up")


@pytest.fixture(scope="module")
def browser():
    with playwright_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, url):
    """Return what opens the page for a new user."""
    contexts = []

    def opened(**options):
        contexts.append(browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options}))
        page = contexts[-1].new_page()
        page.set_default_timeout(PATIENCE_MS)
        playwright_api.expect.set_options(timeout=PATIENCE_MS)
        page.hosts = set()
        page.on("request", lambda request: page.hosts.add(request.url.partition("://")[2].partition("/")[0]))
        page.dialogs = []
        page.on("dialog", lambda dialog: (page.dialogs.append(dialog.message), dialog.dismiss()))
        page.goto(url)
        page.get_by_role("heading", level=1).wait_for()
        page.locator("input[type=file]").wait_for(state="attached")
        return page

    yield opened
    for context in contexts:
        context.close()


def drop(page, *files):
    playwright_api.expect(page.locator("input[type=file]")).to_have_count(1)  # that of the drop before goes when the script has ended
    page.locator("input[type=file]").set_input_files(
        [{"name": one.name, "mimeType": "application/octet-stream", "buffer": one.data} for one in files]
    )


def expect_text(page, text):
    playwright_api.expect(page.get_by_text(text).first).to_be_visible()


def listed(page):
    """The list of cases, as (score, name)."""
    labels = page.get_by_role("radiogroup", name="Radiographs by score").locator("label")
    labels.first.wait_for()
    return [(float(text.split()[1]), " ".join(text.split()[2:])) for text in labels.all_inner_texts()]


def downloaded(page, name):
    with page.expect_download() as download:
        page.get_by_role("button", name=name, exact=True).click()
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def bright(name, level=255):
    return radiographs.png(radiographs.square(level, size=256, at=(64, 96), side=64), name)


def test_the_first_view_says_what_it_is_for_and_calls_nobody(open_page, url):
    page = open_page()
    expect_text(page, "not a medical device")
    expect_text(page, "Drop a radiograph")
    page.wait_for_timeout(1000)
    assert page.hosts == {url.partition("://")[2]}


def test_another_name_for_this_computer_gets_no_page(url):
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(urllib.request.Request(url, headers={"Host": "evil.example"}), timeout=10)


def test_dropped_radiographs_are_sorted_and_the_best_is_shown(open_page):
    page = open_page()
    drop(page, bright("dim.png", 150), bright("bright.png"), radiographs.dicom(radiographs.square(200, size=256, at=(64, 96), side=64)))
    page.get_by_role("heading", name="bright").wait_for()
    assert [name for _, name in listed(page)] == ["bright", "exam", "dim"]
    scores = [score for score, _ in listed(page)]
    assert scores == sorted(scores, reverse=True)
    expect_text(page, "1 box at a score of 0.500 or more")
    expect_text(page, ">99% of radiographs with this score have pneumonia")  # never 100 %, and on what that rests
    expect_text(page, "(57 exams of 47 patients, on which the model's threshold and checkpoint were chosen as well)")
    page.get_by_role("radiogroup", name="Radiographs by score").locator("label").nth(1).click()
    page.get_by_role("heading", name="exam").wait_for()
    page.get_by_text("About this file").click()
    expect_text(page, "CR (computed radiography)")
    assert "secret" not in page.content().lower()


def test_the_threshold_begins_at_the_operating_point_and_slides_by_keyboard(open_page):
    page = open_page()
    drop(page, bright("one.png"))
    slider = page.get_by_role("slider", name="Score threshold")
    assert slider.input_value() == "0.5"
    before = page.locator("[data-testid=stImage] img").get_attribute("src")
    slider.focus()
    slider.press("End")
    expect_text(page, "No box at a score of 1.000 or more")
    assert page.locator("[data-testid=stImage] img").get_attribute("src") != before
    page.get_by_role("button", name="Set it back").click()
    expect_text(page, "1 box at a score of 0.500 or more")


def test_downloads(open_page):
    page = open_page()
    drop(page, bright("one.png"), radiographs.dicom(radiographs.square(60, size=256, at=(64, 96), side=64), "two.dcm"))
    page.get_by_role("heading", name="one").wait_for()
    name, data = downloaded(page, "JSON")
    assert name == "one.json"
    box = json.loads(data)["detections"][0]["bbox"]
    assert box == pytest.approx([64, 96, 64, 64], abs=8)
    name, data = downloaded(page, "PNG")
    assert name == "one.png"
    assert Image.open(io.BytesIO(data)).size == (256, 256)
    playwright_api.expect(page.get_by_role("button", name="DICOM SR")).to_be_disabled()
    page.get_by_text("all radiographs").click()
    playwright_api.expect(page.get_by_role("button", name="DICOM SR")).to_be_enabled()
    name, data = downloaded(page, "CSV")
    assert name == "pneumodet.csv"
    assert [row["filename"] for row in csv.DictReader(io.StringIO(data.decode()))] == ["one.png", "two.dcm"]


def test_an_sr_of_a_dicom_file(open_page):
    pytest.importorskip("highdicom", reason="highdicom, which writes the SR, is not installed")
    import pydicom

    page = open_page()
    page.get_by_role("combobox").click()
    page.get_by_role("option", name="Sample 1").click()
    page.get_by_role("heading", name="sample-1").wait_for()
    name, data = downloaded(page, "DICOM SR")
    assert name == "sample-1.sr.dcm"
    assert pydicom.dcmread(io.BytesIO(data)).Modality == "SR"


def test_hostile_files_get_a_sentence_and_the_others_are_seen(open_page):
    page = open_page()
    cut = radiographs.dicom(radiographs.square()).data[:700]
    drop(
        page,
        radiographs.File("cut.dcm", cut),
        radiographs.File("note.txt", b"hello"),
        bright("<img src=x onerror=alert(1)>.png"),
        bright("![x](http:⧸⧸example.org⧸x.png) **b**.png", 254),
        radiographs.File("<script>alert(2)</script>.dcm", b"nothing"),
    )
    expect_text(page, "Left out")
    for text in ("cut.dcm", "note.txt", "not a DICOM file"):
        expect_text(page, text)
    page.get_by_role("radiogroup", name="Radiographs by score").wait_for()
    assert len(listed(page)) == 2
    assert page.dialogs == []
    assert not any("example" in host for host in page.hosts)
    page.get_by_role("button", name="Hide this list").click()
    playwright_api.expect(page.get_by_text("Left out")).to_have_count(0)


def test_many_refused_files_leave_room_for_the_others(open_page):
    """The list of cases stands below."""
    page = open_page()
    drop(page, *(radiographs.File(f"note-{number}.txt", b"hello") for number in range(40)), bright("one.png"))
    page.get_by_role("heading", name="one").wait_for()
    expect_text(page, "note-0.txt, note-1.txt, note-2.txt")
    expect_text(page, "and 37 more")
    assert page.get_by_text("Left out").locator("xpath=ancestor::*[@role='alert']").bounding_box()["height"] < 300


def test_two_users_do_not_see_each_other(open_page):
    first, second = open_page(), open_page()
    drop(first, bright("anna.png"))
    drop(second, bright("bert.png", 240))
    first.get_by_role("heading", name="anna").wait_for()
    second.get_by_role("heading", name="bert").wait_for()
    drop(first, bright("third.png", 200))
    playwright_api.expect(first.get_by_role("radiogroup", name="Radiographs by score").locator("label")).to_have_count(2)
    assert {name for _, name in listed(first)} == {"anna", "third"}
    assert {name for _, name in listed(second)} == {"bert"}
    assert "anna" not in second.content()
    first.get_by_role("button", name="Remove all").click()
    expect_text(first, "Drop a radiograph")
    assert {name for _, name in listed(second)} == {"bert"}


def test_ground_truth_and_heatmaps_are_found_by_name(open_page):
    page = open_page()
    truth, heatmap = (page.get_by_role("checkbox", name=name) for name in ("Ground truth", "Heatmap"))
    drop(page, bright("labelled.png"))
    page.get_by_role("heading", name="labelled").wait_for()
    playwright_api.expect(truth).to_be_enabled()
    playwright_api.expect(heatmap).to_be_disabled()
    drop(page, bright("heated.png", 250))
    page.get_by_role("heading", name="heated").wait_for()
    playwright_api.expect(truth).to_be_disabled()
    playwright_api.expect(heatmap).to_be_enabled()
    drop(page, radiographs.File("more.csv", LABELS.replace("labelled", "heated").encode()))
    playwright_api.expect(truth).to_be_enabled()


def test_a_16_bit_file_has_a_window_on_its_own_values(open_page):
    page = open_page()
    deep = np.tile(np.linspace(100, 3500, 256).astype(np.uint16), (256, 1))
    drop(page, radiographs.dicom(deep, "deep.dcm", bits=12, WindowCenter=1800, WindowWidth=2000))
    page.get_by_role("heading", name="deep").wait_for()
    level = page.get_by_role("slider", name="Level")
    assert (level.get_attribute("min"), level.get_attribute("max")) == ("100", "3500")
    picture = page.locator("[data-testid=stImage] img")
    before = picture.get_attribute("src")
    level.focus()
    level.press("Home")
    playwright_api.expect(page.get_by_role("button", name="Set the window back")).to_be_visible()
    page.wait_for_function("before => document.querySelector('[data-testid=stImage] img').src.indexOf(before) < 0", arg=before)
    page.get_by_role("button", name="Set the window back").click()
    page.wait_for_function("before => document.querySelector('[data-testid=stImage] img').src.indexOf(before) >= 0", arg=before)


def test_everything_can_be_reached_by_keyboard(open_page):
    page = open_page()
    drop(page, bright("one.png"), bright("two.png", 230))
    page.get_by_role("heading", name="one").wait_for()
    page.get_by_text("a DICOM SR needs").wait_for()  # the last of the page, which may come while the first is there
    page.locator("[data-testid=stImage] img").wait_for()
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("(e => e.getAttribute('aria-label') || e.innerText || e.type)(document.activeElement)"))
    text = "\n".join(map(str, reached))
    for name in ("Upload", "radio", "Score threshold", "Level", "Window width", "JSON", "CSV", "PNG", "Remove all", "Boxes", "Or a sample"):
        assert name in text, f"{name} is not among {sorted(map(str, reached))}"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(open_page, scheme):
    page = open_page(color_scheme=scheme)
    assert page.evaluate(TOO_PALE) == []
    drop(page, bright("one.png"), radiographs.File("note.txt", b"hello"))
    page.get_by_role("heading", name="one").wait_for()
    page.get_by_text("About this file").click()
    page.get_by_text("a DICOM SR needs").wait_for()
    page.wait_for_function("!document.querySelector('[data-stale=true]')")  # paler while the script runs
    page.wait_for_timeout(500)
    assert page.evaluate(TOO_PALE) == []


def test_a_phone_shows_all_of_it(open_page):
    page = open_page(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True, device_scale_factor=2)
    drop(page, bright("a-rather-long-name-of-a-file-that-somebody-has-dropped-on-the-page.png"))
    picture = page.locator("[data-testid=stImage] img")
    picture.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    box = picture.bounding_box()
    assert box["width"] >= 320
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
