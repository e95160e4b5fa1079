"""What a run starts from: said first, the model zoo's checkpoint unless something else is asked for, and never random weights by accident."""

import dataclasses

import made
import pytest

from pneumodet.core import gpus
from pneumodet.core.errors import CheckpointError, ConfigError
from pneumodet.data.record_sets import RecordSet
from pneumodet.models import options, pretrained
from pneumodet.models.detection import anchor_fitting, pipeline_config
from pneumodet.models.options import Options
from pneumodet.training import advice
from pneumodet.training.families import detection_request, starting
from pneumodet.training.families.detection_request import Request


@pytest.fixture(scope="module")
def records(synthetic, tmp_path_factory):
    return made.records_of(synthetic, tmp_path_factory.mktemp("starting") / "records", patients=False)


@pytest.fixture
def new(records, tmp_path, monkeypatch):
    """Return what makes (config, sentences) of a new run where nothing can be downloaded, and no GPU is."""
    monkeypatch.setenv(pretrained.MIRROR, str(tmp_path / "empty"))
    monkeypatch.setattr(gpus, "free_bytes", list)

    def make(**fields):
        said = []
        request = Request(**{"run": "run", "config": "ssd_mobilenet", "data": records, "steps": 10, **fields})
        make.said = said
        prepared = detection_request.new(tmp_path / "run", request, say=said.append, on_download=lambda *_: None)
        make.options = Options.of(prepared.record.training)
        return prepared.config.train_config, said

    return make


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    """Let the registry's checkpoints be here; return the prefix of all of them."""
    (tmp_path / "ckpt-0.index").touch()
    start = pretrained.Start(str(tmp_path / "ckpt-0"), "detection", "the zoo")
    real = pretrained.resolve

    def resolve(choice, **more):
        given = pretrained.of_registry(choice, more["config"])
        return dataclasses.replace(start, source=given) if given else real(choice, **more)

    monkeypatch.setattr(pretrained, "resolve", resolve)
    return start.checkpoint


@pytest.mark.parametrize(
    ("config", "name"),
    [("ssd_mobilenet", "ssd_mobilenet_v2_320x320_coco17_tpu-8"), ("mask_rcnn_resnet50", "faster_rcnn_resnet50_v1_640x640_coco17_tpu-8")],
)
def test_every_config_has_its_checkpoint_of_the_zoo(new, zoo, config, name):
    settings = ("train_input_reader.load_instance_masks=false",) if config.startswith("mask") else ()
    train, said = new(config=config, settings=settings)
    assert (train.fine_tune_checkpoint, train.fine_tune_checkpoint_type) == (zoo, "detection")
    assert said[0] == f"run starts from {name}, the model zoo's detector for this config (--pretrained none: random weights)"


def test_all_configs_have_one_in_the_registry():
    without = {"faster_rcnn_mobilenet_fpn"}
    for name in pipeline_config.names():
        assert bool(pretrained.of_registry(pretrained.DEFAULT, pipeline_config.load(name))) is (name not in without), name
        assert pretrained.of_registry(pretrained.IMAGENET, pipeline_config.load(name)), name


def test_a_config_that_the_zoo_has_no_detector_for_starts_from_its_backbone(new, zoo):
    train, said = new(config="faster_rcnn_mobilenet_fpn")
    assert train.fine_tune_checkpoint == zoo
    assert said[0] == "run starts from mobilenet_v2, the model zoo's backbone for this config (--pretrained none: random weights)"


def test_without_a_network_training_does_not_begin_and_says_what_to_do(new, tmp_path):
    with pytest.raises(CheckpointError) as raised:
        new()
    assert new.said[0].startswith("run starts from ssd_mobilenet_v2_320x320_coco17_tpu-8")
    text = str(raised.value)
    assert f"The mirror {tmp_path / 'empty'}" in text
    assert "--pretrained none starts from random weights, and so a detector needs many times the steps" in text
    with pytest.raises(CheckpointError) as raised:
        new(pretrained="coco")
    assert "--pretrained none" not in str(raised.value), "who asked for it is not offered something else"


def test_random_weights_are_said_with_what_they_cost(new):
    train, said = new(pretrained="none")
    assert not train.fine_tune_checkpoint
    assert said[0] == f"run starts from random weights, and {pretrained.COST}"
    assert new.options.freeze == () and not any("Anchors" in line for line in said), "what is random is not frozen"


def test_a_model_that_the_zoo_does_not_have(new, records, monkeypatch):
    monkeypatch.setattr(pretrained, "of_registry", lambda *_: None)
    train, said = new()
    assert not train.fine_tune_checkpoint
    assert said[0].startswith("warning: ssd of this config has no checkpoint in the model zoo's list; run starts from random weights, and ")


def test_a_config_that_names_a_checkpoint_keeps_it(new, zoo):
    own = (f"train_config.fine_tune_checkpoint={zoo}", "train_config.fine_tune_checkpoint_type=full")
    train, said = new(settings=(*own, "train_config.fine_tune_checkpoint_version=V2"))
    assert (train.fine_tune_checkpoint, train.fine_tune_checkpoint_type) == (zoo, "full")
    assert said[0] == f"run starts from {zoo}, which the config names"
    train, said = new(settings=("train_config.fine_tune_checkpoint=PATH_TO_BE_CONFIGURED/ckpt-0",))
    assert said[0].startswith("run starts from ssd_mobilenet_v2"), "the zoo's own files have this in its place"


FROZEN = "the backbone's early stages stay as they are (--freeze none trains them, too)"
FITTED = "anchors that fit its boxes are looked for (--no-fit-anchors keeps the config's)"

BALANCED = "50% of the samples show pneumonia (--positive-share 0 leaves it as it is)"


def test_too_few_boxes_leave_the_anchors_as_they_are(new, zoo, monkeypatch):
    monkeypatch.setattr(anchor_fitting, "FEWEST_BOXES", 1_000)
    (line,) = [line for line in new()[1] if "no GPU" in line]
    assert line.endswith(f"GPU: {FROZEN}; {BALANCED}")


def test_a_small_set_gets_what_suits_it(new, zoo, records, monkeypatch):
    monkeypatch.setattr(anchor_fitting, "FEWEST_BOXES", 2)
    said = new()[1]
    (line,) = [line for line in said if "no GPU" in line]
    assert line == f"{len(RecordSet.open(records).train)} training exams, no GPU: {FROZEN}; {FITTED}; {BALANCED}"
    assert (new.options.freeze, new.options.positive_share) == (("early",), 0.5)
    assert any("Anchors: " in line for line in said)


@pytest.mark.parametrize(
    ("chosen", "freeze", "fitted", "share", "for_the_user"),
    [
        ({"freeze": ("stem",)}, ("stem",), True, 0.5, [FITTED, BALANCED]),
        ({"freeze": ("none",), "fit_anchors": False, "positive_share": 0.0}, (), False, None, []),
        ({"fit_anchors": False, "positive_share": 0.3}, ("early",), False, 0.3, [FROZEN]),
        ({"freeze": ("none", "stem"), "fit_anchors": True}, ("stem",), True, 0.5, [BALANCED]),
        ({"freeze": ("none",), "fit_anchors": True}, (), True, 0.5, [BALANCED]),
    ],
)
def test_who_has_chosen_one_of_them_gets_the_others_alone(records, monkeypatch, chosen, freeze, fitted, share, for_the_user):
    monkeypatch.setattr(anchor_fitting, "FEWEST_BOXES", 2)
    monkeypatch.setattr(gpus, "free_bytes", list)
    opened, said = RecordSet.open(records), []
    request = Request(run="run", config="ssd_mobilenet", data=records, steps=10, **chosen)
    start = pretrained.Start("ckpt-0", "detection", "the zoo")
    result = starting.settled(request, pipeline_config.load("ssd_mobilenet"), start, records=opened, say=said.append)
    assert (result.freeze, result.fit_anchors, result.positive_share) == (freeze, fitted, share)
    lines = [line for line in said if "no GPU" in line]
    assert lines == [f"{len(opened.train)} training exams, no GPU: {'; '.join(for_the_user)}"] * bool(for_the_user)


@pytest.mark.parametrize("case", ["gpu", "large", "another model", "of the same classes"])
def test_where_nothing_of_it_was_measured_the_config_stands(new, zoo, monkeypatch, case):
    if case == "gpu":
        monkeypatch.setattr(gpus, "free_bytes", lambda: [1 << 34])
    if case == "large":
        monkeypatch.setattr(advice, "SMALL_EXAMS", 2)
    if case == "of the same classes":
        monkeypatch.setattr(pretrained, "resolve", lambda *_, **__: pretrained.Start(zoo, "full", "run first"))
    _, said = new(config="retinanet_resnet50" if case == "another model" else "ssd_mobilenet")
    assert new.options.freeze == ()
    assert not any("no GPU" in line or "Anchors: " in line for line in said)


@pytest.mark.parametrize("fields", [{"batch_size": 10_000}, {"settings": ("train_config.batch_size=10000",)}], ids=["flag", "set"])
def test_a_step_of_more_images_than_there_are_is_refused(new, fields):
    with pytest.raises(ConfigError, match=r"--batch-size is 10000, but there are \d+ training exams"):
        new(pretrained="none", **fields)


def test_a_size_that_nobody_asked_for_is_warned_of():
    said = []
    options.check_batch(8, 5, asked=False, say=said.append)
    options.check_batch(5, 5, asked=True, say=said.append)
    assert said == [
        "warning: A step takes 8 images, but there are 5 training exams: it takes some of them twice. Give --batch-size 5 or less."
    ]
