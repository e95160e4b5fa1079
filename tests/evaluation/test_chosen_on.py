"""What exams are to the models that are evaluated on them, and the threshold that validation chose."""

import json

import pytest
from made import manifest

from pneumodet.core import runs, split_use
from pneumodet.core.split_use import Choice
from pneumodet.data.record_sets import Split
from pneumodet.evaluation import chosen_on

ON_VAL = {
    "checkpoint": "ckpt-300",
    "manifest_sha256": "a" * 64,
    "split": "val",
    "rsna_rules": "strict",
    "rsna_threshold": 0.31,
    "operating_point": {"aim": "rsna", "threshold": 0.31},
    "calibrator": {"method": "platt", "slope": 1.5, "intercept": -1.0},
}


@pytest.mark.parametrize(
    ("metrics", "asked", "expected"),
    [
        pytest.param({}, {}, 0.31, id="same"),
        pytest.param({"checkpoint": "ckpt-100"}, {}, None, id="other checkpoint"),
        pytest.param({"manifest_sha256": "b" * 64}, {}, None, id="other records"),
        pytest.param({"split": "train"}, {}, None, id="other split"),
        pytest.param({}, {"aim": "f1"}, None, id="other aim"),
        pytest.param({}, {"rules": "community"}, None, id="other rules"),
    ],
)
def test_the_threshold_of_test_is_that_of_validation(tmp_path, metrics, asked, expected):
    (tmp_path / runs.EVAL).mkdir()
    (tmp_path / runs.EVAL / runs.METRICS).write_text(json.dumps(ON_VAL | metrics))
    facts = {"checkpoint": "ckpt-300", "manifest_sha256": "a" * 64, "split": "test"}
    on_validation = chosen_on.on_validation(tmp_path, facts)
    assert chosen_on.threshold(on_validation, **({"aim": "rsna", "rules": "strict"} | asked)) == expected
    # of whatever aim: it is of scores
    calibrator = chosen_on.calibrator(on_validation)
    assert (calibrator and calibrator.to_json()) == (None if metrics else ON_VAL["calibrator"])


def test_without_an_evaluation_on_validation_there_is_none(tmp_path):
    facts = {"checkpoint": "ckpt-300", "manifest_sha256": "a" * 64}
    assert chosen_on.on_validation(tmp_path, facts) is None
    assert chosen_on.threshold(None, aim="rsna", rules="strict") is chosen_on.calibrator(None) is None


@pytest.mark.parametrize(
    ("split", "trained_with", "expected", "chosen_of"),
    [
        pytest.param("val", ["m"], "validation, used to choose this checkpoint, the best of 10", 10, id="val"),
        pytest.param("val", ["m", "other"], "validation, used to choose this checkpoint, the best of 10", 10, id="val of one of two"),
        pytest.param("test", ["m"], split_use.TEST, None, id="test"),
        pytest.param("test", ["m", "other"], None, None, id="test of one of two"),
        pytest.param("val", ["other"], None, None, id="other records"),
        pytest.param("fold-1", ["m"], None, None, id="a fold"),
    ],
)
def test_what_exams_are_to_models(tmp_path, split, trained_with, expected, chosen_of):
    about = Split((), {"images": []}, name=split, folder=manifest(tmp_path))
    choice = Choice(compared=10, metric="rsna_metric", best=0.2, best_step=1, last=0.1, last_step=2)
    facts = chosen_on.facts_of(about, {"split": split, "manifest_sha256": "m"}, [(one, choice) for one in trained_with])
    assert (facts["figures_on"], facts["checkpoint_chosen_of"], facts["test_exams"]) == (expected, chosen_of, 0)


def test_another_checkpoint_on_the_same_test_exams_is_told(tmp_path):
    assert chosen_on.again(tmp_path, "ckpt-300") == []
    (tmp_path / runs.METRICS).write_text(json.dumps(ON_VAL))
    assert chosen_on.again(tmp_path, "ckpt-300") == []
    (warning,) = chosen_on.again(tmp_path, "ckpt-500")
    assert "evaluated before, with ckpt-300 of this run" in warning


def test_other_records_have_a_folder_of_their_own(tmp_path):
    def folder(data, manifest, split="val"):
        return chosen_on.folder_on_others(tmp_path, runs.EVAL, split, data=data, manifest=manifest).name

    assert [folder("nih", "b" * 64), folder("nih", "b" * 64, "test")] == ["eval_on_nih", "eval_on_nih_test"]
    (tmp_path / "eval_on_nih").mkdir()
    (tmp_path / "eval_on_nih" / runs.METRICS).write_text(json.dumps(ON_VAL))
    assert [folder("nih", "a" * 64), folder("nih", "b" * 64)] == ["eval_on_nih", "eval_on_nih_bbbbbbbb"]


def test_each_split_has_a_folder_of_its_own():
    assert [chosen_on.folder_name(runs.EVAL, split) for split in ("val", "test", "fold-0")] == ["eval", "eval_test", "eval_fold-0"]
