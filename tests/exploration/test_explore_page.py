"""The report in a browser: no sideways scrolling on a phone, nothing from the network, no message in the console."""

from pathlib import Path

import pytest

from pneumodet.cli import explore
from pneumodet.exploration import radiographs

playwright_api = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")

CHROMIUM = Path("/usr/bin/chromium")

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"{CHROMIUM} is not there: apt-get install chromium")


@pytest.fixture(scope="module")
def report(synthetic, tmp_path_factory):
    out = tmp_path_factory.mktemp("explored") / "out"
    argv = ["--labels", synthetic.labels, "--class-info", synthetic.class_info, "--dicom-dir", synthetic.dicom_dir, "--output-dir", out]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(radiographs.Drawer, "augmented", lambda self: (None, "left out"))
        assert explore.main([*map(str, argv), "--workers", "1"]) == 0
    return out / "explore.html"


def test_fits_every_width_in_light_and_dark(report):
    with playwright_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        colours = set()
        for width, scheme in ((360, "light"), (1280, "dark")):
            page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
            asked, said = [], []
            page.on("request", lambda request, asked=asked: asked.append(request.url))
            page.on("console", lambda message, said=said: said.append(message.text))
            page.goto(report.as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
            assert said == []
            assert page.locator(".radiographs img").evaluate_all("all => all.every(one => one.naturalWidth > 100)")
            colours.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert len(colours) == 2
        browser.close()
