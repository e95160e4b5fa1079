"""From a request to what it is made of: options, data, devices, the learning-rate finder and the preview."""

import csv
import dataclasses
import json

import numpy as np
import pytest
import small
from PIL import Image

from pneumodet.core import paths
from pneumodet.core.errors import ConfigError, DataError
from pneumodet.data import record_sets
from pneumodet.models.inputs.augmentation_settings import RADIOGRAPH, Augmentation, to_json
from pneumodet.training import start
from pneumodet.training.families import detection, detection_request
from pneumodet.training.loop import Plan

pytestmark = pytest.mark.usefixtures("shallow_backbone")


def quietly(*_):
    pass


def test_options_come_back_from_run_json():
    options = start.Options(
        plan=Plan(checkpoint_every=7, keep=2, evaluate_every=3, best_metric="image.roc_auc", patience=5),
        seed=11,
        augmentation=Augmentation(scale=(0.9, 1.3), blur=0.2),
        positive_share=0.5,
        freeze=("stem", "*bn*"),
        skip_corrupt=True,
    )
    stored = {**dataclasses.asdict(options.plan), **{name: getattr(options, name) for name in ("seed", "positive_share", "skip_corrupt")}}
    stored |= {"augmentation": to_json(options.augmentation), "freeze": list(options.freeze)}
    stored |= {
        field.name: getattr(options, field.name)
        for field in dataclasses.fields(options)
        if field.name not in (*stored, "plan", "augmentation", "freeze")
    }
    assert start.Options.of(json.loads(json.dumps(stored))) == options


def test_a_request_becomes_options(records, tmp_path):
    """What preparation writes into run.json is what training reads from it."""

    def options_of(**more):
        request = small.request(records, tmp_path / "run", **more)
        record = detection_request.new(tmp_path / "run", request, say=quietly, on_download=quietly).record
        return start.Options.of(json.loads(json.dumps(record.to_json()))["training"])

    options = options_of(seed=5, positive_share=0.5, patience=4, evaluate_every=6, freeze=("stem",), skip_corrupt=True)
    assert options.plan == Plan(checkpoint_every=1, keep=3, evaluate_every=6, best_metric="rsna_metric", patience=4)
    assert (options.seed, options.positive_share, options.freeze, options.skip_corrupt) == (5, 0.5, ("stem",), True)
    assert options.augmentation == RADIOGRAPH
    assert options_of(keep=20) == start.Options(plan=Plan(checkpoint_every=1, keep=20))


def test_data_is_the_record_set(records):
    data = record_sets.RecordSet.open(records)
    manifest = data.manifest.to_json()
    assert data.label_map == manifest["label_map"]
    rows = list(csv.DictReader((records / "split.csv").read_text(encoding="utf-8").splitlines()))
    assert len(data.train.positive) == manifest["splits"]["train"]["exams"] == sum(row["split"] == "train" for row in rows)
    with_boxes = {one["image_id"] for one in data.train.instances["annotations"]}
    assert data.train.positive.tolist() == [image["id"] in with_boxes for image in data.train.instances["images"]]
    counts = [
        sum(one["image_id"] == image["id"] for one in data.train.instances["annotations"]) for image in data.train.instances["images"]
    ]
    assert data.train.most_boxes == max(counts)
    assert dataclasses.replace(data.train, instances={"images": [], "annotations": []}).most_boxes == 1


@pytest.mark.slow
def test_the_learning_rate_finder(records, tmp_path):
    folder, steps = tmp_path / "rates", []
    suggestion, picture = detection.find_rate(
        small.request(records, folder), steps=20, on_start=quietly, on_download=quietly, on_progress=steps.append
    )
    assert len(suggestion.rates) == sum(steps) or suggestion.blew_up_at
    assert suggestion.rates[0] == pytest.approx(1e-6)
    assert np.isfinite(suggestion.losses).all()
    assert picture == folder / "learning_rate.png"
    assert Image.open(picture).size[0] > 500
    rows = list(csv.DictReader((folder / "learning_rate.csv").read_text(encoding="utf-8").splitlines()))
    np.testing.assert_allclose([float(row["loss"]) for row in rows], suggestion.losses, rtol=1e-6)
    assert not (folder / "pipeline.config").exists(), "the run is not begun"
    assert not (folder / "train").exists()
    again, _ = detection.find_rate(small.request(records, folder), steps=20, on_start=quietly, on_download=quietly, on_progress=quietly)
    np.testing.assert_array_equal(again.losses, suggestion.losses)


@pytest.mark.slow
def test_the_finder_trains_at_the_rates_it_says(records, tmp_path):
    """Were the rate not used, the losses would be those of the config's schedule whatever the range."""
    suggestion, _ = detection.find_rate(
        small.request(records, tmp_path / "a"), steps=20, on_start=quietly, on_download=quietly, on_progress=quietly
    )
    from pneumodet.training import learning_rate_finder as finder

    with pytest.MonkeyPatch.context() as patch:
        real = finder.find
        patch.setattr(finder, "find", lambda step, *, steps: real(step, steps=steps, lowest=1e-9, highest=1e-8))
        frozen, _ = detection.find_rate(
            small.request(records, tmp_path / "b"), steps=20, on_start=quietly, on_download=quietly, on_progress=quietly
        )
    assert suggestion.losses[0] == pytest.approx(frozen.losses[0], rel=1e-5)
    assert np.abs(suggestion.losses[10:15] - frozen.losses[10:15]).max() > 1e-3


def test_the_preview_shows_training_radiographs(records, tmp_path):
    request = small.request(records, tmp_path / "look", pretrained="coco")
    picture = detection.preview(request, on_start=quietly)
    assert picture == tmp_path / "look" / "augmentation.png"
    data = record_sets.RecordSet.open(records)
    pixels = np.asarray(Image.open(picture).convert("RGB")).astype(int)
    rows = min(int(data.train.positive.sum()), start.PREVIEWED)
    assert pixels.shape[0] >= rows * small.SIDE
    assert pixels.shape[1] >= 6 * small.SIDE
    coloured = (pixels.max(axis=2) - pixels.min(axis=2)) > 60
    assert coloured.sum() > 100, "boxes are drawn"
    assert not (tmp_path / "look" / "pipeline.config").exists()


@pytest.mark.parametrize("positives", [0, pytest.param(3, marks=pytest.mark.slow)])
def test_the_preview_of_few_positives(records, tmp_path, positives, monkeypatch):
    mask = np.zeros(4, bool)
    mask[:positives] = True
    monkeypatch.setattr(record_sets.Split, "positive", property(lambda self: np.resize(mask, len(self))))
    request = small.request(records, tmp_path / "look")
    assert detection.preview(request, on_start=quietly).exists(), "others are drawn in their place"


def assembled(records, change=lambda data: data, **changes):
    from pneumodet.models.detection import pipeline_config

    request = small.request(records, records / "nowhere", **changes)
    prepared = detection_request.new(records / "nowhere", request, say=quietly, on_download=quietly)
    data = prepared.data
    assert pipeline_config.architecture(prepared.config).num_classes == len(data.label_map)
    return start.assemble(prepared.config, change(data), start.Options.of(prepared.record.training), fresh=True)


def test_images_of_many_sizes_do_not_make_a_batch(records):
    def of_many_sizes(data):
        for number, image in enumerate(data.train.instances["images"]):
            image["height"] = 192 + 10 * number
        return data

    keep = "model.ssd.image_resizer={keep_aspect_ratio_resizer {min_dimension: 64 max_dimension: 96}}"
    with pytest.raises(ConfigError, match=r"images have \d+ sizes, which do not go into one batch. Set --batch-size 1"):
        assembled(records, of_many_sizes, settings=(keep, small.SETTINGS[2]))


def test_devices_share_a_batch_evenly(records, monkeypatch):
    from pneumodet.training import cluster

    monkeypatch.setattr(cluster.Cluster, "replicas", property(lambda self: 3))
    with pytest.raises(ConfigError, match="batch_size is 4, which 3 devices cannot share evenly"):
        assembled(records, batch_size=4)


def test_records_and_their_ground_truth_belong_together(records):
    def twice(data):
        data.__dict__["train"] = dataclasses.replace(data.train, shards=data.train.shards * 2)
        return data

    with pytest.raises(DataError, match=r"There are \d+ training records, but \d+ in their ground truth"):
        assembled(records, twice)


def test_the_frozen_are_not_trained(records):
    parts = assembled(records, freeze=("stem",))
    everything = assembled(records)
    assert 0 < len(parts.trainer.trained) < len(everything.trainer.trained)
    assert parts.notes
    assert not everything.notes


def test_the_workspace_is_not_needed(records, tmp_path, monkeypatch):
    """A run's folder may be given as a path."""
    monkeypatch.setenv("PNEUMODET_WORKSPACE", str(tmp_path / "none"))
    assert paths.run_dir(str(tmp_path / "run")) == tmp_path / "run"
