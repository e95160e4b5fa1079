"""How long the web page lets one wait: from the command to the first view, and from a click to the next picture, in a real Chromium.

    python benchmarks/app.py --model workspace/my_first/export --images data/rsna/stage_2_test_images --rounds 5

Chromium runs before the clock starts. The first view is there when title and uploader can be seen; a picture is there when the browser has
decoded it. Without ``--model`` a model of the tests is used, which needs no training, and without ``--images`` radiographs are drawn.
Needs the packages streamlit and playwright, and Debian's chromium.
"""

import argparse
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "tests")]

CHROMIUM = "/usr/bin/chromium"

FIRST_VIEW_S, NEXT_PICTURE_S = 3.0, 0.5
"""What is to be reached."""

PATIENCE_MS = 120_000

PICTURE = "[data-testid=stImage] img"

SHOWN = """([name, before]) => {
    const picture = document.querySelector('[data-testid=stImage] img');
    const heading = [...document.querySelectorAll('h2')].some(one => one.textContent.includes(name));
    return heading && picture && picture.src !== before && picture.complete && picture.naturalWidth > 0;
}"""


def free_port() -> int:
    """Return a port of this computer that nobody uses."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def start(model: Path, port: int) -> subprocess.Popen:
    """Start the page's server."""
    command = [sys.executable, str(ROOT / "tools" / "app.py"), "--model", str(model), "--port", str(port)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def open_page(browser, port: int):
    """Return the page once title and uploader can be seen."""
    deadline = time.perf_counter() + PATIENCE_MS / 1000
    while True:  # by a socket: each page that Chromium cannot reach would take it a tenth of a second
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        except OSError:
            if time.perf_counter() > deadline:
                raise
            time.sleep(0.01)
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.goto(f"http://127.0.0.1:{port}", wait_until="commit")
    page.get_by_role("heading", level=1).wait_for(timeout=PATIENCE_MS)
    page.locator("[data-testid=stFileUploader]").wait_for(timeout=PATIENCE_MS)
    return page


def radiographs(folder: Path | None, count: int) -> list[dict]:
    """Return files as Playwright takes them."""
    if folder is None:
        from pneumodet.data import synthetic

        made = Path(tempfile.mkdtemp(prefix="pneumodet-app-"))
        folder = synthetic.make_dataset(made, exams=count, seed=1).dicom_dir
    files = sorted(path for path in folder.iterdir() if path.is_file())[:count]
    return [{"name": path.name, "mimeType": "application/octet-stream", "buffer": path.read_bytes()} for path in files]


def measure(browser, model: Path, files: list[dict]) -> tuple[float, list[float]]:
    """Return seconds to the first view, and from each click to its picture."""
    port = free_port()
    began = time.perf_counter()
    server = start(model, port)
    try:
        page = open_page(browser, port)
        first_view = time.perf_counter() - began
        page.locator("input[type=file]").set_input_files(files)
        choices = page.get_by_role("radiogroup", name="Radiographs by score").locator("label")
        choices.nth(len(files) - 1).wait_for(timeout=PATIENCE_MS)
        page.locator(PICTURE).wait_for(timeout=PATIENCE_MS)
        page.wait_for_timeout(500)
        seconds = []
        for index in range(1, len(files)):
            choice = choices.nth(index)
            name = choice.inner_text().split()[-1]
            before = page.locator(PICTURE).evaluate("picture => picture.src")
            clicked = time.perf_counter()
            choice.click()
            page.wait_for_function(SHOWN, arg=[name, before], timeout=PATIENCE_MS)
            seconds.append(time.perf_counter() - clicked)
        page.context.close()
        return first_view, seconds
    finally:
        server.terminate()
        server.wait()


def main() -> None:
    """Measure in rounds, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="exported model (default: that of the tests)")
    parser.add_argument("--images", type=Path, help="folder of radiographs (default: drawn ones of 1024 px)")
    parser.add_argument("--count", type=int, default=20, help="radiographs to predict (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(default %(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    args = parser.parse_args()
    model = args.model
    if model is None:
        import tiny_export

        model = tiny_export.make(Path(tempfile.mkdtemp(prefix="pneumodet-app-")) / "model")
    files = radiographs(args.images, args.count)

    from playwright.sync_api import sync_playwright

    first, following = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for _ in range(args.rounds):
            first_view, seconds = measure(browser, model, files)
            first.append(first_view)
            following += seconds
        browser.close()
    print(f"{'':<16}{'median':>8}{'p95':>8}{'longest':>9}{'to reach':>10}")
    figures = {}
    for name, values, goal in (("first view", first, FIRST_VIEW_S), ("next picture", following, NEXT_PICTURE_S)):
        median, p95, longest = statistics.median(values), float(np.percentile(values, 95)), max(values)
        figures[name] = {"median_s": median, "p95_s": p95, "longest_s": longest, "count": len(values), "goal_s": goal}
        print(f"{name:<16}{median:>7.2f}s{p95:>7.2f}s{longest:>8.2f}s{f'< {goal:g}s':>10}")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
