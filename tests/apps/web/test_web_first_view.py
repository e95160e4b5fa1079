"""What the page says before the first radiograph, and where the slider is: Streamlit's own runner of pages, without a browser."""

import sys
import threading

import pytest

testing = pytest.importorskip("streamlit.testing.v1", reason="the package streamlit is not installed")
tiny_export = pytest.importorskip("tiny_export", reason="the package onnx is not installed")
pytest.importorskip("onnxruntime", reason="the package onnxruntime is not installed")


@pytest.fixture
def page(tmp_path, monkeypatch):
    """Return the page of a tiny model, not run yet."""
    import streamlit

    from pneumodet.apps.web import server

    streamlit.cache_resource.clear()
    # it would read the metadata of every installed package for each page
    monkeypatch.setattr("streamlit.components.v2.manifest_scanner.scan_component_manifests", list)
    options = server.Options(tiny_export.make(tmp_path / "model"))
    # Streamlit's runner leaves the page there, and processes that are started later would run it
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    monkeypatch.setattr(sys, "argv", ["page.py", options.to_argument()])
    return testing.AppTest.from_file(str(server.PAGE), default_timeout=60)


def test_says_that_the_model_loads_until_it_has(page, monkeypatch):
    from pneumodet.apps.web import shared_model

    loaded, really = threading.Event(), shared_model.detectors.open
    monkeypatch.setattr(shared_model.detectors, "open", lambda *args, **more: loaded.wait(60) and really(*args, **more))
    opened = []
    begin = shared_model.SharedModel.open
    monkeypatch.setattr(shared_model.SharedModel, "open", lambda self: opened.append(begin(self)) or opened[-1])
    page.run()
    assert [one.value.partition(",")[0] for one in page.info] == ["The model is loading"]
    loaded.set()
    opened[0].result(timeout=60)
    page.run()
    assert not page.info and not page.exception


def test_the_slider_is_above_the_picture(page):
    page.run()
    page.selectbox[0].select(1).run()
    order = [element.type for element in page.main if element.type in ("slider", "image")]
    assert order.index("slider") < order.index("image")
    assert not page.exception
