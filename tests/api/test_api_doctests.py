"""The examples in the API's docstrings and in the guide run, and give what they say."""

import doctest
import importlib
import pkgutil
import warnings

import numpy as np
import pytest

import pneumodet
from pneumodet import api
from pneumodet.core import paths

MODULES = [f"pneumodet.api.{one.name}" for one in pkgutil.iter_modules(api.__path__)]
GUIDE = paths.PROJECT_ROOT / "docs" / "guide" / "python.md"
NAMES = {"pneumodet": pneumodet, "np": np}


def examples():
    for name in MODULES:
        module = importlib.import_module(name)
        for test in doctest.DocTestFinder(exclude_empty=True).find(module, name, globs=dict(NAMES)):
            if test.examples:
                yield test


def run(test):
    said = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE).run(test, out=said.append)
    assert result.failed == 0, "".join(said)
    assert result.attempted == len(test.examples)


@pytest.mark.parametrize("test", examples(), ids=lambda test: test.name)
def test_a_docstrings_example(test, here):
    run(test)


def test_the_guides_examples(here):
    test = doctest.DocTestParser().get_doctest(GUIDE.read_text(encoding="utf-8").replace("```", ""), dict(NAMES), "guide", str(GUIDE), 0)
    assert len(test.examples) > 8
    run(test)


def test_there_are_examples_of_what_needs_no_tensorflow():
    shown = {test.name.rpartition(".")[2] for test in examples()}
    assert {"Records", "convert", "Exploration", "Result", "Model", "predict", "Prediction", "Predictions", "Written"} <= shown
