"""The benchmarks of training: their arguments, and what they compute of what was measured. Nothing is trained here."""

import argparse
import json
from pathlib import Path

import benchmark_modules
import numpy as np
import pytest

from pneumodet.core.detections import Detections, image_id, to_coco
from pneumodet.data import record_sets
from pneumodet.evaluation.metrics import rsna
from pneumodet.models.detection import pipeline_config


@pytest.fixture(scope="module")
def train():
    return benchmark_modules.load("train")


@pytest.fixture(scope="module")
def accuracy():
    return benchmark_modules.load("accuracy")


@pytest.fixture(scope="module")
def stock_loop(train):
    return train.stock_loop


@pytest.fixture(scope="module")
def fold_evaluation(accuracy):
    return accuracy.fold_evaluation


def stamps(seconds_of_step, steps, *, every=1):
    times = np.cumsum([seconds_of_step(step) for step in range(1, steps + 1)])
    return [(step, 1000.0 + times[step - 1], 2 * times[step - 1]) for step in range(every, steps + 1, every)]


def test_the_first_window_is_left_out_and_the_median_of_the_others_taken(stock_loop):
    def seconds(step):
        return 9.0 if step <= 20 else 40.0 if step == 55 else 0.5

    every, at_reports = stamps(seconds, 100), stamps(seconds, 100, every=20)
    assert stock_loop.rates(every, batch_size=8) == pytest.approx([16, 20 * 8 / 49.5, 16, 16])
    assert stock_loop.rates(at_reports, batch_size=8) == pytest.approx(stock_loop.rates(every, batch_size=8))
    assert stock_loop.rate(every, batch_size=8) == pytest.approx(16)
    assert stock_loop.cpu_a_step(stamps(lambda step: 0.5, 60)) == pytest.approx(1.0)


def test_a_run_without_a_window_still_has_a_rate(stock_loop):
    assert stock_loop.rate(stamps(lambda step: 0.25, 5), batch_size=4) == pytest.approx(16)


def test_a_process_that_fails_is_told_with_its_last_lines(stock_loop, tmp_path):
    with pytest.raises(SystemExit, match="(?s)KeyError.*nothing failed with code 1"):
        stock_loop.run("nothing", {}, log=tmp_path / "log.txt", script=str(benchmark_modules.FOLDER / "stock_loop.py"))


def needed(*more):
    return ["--data", "large", "--data-small", "small", *more]


def test_arguments_of_train(train):
    args = train.parser().parse_args(needed("--config", "a", "b", "--variant", "stem=--freeze stem", "--variant", "x=", "--what", "loops"))
    assert args.variant == [("stem", ["--freeze", "stem"]), ("x", [])]
    assert (args.config, args.what, args.batch_size) == (["a", "b"], ["loops"], 8)


@pytest.mark.parametrize("text", ["--freeze stem", "ours=--freeze stem", "=--freeze stem"])
def test_a_variant_needs_a_name_of_its_own(train, text):
    with pytest.raises(argparse.ArgumentTypeError, match="name of its own"):
        train.variant(text)


def measured_run(first, step, **more):
    return {"started": 990.0, "marks": {"first step": 990.0 + first}, "stamps": stamps(lambda _: step, 60), "mib": 2000.0, **more}


def test_tables_of_train(train):
    marks = {"imported": 995.0, "built": 1010.0, "saved": 1011.0, "first step": 1030.0}
    found = {
        "stock": [measured_run(40.0, 0.5, tracing=[4.0, 5.0], marks=marks)] * 3,
        "stock without summaries": [measured_run(38.0, 0.48)],
        "ours": [measured_run(10.0, 0.4), measured_run(12.0, 0.4), measured_run(50.0, 0.4)],
        "bare": [{"steps": {"seconds": 0.38, "cpu": 0.7}, "forward": {"seconds": 0.1, "cpu": 0.2}, "mib": 1500.0}],
        "input, all cores": [{"batch_seconds": 0.03}],
        "stock input": [{"images_per_second": 100.0}],
        "our input": [{"images_per_second": 350.0}],
        "stock evaluation": [{"started": 0.0, "marks": {"evaluated": 30.0}, "loops": [20.0, 10.0], "ap50": 0.1}],
        "our evaluation": [{"started": 0.0, "marks": {"evaluated": 8.0}, "loops": [2.0, 1.0, 3.0], "ap50": None}],
    }
    text = train.tables(found, train.parser().parse_args(needed()))
    assert "| stock | 40.0 | 16.00 | 76.0% | 1.00 | 2000 | 1.000 |" in text
    assert "| ours | 12.0 | 20.00 | 95.0% | 1.25 | 2000 | 0.800 |" in text
    assert "| bare step | | 21.05 | 100.0% | 1.32 | 1500 | 0.700 |" in text
    assert "| backward and update | 280 | 56.0% |" in text
    assert "| summaries of images (stock less stock without them) | 20 | 4.0% |" in text
    assert "| the rest: input competing for the processors, and the loop itself | 100 | 20.0% |" in text
    assert "| tracing: 2 passes of the step's Python | 9.0 | 22.5% |" in text
    assert "| our input | 350 | 3.50 |" in text
    assert "| our evaluation | 8.0 | 2.0 | 2.0 |  |" in text


def test_arguments_of_accuracy(accuracy, tmp_path):
    file = tmp_path / "more.json"
    file.write_text('{"half": {"flags": ["--freeze", "stem"]}, "slow": {"stock": true, "rate": 0.01}}')
    args = accuracy.parser().parse_args(["--sample", "s", "--out", "o", "--define", str(file), "--variants", "half"])
    assert args.define["half"] == accuracy.Variant(flags=("--freeze", "stem"))
    assert args.define["slow"].rate == 0.01
    file.write_text('{"half": {"flag": []}}')
    with pytest.raises(SystemExit):
        accuracy.parser().parse_args(["--sample", "s", "--out", "o", "--define", str(file)])


def test_an_ablation_evaluates_the_runs_of_a_variant_that_is_there(accuracy):
    assert {one.of for one in accuracy.VARIANTS.values()} <= {"", *accuracy.VARIANTS}
    assert {name for one in accuracy.VARIANTS.values() for name in one.among} <= set(accuracy.VARIANTS)


def test_steps_fill_nine_tenths_of_the_time(accuracy):
    probe = {"start": 20.0, "step": 0.4, "first evaluation": 6.0, "evaluation": 1.0, "rest": 5.0}
    assert accuracy.fitting(probe, seconds=600, whole=1) == 1250  # (540 - 20 - 6 - 9 - 5) / 0.4
    assert accuracy.fitting(probe, seconds=600, whole=100) == 1200
    assert accuracy.fitting(probe, seconds=10, whole=100) == 100


def test_what_a_short_run_took_is_told_apart(accuracy):
    found = measured_run(10.0, 0.5) | {"seconds": 10.0 + 59 * 0.5 + 4.0 + 1.0 + 2.5}
    found["evaluations"] = [[30, found["stamps"][29][1] + 4.0, {}], [60, found["stamps"][59][1] + 1.0, {}]]
    wanted = {"start": 10.0, "step": 0.5, "first evaluation": 4.0, "evaluation": 1.0, "rest": 2.5}
    assert accuracy.measured(found, total=60) == pytest.approx(wanted)
    assert accuracy.measured(measured_run(10.0, 0.5) | {"seconds": 45.0}, total=60)["evaluation"] == 0, "the stock loop has none"


def test_a_stock_variant_has_a_rate_and_a_clipping_of_its_own(accuracy):
    config = pipeline_config.load("ssd_mobilenet")
    train, schedule = config.train_config, pipeline_config.learning_rate(config)
    accuracy.vary(config, recipe=accuracy.VARIANTS["stock"])
    assert (schedule.learning_rate_base, train.gradient_clipping_by_norm) == (pytest.approx(0.0125), 0)
    accuracy.vary(config, recipe=accuracy.VARIANTS["stock_0.005"])
    assert (schedule.learning_rate_base, train.gradient_clipping_by_norm) == (pytest.approx(0.005), 10)


def fold(number, *, scale=1.0):
    """Return (ground truth, results, one hit and one false detection) of a fold of two exams, whose ids and patients other folds have, too."""
    exams = [f"{number}-a", f"{number}-b"]
    images = [
        {"id": image_id(exam), "file_name": exam, "height": 1024, "width": 1024, "patient": index} for index, exam in enumerate(exams)
    ]
    truth = [{"id": 1, "image_id": image_id(exams[0]), "category_id": 2, "bbox": [100, 100, 200, 200], "area": 40000, "iscrowd": 0}]
    found = {
        exams[0]: Detections(np.array([[100, 100, 300, 300]]), np.array([0.9 * scale]), np.array([2])),
        exams[1]: Detections(np.array([[500, 500, 700, 700]]), np.array([0.5 * scale]), np.array([2])),
    }
    categories = [{"id": 1, "name": "no-pneumonia"}, {"id": 2, "name": "pneumonia"}]
    return {"images": images, "annotations": truth, "categories": categories}, to_coco(found)


def test_each_fold_is_evaluated_at_its_own_threshold(fold_evaluation):
    truths, rows = zip(fold(0), fold(1, scale=0.1), strict=True)
    cases, thresholds = fold_evaluation.pool(truths, rows, [0.6, 0.06])
    assert (len(cases), len(np.unique(cases.patients))) == (4, 4)
    assert fold_evaluation.figures((cases, thresholds))["rsna_metric"] == pytest.approx(1.0), "both hits are kept, both false ones are not"
    assert fold_evaluation.figures((cases, np.full(4, 0.6)))["rsna_metric"] == pytest.approx(0.5), "one threshold for both would lose a hit"
    assert np.nanmean(rsna.case_scores(cases, score_threshold=thresholds)) == pytest.approx(1.0)


def test_the_threshold_is_that_of_the_inner_validation(fold_evaluation):
    truth, rows = fold(0)
    threshold, figures = fold_evaluation.choose(truth, rows)
    assert threshold == pytest.approx(0.9, abs=1e-6)
    assert figures["coco.pneumonia.AP50"] == pytest.approx(1.0)
    threshold, _ = fold_evaluation.choose(truth, [])
    assert threshold == 1.0, "a model that finds nothing leaves no threshold to choose"


def test_pairs_are_compared_once_and_the_better_one_is_named(fold_evaluation):
    truths, rows = zip(*(fold(number) for number in range(12)), strict=True)
    good = fold_evaluation.pool(truths, rows, [0.6] * 12)
    bad = fold_evaluation.pool(truths, [[] for _ in truths], [1.0] * 12)
    found = fold_evaluation.comparisons({"stock": bad, "ours": good, "other": good}, ["stock", "ours"], seed=0)
    assert [(one["a"], one["b"]) for one in found] == [("stock", "ours"), ("stock", "other"), ("ours", "other")]
    assert found[0]["rsna_metric"]["value"] == pytest.approx(1.0)
    assert found[2]["coco.pneumonia.AP50"]["value"] == 0


def test_when_a_run_was_as_good(fold_evaluation):
    evaluations = [[10, 1060.0, {"x": None}], [20, 1100.0, {"x": 0.1}], [30, 1150.0, {"x": 0.3}]]
    done = {"started": 1000.0, "evaluations": evaluations}
    assert fold_evaluation.first_as_good(done, "x", 0.2) == 150.0
    assert fold_evaluation.first_as_good(done, "x", None) == 100.0
    assert fold_evaluation.first_as_good(done, "x", 0.4) is None


def test_tables_of_accuracy(fold_evaluation):
    truths, rows = zip(*(fold(number) for number in range(3)), strict=True)
    pooled = fold_evaluation.pool(truths, rows, [0.6] * 3)
    runs = [{"step": 500, "finite": True, "images_per_second": 20.0, "cpu_seconds": seconds} for seconds in (540, 660)]
    runs += [{"step": 400, "finite": False, "images_per_second": None}]
    found = {
        "figures": {
            "ours": {"folds": [fold_evaluation.figures(pooled)] * 3, "pooled": fold_evaluation.intervals(pooled, seed=0), "runs": runs}
        },
        "comparisons": fold_evaluation.comparisons({"ours": pooled, "same": pooled}, ["ours"], seed=0),
        "reached": [{"variant": "ours", "as": "stock", "figure": "rsna_metric", "seconds": [100.0, None, 120.0]}],
        "unfinished": ["stock"],
    }
    json.dumps(found, allow_nan=False)
    text = fold_evaluation.markdown(found)
    assert "| ours | 500, 500, 400 (not finite) | 10.0 | 20.0 | 1.000 (1.000 1.000 1.000); 1.000" in text
    assert "| same - ours | +0.000 |" in text
    assert "at its end (RSNA metric) after 100 s, never, 120 s (each fold)." in text
    assert "Not finished: stock." in text


def test_the_stock_config_has_the_same_model_and_records(stock_loop, tmp_path, synthetic):
    from pneumodet.cli import make_tfrecords

    data = tmp_path / "records"
    flags = ["--dicom-dir", synthetic.dicom_dir, "--labels", synthetic.labels, "--patient-map", synthetic.patient_map, "--output-dir", data]
    assert make_tfrecords.main([str(flag) for flag in flags]) == 0
    file = stock_loop.resolve(tmp_path / "run", config="ssd_mobilenet", data=data, pretrained=None, steps=40, batch_size=2)
    config = pipeline_config.load(str(file))
    pipeline_config.check(config, record_sets.RecordSet.open(data).label_map)
    assert (config.train_config.num_steps, config.train_config.batch_size) == (40, 2)
    assert Path(config.train_input_reader.label_map_path).is_file()
    assert len(config.eval_input_reader[0].tf_record_input_reader.input_path) >= 1


def test_limits_are_taken_away_for_the_comparison(monkeypatch):
    from pneumodet.core import guarded
    from pneumodet.dicom import costs

    limits = benchmark_modules.load("limits")
    before = guarded.HAS_LIMITS
    with limits.without():
        assert not guarded.HAS_LIMITS
        costs.refuse_scans(1000)
    assert before == guarded.HAS_LIMITS
    ticks = iter(range(100))
    assert limits.measured(lambda data: None, [b"a", b"b"], 3, lambda: next(ticks)) == (1000, 1000)
    assert limits.parser().parse_args(["--dicom-dir", "in"]).rounds == 5
