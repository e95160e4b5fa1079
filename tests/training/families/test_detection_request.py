"""A request, a config and a record set: what is refused, what is resolved, and what a resumed run may be asked for. No TensorFlow is needed."""

import dataclasses
import json
import shutil
import subprocess
import sys

import made
import pytest

from pneumodet.cli import make_tfrecords
from pneumodet.core import runs
from pneumodet.core.errors import ConfigError, DataError
from pneumodet.core.seen import Exams, Marks, Seen
from pneumodet.data import label_map, record_sets
from pneumodet.models.detection import pipeline_config
from pneumodet.training.families import detection_request
from pneumodet.training.families.detection_request import Request


@pytest.fixture(scope="module")
def records(synthetic, tmp_path_factory):
    """Return the folder of a record set of 12 exams, with both classes in both splits."""
    return made.records_of(synthetic, tmp_path_factory.mktemp("prepared") / "records", patients=False)


@pytest.fixture
def new(records, tmp_path):
    """Return what makes (config, records, record) of a new run, and the sentences that were said."""
    said = []

    def make(**more):
        fields = {"run": "run", "config": "ssd_mobilenet", "data": records, "pretrained": "none"} | more
        prepared = detection_request.new(tmp_path / "run", Request(**fields), say=said.append, on_download=lambda *_: None)
        return prepared.config, prepared.data, prepared.record.to_json()

    make.said = said
    return make


@pytest.fixture
def started(new, tmp_path):
    """Return the folder of a run that has been started, and has a checkpoint of step 30."""
    config, data, record = new(steps=100, evaluate_every=10, patience=3)
    folder = tmp_path / "run"
    (folder / runs.TRAIN).mkdir(parents=True)
    (folder / runs.TRAIN / "ckpt-30.index").touch()
    label_map.write_label_map(folder / runs.LABEL_MAP, data.label_map)
    pipeline_config.save(config, folder / runs.CONFIG)
    (folder / runs.RECORD).write_text(json.dumps(record))
    return folder


def resumed(folder, **fields):
    """Return (config, manifest, record) of a run that is resumed."""
    prepared = detection_request.resumed(folder, Request(run="run", resume=True, **fields), runs.read(folder))
    return prepared.config, prepared.data, prepared.record.to_json()


def rate(config):
    return pipeline_config.learning_rate(config)


def test_steps_and_batch_size_bring_the_schedule_along(new):
    as_it_is, _, _ = new()
    config, _, record = new(steps=50, batch_size=4)
    assert (config.train_config.num_steps, config.train_config.batch_size) == (50, 4) == (record["steps"], record["batch_size"])
    assert rate(config).total_steps == 50
    assert rate(config).learning_rate_base == pytest.approx(rate(as_it_is).learning_rate_base * 4 / as_it_is.train_config.batch_size)
    by_hand, _, _ = new(steps=50, batch_size=4, learning_rate=0.0123)
    assert rate(by_hand).learning_rate_base == pytest.approx(0.0123)


def test_ten_evaluations_a_run(new):
    assert new(steps=500)[2]["training"]["evaluate_every"] == 50
    assert new(steps=3)[2]["training"]["evaluate_every"] == 1
    assert new(steps=500, evaluate_every=0)[2]["training"]["evaluate_every"] == 0


def test_run_json_says_what_was_done(new, records):
    config, data, record = new(seed=9, positive_share=0.5, freeze=("stem",), settings=("train_config.max_number_of_boxes=7",))
    assert record["settings"] == ["train_config.max_number_of_boxes=7"]
    assert config.train_config.max_number_of_boxes == 7
    assert record["data"]["folder"] == str(records.resolve())
    assert record["data"]["train_exams"] == len(data.train)
    assert record["provenance"]["versions"]["tensorflow"]
    assert json.loads(json.dumps(record)) == record
    assert record["training"]["seed"] == record["seed"] == 9


def test_it_keeps_what_it_has_seen(new, started):
    _, data, record = new(steps=100, evaluate_every=10)
    marks = {"train": Marks.of(Exams.of(data.train.instances["images"]))}
    assert record["seen"] == Seen(trained=marks["train"]).to_json(), "nothing is chosen yet"
    assert resumed(started)[2]["seen"] == record["seen"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        pytest.param({"config": None}, "--config is missing. Configs: .*ssd_mobilenet", id="no-config"),
        pytest.param({"data": None}, "--data is missing", id="no-data"),
        pytest.param({"patience": 2, "evaluate_every": 0}, "--patience counts evaluations", id="patience"),
        pytest.param({"seed": -1}, "--seed is -1; it must be a whole number from 0", id="negative-seed"),
        pytest.param({"seed": 1 << 32}, "--seed is 4294967296", id="large-seed"),
        pytest.param({"positive_share": -0.5}, "--positive-share is -0.5; it must lie between 0 and 1", id="share-below"),
        pytest.param({"positive_share": 1.0}, "--positive-share is 1; it must lie between 0 and 1", id="share-1"),
        pytest.param({"settings": ("model.ssd.num_classes=5",)}, "num_classes 5, but the label map has 2", id="classes"),
        pytest.param({"recipe": "stock", "config": "efficientdet_d0"}, "the config efficientdet_d0 has no such recipe", id="recipe"),
        pytest.param({"augmentation": "strong"}, "There is no augmentation 'strong'", id="augmentation"),
        pytest.param({"config": "mask_rcnn_resnet50"}, "reads instance masks, but the records have none.*--masks", id="masks"),
        pytest.param(
            {"settings": ("train_config.optimizer.momentum_optimizer.learning_rate.cosine_decay_learning_rate.total_steps=9000",)},
            "falls until step 9000, but the run ends at step 2000",
            id="long-schedule",
        ),
    ],
)
def test_what_cannot_work_is_refused(new, more, message):
    with pytest.raises(ConfigError, match=message):
        new(**more)


STOCK = {"recipe": "stock", "steps": 1000}


def test_the_stock_recipe(new):
    config, _, record = new(**STOCK)
    assert config.model.ssd.post_processing.batch_non_max_suppression.iou_threshold == pytest.approx(0.6)
    assert (rate(config).warmup_steps, rate(config).total_steps) == (40, 1000), "stretched as the config's own"
    assert (record["recipe"], record["settings"]) == ("stock", [])
    training = record["training"]
    assert (training["freeze"], training["positive_share"], training["augmentation"]["crop"]) == ([], None, 0.85)
    assert any(line.startswith("--recipe stock: images are varied by the API's flips and crops") for line in new.said)
    assert "recipe" not in new()[2]


def test_what_else_is_given_wins_over_the_recipe(new):
    clip = "train_config.gradient_clipping_by_norm=5"
    config, _, record = new(**STOCK, settings=(clip,), augmentation="none", freeze=("stem",), positive_share=0.5)
    assert config.train_config.gradient_clipping_by_norm == 5
    training = record["training"]
    assert (training["freeze"], training["positive_share"], training["augmentation"]["crop"]) == (["stem"], 0.5, 0)
    assert any(line.endswith("Here images are varied by --augmentation none.") for line in new.said)


def test_a_resumed_run_keeps_its_recipe(new, started):
    config, _, record = new(**STOCK, evaluate_every=10)
    pipeline_config.save(config, started / runs.CONFIG)
    (started / runs.RECORD).write_text(json.dumps(record))
    again, _, later = resumed(started, patience=2)
    assert (again, later["recipe"], later["training"]["augmentation"]) == (config, "stock", record["training"]["augmentation"])
    with pytest.raises(ConfigError, match="--recipe does not go with --resume"):
        resumed(started, recipe="stock")


def changed(records, folder, change):
    """Return a copy of the record set whose manifest was changed."""
    shutil.copytree(records, folder)
    path = folder / record_sets.MANIFEST
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    return folder


def test_an_empty_training_split_is_refused(new, records, tmp_path):
    def change(manifest):
        manifest["splits"]["train"] |= {"exams": 0}

    with pytest.raises(DataError, match="has no training exams. Make it again with a smaller --val-fraction"):
        new(data=changed(records, tmp_path / "empty", change))


def test_no_validation_exams(new, records, tmp_path):
    def change(manifest):
        manifest["splits"]["val"] |= {"exams": 0}

    data = changed(records, tmp_path / "no-val", change)
    assert new(data=data)[2]["training"]["evaluate_every"] == 0
    assert any("has no validation exams; nothing is evaluated on the way" in text for text in new.said)
    with pytest.raises(DataError, match="--patience needs evaluations, but the record set .* has no validation exams"):
        new(data=data, patience=3)


def test_folds_are_told(new, records, tmp_path):
    def change(manifest):
        manifest["splits"]["fold-0"] = manifest["splits"].pop("train")

    with pytest.raises(DataError, match=r"has folds. Train on one of them: --data .*fold-0"):
        new(data=changed(records, tmp_path / "folds", change))


def test_no_positive_training_exam_is_refused(synthetic, new, tmp_path):
    import csv

    rows = list(csv.DictReader(synthetic.labels.read_text(encoding="utf-8").splitlines()))
    with open(tmp_path / "negative.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(row for row in rows if row["Target"] == "0")
    flags = [
        "--dicom-dir",
        synthetic.dicom_dir,
        "--labels",
        tmp_path / "negative.csv",
        "--test-fraction",
        "0",
        "--val-fraction",
        "0.4",
        "--output-dir",
        tmp_path / "none",
    ]
    assert make_tfrecords.main(list(map(str, flags))) == 0
    with pytest.raises(
        DataError, match=r"None of the \d+ exams of the split train has a box: a detector cannot learn from negatives alone"
    ):
        new(data=tmp_path / "none")


def own_config(records, tmp_path):
    """Return a config that names the records itself, as one for the stock API does."""
    config = pipeline_config.load("ssd_mobilenet")
    label_map.write_label_map(tmp_path / "own.pbtxt", record_sets.RecordSet.open(records).label_map)
    for reader, side in ((config.train_input_reader, "train"), (config.eval_input_reader[0], "val")):
        reader.label_map_path = str(tmp_path / "own.pbtxt")
        reader.tf_record_input_reader.input_path[:] = [str(records / f"{side}-*.tfrecord")]
    path = tmp_path / "own.config"
    pipeline_config.save(config, path)
    return path


def test_a_config_that_names_its_records(new, records, tmp_path):
    path = own_config(records, tmp_path)
    for _ in range(2):  # the second start finds what the first one left
        config, adopted, record = new(config=str(path), data=None)
        assert record["data"]["folder"] == str(tmp_path / "run" / detection_request.RECORDS)
        ours = record_sets.RecordSet.open(records)
        assert len(adopted.train) == len(ours.train)
        shards = ours.train.shards
        assert list(config.train_input_reader.tf_record_input_reader.input_path) == [str(path.resolve()) for path in shards], "as they are"


def test_a_config_without_its_label_map(new, records, tmp_path):
    path = own_config(records, tmp_path)
    path.write_text(path.read_text().replace(str(tmp_path / "own.pbtxt"), ""))
    with pytest.raises(ConfigError, match="train_input_reader.label_map_path is missing"):
        new(config=str(path), data=None)


def test_a_resumed_run_is_the_one_that_was_started(started):
    before = (started / runs.RECORD).read_bytes(), (started / runs.CONFIG).read_bytes()
    config, _, record = resumed(started)
    assert config.train_config.num_steps == 100
    assert record["training"]["patience"] == 3
    assert before == ((started / runs.RECORD).read_bytes(), (started / runs.CONFIG).read_bytes())


def test_what_a_resumed_run_is_given_stays(started):
    config, _, _ = resumed(started, steps=200, patience=7, skip_corrupt=True)
    assert config.train_config.num_steps == rate(config).total_steps == 200
    again, _, record = resumed(started)
    assert again == config
    assert record["steps"] == 200
    assert (record["training"]["patience"], record["training"]["skip_corrupt"]) == (7, True)


def test_the_checkpoint_that_a_run_started_from_may_be_gone_once_it_has_its_own(started):
    config = pipeline_config.load(str(started / runs.CONFIG))
    config.train_config.fine_tune_checkpoint, config.train_config.fine_tune_checkpoint_type = "gone/ckpt-1", "full"
    pipeline_config.save(config, started / runs.CONFIG)
    resumed(started)
    (started / runs.TRAIN / "ckpt-30.index").unlink()
    with pytest.raises(ConfigError, match="There is no checkpoint 'gone/ckpt-1'"):
        resumed(started)


REFUSED = {
    "recipe": "stock",
    "config": "ssd_mobilenet",
    "data": "records",
    "batch_size": 4,
    "learning_rate": 0.1,
    "pretrained": "coco",
    "fine_tune_checkpoint": "ckpt-1",
    "fine_tune_checkpoint_type": "full",
    "freeze": ("stem",),
    "settings": ("train_config.batch_size=2",),
    "fit_anchors": True,
    "augmentation": "none",
    "positive_share": 0.5,
    "precision": "bfloat16",
    "seed": 1,
    "evaluate_every": 5,
    "best_metric": "image.roc_auc",
    "checkpoint_every": 7,
    "keep": 9,
}


def test_the_table_is_whole():
    allowed = {"run", "resume", "steps", "patience", "skip_corrupt", "log_to"}
    assert {field.name for field in dataclasses.fields(Request)} == REFUSED.keys() | allowed


@pytest.mark.parametrize("field", REFUSED)
def test_nothing_else_may_be_asked_of_it(started, field):
    flag = "--set" if field == "settings" else "--" + field.replace("_", "-")
    with pytest.raises(ConfigError, match=f"^{flag} does not go with --resume"):
        resumed(started, **{field: REFUSED[field]})


def test_fewer_steps_than_are_done(started):
    with pytest.raises(ConfigError, match="--steps 29 is less than the 30 steps that the run run has done"):
        resumed(started, steps=29)
    assert resumed(started, steps=30)[0].train_config.num_steps == 30


def test_patience_of_a_run_without_evaluations(started):
    record = json.loads((started / runs.RECORD).read_text())
    record["training"]["evaluate_every"] = 0
    (started / runs.RECORD).write_text(json.dumps(record))
    with pytest.raises(ConfigError, match="--patience counts evaluations, but the run run was started without"):
        resumed(started, patience=2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("{", "run's record .* is not valid JSON", id="torn"),
        pytest.param('{"config": "x"}', "was made by an earlier pneumodet.*--pretrained run:run", id="earlier"),
    ],
)
def test_a_run_that_cannot_be_gone_on_with(started, text, message):
    (started / runs.RECORD).write_text(text)
    with pytest.raises(DataError, match=message):
        resumed(started)


def test_needs_no_tensorflow():
    code = "import sys; from pneumodet.training.families import detection_request, detection; assert 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
