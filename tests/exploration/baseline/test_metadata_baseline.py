"""The command: what it writes, what it says, and that the gate takes its scores."""

import functools
import json
import shlex

import made_up_metadata
import pytest

from pneumodet.cli import compare, metadata_baseline
from pneumodet.inference.postprocess import gates as image_gates


def arguments(outcome, output_dir, *more):
    names = {"labels": "--labels", "headers": "--headers", "patient_map": "--patient-map"}
    flags = [text for name, path in outcome.items() for text in (names[name], str(path))]
    return [*flags, "--output-dir", str(output_dir), "--folds", "3", "--resamples", "50", *more]


@pytest.fixture(scope="module", autouse=True)
def small_models():
    """Let boosting have ten trees, and shuffle once: how good models are is evaluated in the tests of evaluating."""
    from pneumodet.exploration.baseline import evaluating, models

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "HistGradientBoostingClassifier", functools.partial(models.HistGradientBoostingClassifier, max_iter=10))
        patch.setattr(evaluating, "REPEATS", 1)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    outcome = made_up_metadata.write(folder, gz=True)
    assert metadata_baseline.main(arguments(outcome, folder / "out", "--show-leak")) == 0
    return outcome, folder / "out"


def test_figures_scores_and_page(made):
    outcome, folder = made
    assert sorted(path.name for path in folder.iterdir()) == ["baseline.html", "baseline.json", "scores.csv"]
    result = json.loads((folder / "baseline.json").read_text())
    assert set(result["models"]) == {"svc", "logistic", "boosting"}
    for one in result["models"].values():
        assert 0.6 < one["roc_auc"]["low"] < one["roc_auc"]["value"] < one["roc_auc"]["high"] < 0.9
        assert len(one["fold_roc_auc"]) == 3
        assert set(one["importance"]) == {"age", "sex", "view", "spacing"}
    assert max(result["alone"], key=result["alone"].get) == "view"
    # view decides alone here, so that no model can do better than the rule of one line
    best = max(one["roc_auc"]["value"] for one in result["models"].values())
    assert best - 0.03 < result["rule"]["roc_auc"]["value"]
    assert any("The rule of one line" in note for note in result["notes"]) == (result["rule"]["roc_auc"]["value"] >= best)
    assert result["leak"]["ways"][0]["models"]["svc"]["accuracy"] >= 0.99
    assert result["inputs"]["labels"]["name"] == outcome["labels"].name == "labels.csv.gz"
    text = (folder / "baseline.html").read_text()
    for piece in (
        "support vector classifier",
        "ROC of metadata alone",
        "view position",
        "A leak, shown on purpose",
        "rule: AP calls for pneumonia",
    ):
        assert piece in text
    assert "http://" not in text
    assert "https://" not in text
    assert str(folder) not in text + json.dumps(result)


def test_the_gate_takes_the_scores(made):
    _, folder = made
    scores = image_gates.read_gate(folder / "scores.csv")
    assert len(scores) == json.loads((folder / "baseline.json").read_text())["exams"]


def test_without_being_asked_no_leak_and_an_earlier_result_stays(made, tmp_path, capsys):
    outcome, folder = made
    assert metadata_baseline.main(arguments(outcome, folder)) == 2
    assert "Give --overwrite" in capsys.readouterr().err
    del outcome["patient_map"]
    assert metadata_baseline.main(arguments(outcome, tmp_path / "out")) == 0
    said = capsys.readouterr()
    assert "rule: AP calls for pneumonia  " in said.out, "its column ends before the next begins"
    assert "every exam is taken for a patient of its own" in said.err
    assert f"Next:    as a gate for a detector's boxes: python tools/postprocess.py --gate {tmp_path / 'out' / 'scores.csv'}\n" in said.out
    assert "ROC AUC [95 %]" in said.out and "lost when shuffled [lowest, highest fold]" in said.out, "two kinds of brackets"
    assert "leak" not in json.loads((tmp_path / "out" / "baseline.json").read_text())
    assert "leak" not in (tmp_path / "out" / "baseline.html").read_text().replace("every", "")


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Return the folder of 40 exams in three splits."""
    from pneumodet.data import conversion, synthetic

    folder = tmp_path_factory.mktemp("records")
    data = synthetic.make_dataset(folder / "data", exams=40, size=64)
    inputs = conversion.Inputs(dicom_dir=data.dicom_dir, labels=data.labels, class_info=data.class_info, patient_map=data.patient_map)
    conversion.convert(inputs, folder / "records", conversion.Settings(val_fraction=0.3, test_fraction=0.25))
    return folder / "records"


def exams_of(records, split):
    return [image["file_name"] for image in json.loads((records / f"instances_{split}.json").read_text())["images"]]


def baseline(records, folder, *more):
    return metadata_baseline.main(["--data", str(records), "--output-dir", str(folder), "--folds", "2", "--resamples", "20", *more])


def test_a_record_set_has_scores_of_each_split_but_test(records, tmp_path, capsys):
    assert baseline(records, tmp_path / "out") == 0
    image_gates.read_gate(tmp_path / "out" / "scores_val.csv", exams=exams_of(records, "val"))
    said, test = capsys.readouterr(), exams_of(records, "test")
    assert f"{len(test)} exams of the test split are left out, and stay unseen" in said.err
    assert f"{40 - len(test)} exams of " in said.out
    assert not image_gates.read_gate(tmp_path / "out" / "scores.csv").keys() & set(test)
    assert not (tmp_path / "out" / "scores_test.csv").exists()
    (line,) = (line for line in said.out.splitlines() if line.startswith("Next:    python tools/compare.py "))
    assert compare.main([*shlex.split(line.partition(".py ")[2]), "--resamples", "20"]) == 0


def test_on_test_exams_once_when_asked_for(records, tmp_path, capsys):
    assert baseline(records, tmp_path / "out") == baseline(records, tmp_path / "tested", "--evaluate-test") == 0
    without, result = (json.loads((tmp_path / name / "baseline.json").read_text()) for name in ("out", "tested"))
    test = exams_of(records, "test")
    assert "test" not in without and result["test"]["exams"] == len(test) and "test split" not in " ".join(result["notes"])
    # the folds are what they are without
    assert result["models"] == without["models"] and result["exams"] == 40 - len(test)
    image_gates.read_gate(tmp_path / "tested" / "scores_test.csv", exams=test)
    assert result["test"]["name"] in (tmp_path / "tested" / "baseline.html").read_text()
    assert f"Test: {len(test)} exams of " in capsys.readouterr().out


def test_evaluate_test_needs_a_test_split(records, tmp_path, capsys):
    outcome = made_up_metadata.write(tmp_path, patients=20)
    assert metadata_baseline.main(arguments(outcome, tmp_path / "out", "--evaluate-test")) == 2
    assert "--evaluate-test is for a record set" in capsys.readouterr().err


def test_one_class_only_is_said_in_one_line(tmp_path, capsys):
    outcome = made_up_metadata.write(tmp_path, patients=20)
    lines = outcome["labels"].read_text().splitlines()
    outcome["labels"].write_text("\n".join([lines[0], *(line for line in lines if line.endswith(",0"))]))
    assert metadata_baseline.main(arguments(outcome, tmp_path / "out")) == 2
    assert "exams is positive: there is nothing to distinguish" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
