"""The run of the API's own tests: what is counted, what the list of known failures decides, and the files that the edits of ``odapi_edits`` are about."""

import subprocess
import sys
import unittest

import benchmark_modules
import pytest

SCRIPT = benchmark_modules.FOLDER / "odapi_tests.py"

EDITED = [
    "utils/metrics_test.py",
    "utils/object_detection_evaluation_test.py",
    "utils/vrd_evaluation_test.py",
    "utils/visualization_utils_test.py",
    "metrics/tf_example_parser_test.py",
    "metrics/lvis_evaluation_test.py",
    "dataset_tools/seq_example_util_test.py",
]
"""Some 40 seconds; that of generate_embedding_data exports a model in each of its tests, and takes as much again."""


@pytest.fixture(scope="module")
def odapi_tests():
    return benchmark_modules.load("odapi_tests")


def answer(odapi_tests, **tests):
    named = {f"object_detection.core.box_test.BoxTest.{name}": outcome for name, outcome in tests.items()}
    return odapi_tests.Answer("object_detection.core.box_test", odapi_tests.versions(), named, seconds=60.0, cpu=30.0)


def test_files_of_tensorflow_1_are_left_out(odapi_tests):
    names = odapi_tests.modules([])
    assert len(names) == 135
    assert not any(name.endswith("tf1_test") for name in names)
    assert odapi_tests.modules(["utils/metrics_test.py", "box_coders"]) == [
        "object_detection.box_coders.faster_rcnn_box_coder_test",
        "object_detection.box_coders.keypoint_box_coder_test",
        "object_detection.box_coders.mean_stddev_box_coder_test",
        "object_detection.box_coders.square_box_coder_test",
        "object_detection.utils.metrics_test",
    ]


def test_a_failure_is_known_or_not(odapi_tests):
    answers = [answer(odapi_tests, one=("passed", ""), two=("failed", "KeyError: 3"), three=("failed", "old"), four=("skipped", "TPU"))]
    known = [odapi_tests.Known("old NumPy", ("core.box_test.BoxTest.thr*",))]
    verdict = odapi_tests.compare(answers, known)
    assert verdict.unexpected == ["core.box_test.BoxTest.two: KeyError: 3"]
    assert not verdict.good
    text = odapi_tests.report(answers, verdict)
    assert "1 files: 1 passed, 2 failed, 1 skipped; 1 min, 0 CPU minutes" in text
    assert "1 known: old NumPy" in text and "NOT KNOWN core.box_test.BoxTest.two" in text


def test_a_known_failure_that_passes_has_to_leave_the_list(odapi_tests):
    answers = [answer(odapi_tests, one=("passed", ""))]
    pattern = ("core.box_test.BoxTest.one", "core.other_test.*")
    verdict = odapi_tests.compare(answers, [odapi_tests.Known("old NumPy", pattern)])
    assert verdict.passing == ["core.box_test.BoxTest.one"], "what was not run is not said to pass"
    assert not verdict.good
    assert odapi_tests.compare(answers, [odapi_tests.Known("chance", pattern, sometimes=True)]).good


def test_every_known_failure_has_a_reason_and_a_file(odapi_tests):
    names = [name.removeprefix("object_detection.") for name in odapi_tests.modules([])]
    for entry in odapi_tests.known():
        assert entry.reason.strip() and entry.tests
        assert all(any(test.startswith(name + ".") for name in names) for test in entry.tests)


def test_an_answer_is_of_its_versions_only(odapi_tests, tmp_path, monkeypatch):
    file = tmp_path / "core.box_test.json"
    assert odapi_tests.read(file) is None
    odapi_tests.write(file, answer(odapi_tests, one=("failed", "KeyError: 3")))
    assert odapi_tests.read(file) == answer(odapi_tests, one=("failed", "KeyError: 3"))
    monkeypatch.setattr(odapi_tests, "versions", lambda: {"tensorflow": "9.0"})
    assert odapi_tests.read(file) is None


def test_a_subtest_that_fails_is_its_tests_failure(odapi_tests):
    class Tests(unittest.TestCase):
        def test_parts(self):
            for number in (1, 2, 3):
                with self.subTest(number=number):
                    self.assertLess(number, 3)

        def test_whole(self):
            pass

    recorder = odapi_tests.Recorder()
    unittest.defaultTestLoader.loadTestsFromTestCase(Tests).run(recorder)
    outcomes = {name.rpartition(".")[2]: outcome for name, outcome in recorder.outcomes.items()}
    assert outcomes == {"test_parts": ("failed", "AssertionError: 3 not less than 3"), "test_whole": ("passed", "")}


@pytest.mark.slow
def test_the_files_that_the_edits_are_about(tmp_path):
    done = subprocess.run([sys.executable, SCRIPT, "--out", tmp_path, "--files", *EDITED], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert len(list(tmp_path.glob("*.json"))) == len(EDITED)
