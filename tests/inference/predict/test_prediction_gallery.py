"""The page of pictures: order, links, escaping; and in a real browser, at the desk and on a phone."""

import html.parser
import json
import re
import shutil
import subprocess

import pytest
import squares

from pneumodet.inference.predict import gallery, predicting
from pneumodet.inference.predict.outputs import Rules, Shown, file_name
from pneumodet.inference.probability import Calibrator

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

NASTY = '<img src=x onerror="document.title=1">&\'%2e'


class Page(html.parser.HTMLParser):
    """What a browser would make of the page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.images, self.links, self.texts = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        attributes = dict(attributes)
        assert not [name for name in attributes if name.startswith("on")]
        if tag == "img":
            self.images.append(attributes)
        if tag == "a":
            self.links.append(attributes["href"])

    def handle_data(self, data):
        self.texts.append(data)


def write(folder, shown, **more):
    heading = gallery.Heading("tiny (ckpt-1)", 3, 1, more.pop("left_out", 0), "given", more.pop("notes", ()))
    return gallery.write(folder, shown, Rules(2, 0.5), heading, **more).read_text()


def test_highest_score_comes_first_and_everything_is_escaped(tmp_path):
    name = file_name(NASTY)
    shown = [
        Shown("low", "low.png", (96, 96), 0.1, None, 0),
        Shown(NASTY, f"{name}.png", (96, 64), 0.9, 1.0, 2),
        Shown("a b", "a b#1.png", (96, 96), 0.0, None, 0),
    ]
    page = Page(write(tmp_path, shown, notes=["a <b>note</b>"], left_out=1))
    assert [one["alt"] for one in page.images] == [f"Radiograph {NASTY}, 2 boxes", "Radiograph low, 0 boxes", "Radiograph a b, 0 boxes"]
    assert page.links == [one["src"] for one in page.images]
    assert page.links[2] == "images/a%20b%231.png"
    assert not {"script", "b", "iframe", "link"} & set(page.tags)
    assert "probability &gt;99%" in (tmp_path / gallery.GALLERY).read_text()
    text = "".join(page.texts)
    assert "a <b>note</b>" in text
    assert "probability >99%" in text
    assert "no box, below the threshold of 0.5" in text
    assert "1 file could not be read" in text
    assert "http" not in "".join(page.links)


def test_a_probability_beside_no_box_is_explained(tmp_path):
    heading = gallery.Heading("tiny (ckpt-1)", 1, 0, 0, "given")
    rules = Rules(2, 0.5, Calibrator("temperature", {"temperature": 2.0}))
    page = Page(gallery.write(tmp_path, [Shown("a", "a.png", (96, 96), 0.4, 0.72, 0)], rules, heading).read_text())
    text = "".join(page.texts)
    assert "score 0.400 · probability about 72% · no box, below the threshold of 0.5" in text
    assert "a radiograph without one may have a high probability" in text


def test_pairs_are_twice_as_wide(tmp_path):
    page = Page(write(tmp_path, [Shown("a", "a.png", (90, 60), 0.2, None, 1)], truth_boxes={"a": 3}))
    assert (page.images[0]["width"], page.images[0]["height"]) == ("120", "90")
    assert "ground truth 3" in "".join(page.texts)


def test_without_pictures(tmp_path):
    assert "No pictures were drawn" in write(tmp_path, [])


def test_names_of_files_are_safe_and_never_the_same():
    names = ["a/b", "a_b", "a:b", "..", "", ".a", "a", "x" * 300, "x" * 301, "ä" * 150, "\ud800"]
    made = [file_name(name) for name in names]
    assert len(set(made)) == len(names)
    assert all(re.fullmatch(r"[\w\-][\w\-.]*", one) and len(one.encode()) <= 220 for one in made)
    assert file_name("0004cfab-14fd.1") == "0004cfab-14fd.1"


MEASURE = """<!DOCTYPE html><body><iframe id="f" src="out/gallery.html" style="border:0;width:{width}px;height:2000px"></iframe><script>
onload = () => {{ const d = document.getElementById("f").contentDocument, i = [...d.images];
 document.body.textContent = JSON.stringify({{width: d.documentElement.scrollWidth, loaded: i.filter(x => x.complete && x.naturalWidth).length,
 images: i.length, title: d.title, color: d.defaultView.getComputedStyle(d.body).backgroundColor}}); }};</script>"""


@pytest.mark.parametrize("width", [1280, 390], ids=["desk", "phone"])
def test_in_a_browser(model, tmp_path, width):
    if CHROMIUM is None:
        pytest.skip("no Chromium")
    for name in ("left", NASTY.replace("/", "")):
        squares.write(tmp_path / "in" / f"{name}.dcm", (12, 24))
    predicting.predict([model], tmp_path / "in", tmp_path / "out")
    (tmp_path / "measure.html").write_text(MEASURE.format(width=width))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", f"--user-data-dir={tmp_path / 'profile'}"]
    flags += ["--virtual-time-budget=5000", "--window-size=1400,2100", "--dump-dom", f"file://{tmp_path / 'measure.html'}"]
    done = subprocess.run([CHROMIUM, *flags], capture_output=True, text=True, timeout=300)
    match = re.search(r"\{.*\}", done.stdout)
    assert match, done.stderr[-2000:]
    measured = json.loads(match[0])
    assert measured["width"] <= width, "nothing sticks out at the right"
    assert measured["loaded"] == measured["images"] == 2
    assert measured["title"] == "Radiographs by score"
