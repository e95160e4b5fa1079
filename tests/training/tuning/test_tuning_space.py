"""--param: what is read, what is refused, and what a choice of values makes of a config."""

import copy

import pytest

from pneumodet.core.errors import ConfigError
from pneumodet.models.detection import pipeline_config
from pneumodet.models.inputs import augmentation_settings
from pneumodet.training.tuning.space import Space, parse

FOCAL = "model.ssd.loss.classification_loss.weighted_sigmoid_focal"

FASTER_RCNN = """
model { faster_rcnn { num_classes: 2 } }
train_config { batch_size: 2 num_steps: 100 optimizer { adam_optimizer { learning_rate { constant_learning_rate { learning_rate: 0.001 } } } } }
"""


def space(*texts, steps=1000, config="ssd_mobilenet", settings=()):
    return Space.of(config, texts, steps=steps, settings=settings)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("a.b=0.25:0.75", {"low": 0.25, "high": 0.75, "log": False, "step": None, "whole": False}, id="range"),
        pytest.param("a.b = 1e-4 : 0.1 : log", {"low": 1e-4, "high": 0.1, "log": True}, id="log, with blanks"),
        pytest.param("a.b=-1:1:step=0.25", {"step": 0.25, "count": 9}, id="steps"),
        pytest.param("a.b=2:64:int:log", {"whole": True, "log": True, "count": 63}, id="whole and log"),
        pytest.param("a.b=4,8, 16", {"choices": ("4", "8", "16"), "count": 3}, id="list"),
        pytest.param("a.b={c: 1, d: 2},{c: 3}", {"choices": ("{c: 1, d: 2}", "{c: 3}")}, id="groups in braces"),
    ],
)
def test_parse(text, expected):
    parameter = parse(text)
    assert parameter.name == "a.b"
    assert {key: getattr(parameter, key) for key in expected} == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("learning_rate", "is not of the form NAME=VALUES; VALUES is low:high", id="no equals sign"),
        pytest.param("=1,2", "is not of the form NAME=VALUES", id="no name"),
        pytest.param("a=", "is not of the form NAME=VALUES", id="no values"),
        pytest.param("a=5", "'5' is a single value.*what is the same in all trials goes to --set", id="single"),
        pytest.param("a={b: 1}", "is a single value", id="single group"),
        pytest.param("a=1,,2", "has an empty entry", id="empty entry"),
        pytest.param("a=4,8,4.0", "'4.0' occurs twice in the list", id="twice"),
        pytest.param("a=1:x", "'x' in '1:x' is not a number", id="no number"),
        pytest.param("a=1:nan", "'nan' in '1:nan' is not a number", id="NaN"),
        pytest.param("a=2:1", "2 is not below 1", id="backwards"),
        pytest.param("a=1:1", "1 is not below 1", id="empty range"),
        pytest.param("a=0:1:log", "a log range starts above 0, not at 0", id="log of zero"),
        pytest.param("a=0:1:lin", "'lin' is no option of a range", id="unknown option"),
        pytest.param("a=0:1:step=0.3", "steps of 0.3 from 0 do not end at 1", id="step does not fit"),
        pytest.param("a=0:1:step=0", "steps of 0 from 0 do not end at 1", id="step of zero"),
        pytest.param("a=1:2:log:step=1", "a log range has no step", id="log with steps"),
        pytest.param("a=0.5:3:int", "whole numbers only", id="int of fractions"),
    ],
)
def test_parse_refuses(text, message):
    with pytest.raises(ConfigError, match=message):
        parse(text)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        pytest.param(["learning_rte=1e-4:0.1"], "did you mean 'learning_rate'.*or a field's path", id="near a short name"),
        pytest.param(["steps=1,2"], "Names are learning_rate, batch_size", id="no such name"),
        pytest.param(["train_config.batch_sise=4,8"], "--param train_config.batch_sise.*did you mean 'batch_size'", id="no such field"),
        pytest.param(["train_config.batch_size=4,many"], "'many' is not a whole number", id="wrong type"),
        pytest.param(["train_config.batch_size=0.5:8"], "'0.5' is not a whole number", id="fraction of a whole-number field"),
        pytest.param(["train_config.batch_size=0,4"], "0 is not a whole number of at least 1", id="batch of none, by path"),
        pytest.param(["batch_size=0,4"], "0 is not a whole number of at least 1", id="batch of none"),
        pytest.param(
            ["train_config.batch_size=2:3:step=0.5"], "holds whole numbers, but the step is 0.5", id="step of a whole-number field"
        ),
        pytest.param(["eval_input_reader.shuffle=0:1"], "a range needs a field that holds a number", id="range of a switch"),
        pytest.param(["learning_rate=0,0.1"], "learning_rate: 0 is not above 0", id="no rate"),
        pytest.param(["learning_rate=low,high"], "'low' is not a number", id="rate in words"),
        pytest.param(["optimizer=sgd,lion", "learning_rate=1:2"], "there is no 'lion'; there are sgd, adam, rmsprop", id="optimizer"),
        pytest.param(["optimizer=1:2", "learning_rate=1:2"], "give a list with commas, not a range", id="range of optimizers"),
        pytest.param(["optimizer=sgd,adam"], "needs --param learning_rate", id="optimizers at one rate"),
        pytest.param(["loss=focal,hinge"], "there is no 'hinge'", id="loss"),
        pytest.param(["augmentation=strange,other"], "strange", id="augmentation"),
        pytest.param(["batch_size=4,8", "batch_size=2,4"], "batch_size is given twice", id="twice"),
        pytest.param(["batch_size=4,8", "train_config.batch_size=2,4"], "do not go together", id="batch size by two names"),
        pytest.param(["loss=focal,cross-entropy", f"{FOCAL}.alpha=0.1:0.9"], "do not go together", id="loss and a part of it"),
        pytest.param(
            [
                "learning_rate=1e-3:1e-2",
                "train_config.optimizer.momentum_optimizer.learning_rate.cosine_decay_learning_rate.learning_rate_base=1,2",
            ],
            "do not go together",
            id="rate by two names",
        ),
        pytest.param(["train_config.num_steps=10,20"], "all trials have the same number of steps", id="steps"),
    ],
)
def test_space_refuses(texts, message):
    with pytest.raises(ConfigError, match=message):
        space(*texts)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        pytest.param("train_config.batch_size=4", "--param batch_size is also fixed by --set", id="the same"),
        pytest.param("train_config.num_steps=4", "give the steps of a trial by --steps", id="steps"),
    ],
)
def test_space_refuses_a_setting(setting, message):
    with pytest.raises(ConfigError, match=message):
        space("batch_size=2,4", settings=[setting])


def test_a_typing_error_in_a_path_is_told_as_of_param_not_of_set():
    with pytest.raises(ConfigError) as caught:
        space("train_config.optimiser=1,2")
    assert "--set" not in str(caught.value)


def test_loss_is_for_ssd(tmp_path):
    (tmp_path / "two_stage.config").write_text(FASTER_RCNN)
    with pytest.raises(ConfigError, match="--param loss is for SSD models; this one is 'faster_rcnn'"):
        space("loss=focal,cross-entropy", config=str(tmp_path / "two_stage.config"))
    classic = space(config=str(tmp_path / "two_stage.config"))
    assert [one.name for one in classic.parameters] == ["optimizer", "learning_rate", "batch_size"]
    assert classic.own == {"optimizer": "adam", "learning_rate": 0.001, "batch_size": "2"}
    assert classic.parameters[2].choices == ("1", "2", "4")


def test_the_classic_question():
    varied = space()
    assert [one.name for one in varied.parameters] == ["optimizer", "loss", "learning_rate", "batch_size"]
    config = pipeline_config.load("ssd_mobilenet")
    assert varied.own["batch_size"] == str(config.train_config.batch_size)
    assert varied.own["learning_rate"] == pytest.approx(
        config.train_config.optimizer.momentum_optimizer.learning_rate.cosine_decay_learning_rate.learning_rate_base
    )
    assert (varied.own["optimizer"], varied.own["loss"]) == ("sgd", "focal")
    assert varied.combinations is None


def test_own_values():
    varied = space(
        "train_config.gradient_clipping_by_norm=1:20",
        "train_config.batch_size=2:16",
        "model.ssd.post_processing.score_converter=SOFTMAX,SIGMOID",
        "eval_input_reader[0].shuffle=true,false",
        "model.ssd.box_predictor.convolutional_box_predictor.kernel_size=3,5",
        "train_config.optimizer.adam_optimizer.epsilon=1e-8,1e-3",
        "model.ssd.anchor_generator.ssd_anchor_generator.aspect_ratios[1]=1.6:2.5:step=0.3",
    )
    assert varied.own == {
        "train_config.gradient_clipping_by_norm": 10.0,
        "train_config.batch_size": 8,
        "model.ssd.post_processing.score_converter": "SIGMOID",
        "eval_input_reader[0].shuffle": "false",
    }, "kernel_size 1 and aspect ratio 2 are not among the values, and the config's optimizer is no Adam"


def test_augmentation_is_by_the_names_of_a_run():
    varied = space("augmentation=none,radiograph")
    assert varied.own == {"augmentation": augmentation_settings.DEFAULT}
    assert varied.request({"augmentation": "none"})["augmentation"] == "none"


def test_combinations():
    assert space("batch_size=4,8", "train_input_reader.shuffle_buffer_size=10:20:step=5").combinations == 6
    assert space("batch_size=4,8", "train_config.gradient_clipping_by_norm=1:20").combinations is None


def resolved(varied, values):
    """Return the config of a trial, by the same steps as a run's."""
    config = copy.deepcopy(pipeline_config.load("ssd_mobilenet"))
    reference = {"reference_steps": config.train_config.num_steps, "reference_batch": config.train_config.batch_size}
    request = varied.request(values)
    config.train_config.num_steps = varied.steps
    if request["batch_size"]:
        config.train_config.batch_size = request["batch_size"]
    keys = pipeline_config.override(config, request["settings"])
    pipeline_config.scale_schedule(config, **reference, overridden=keys)
    if request["learning_rate"]:
        pipeline_config.set_peak_rate(config, request["learning_rate"])
    return config


@pytest.mark.parametrize("name", ["sgd", "adam", "rmsprop"])
def test_every_optimizer_gets_the_schedule_that_the_config_has(name):
    varied = space("optimizer=sgd,adam,rmsprop", "learning_rate=1e-4:0.1:log", "batch_size=4,8", steps=500)
    config = resolved(varied, {"optimizer": name, "learning_rate": 0.003, "batch_size": "4"})
    plain = resolved(varied, {"learning_rate": 0.003, "batch_size": "4"})
    kind = {"sgd": "momentum_optimizer", "adam": "adam_optimizer", "rmsprop": "rms_prop_optimizer"}[name]
    assert config.train_config.optimizer.WhichOneof("optimizer") == kind
    kept = plain.train_config.optimizer
    assert config.train_config.optimizer.use_moving_average == kept.use_moving_average
    assert config.train_config.optimizer.moving_average_decay == kept.moving_average_decay
    schedule = pipeline_config.learning_rate(config)
    assert schedule.learning_rate_base == pytest.approx(0.003)
    assert schedule.total_steps == 500
    for field, value in pipeline_config.learning_rate(plain).ListFields():
        assert getattr(schedule, field.name) == pytest.approx(value, rel=1e-5), field.name
    config.train_config.optimizer.CopyFrom(plain.train_config.optimizer)
    assert config == plain, "nothing else has changed"


def test_a_longer_run_has_a_longer_schedule():
    varied = space("optimizer=sgd,adam", "learning_rate=1e-4:0.1:log", steps=500)
    (setting,) = varied.request({"optimizer": "adam", "learning_rate": 0.003}, steps=2000)["settings"]
    assert "total_steps: 2000" in setting


@pytest.mark.parametrize(
    ("name", "kind", "mined"),
    [
        pytest.param("focal", "weighted_sigmoid_focal", False, id="focal"),
        pytest.param("cross-entropy", "weighted_sigmoid", False, id="cross-entropy"),
        pytest.param("cross-entropy-mined", "weighted_sigmoid", True, id="mined"),
    ],
)
def test_losses(name, kind, mined):
    varied = space("loss=focal,cross-entropy,cross-entropy-mined")
    before, after = varied.config.model.ssd.loss, resolved(varied, {"loss": name}).model.ssd.loss
    assert after.classification_loss.WhichOneof("classification_loss") == kind
    assert after.HasField("hard_example_miner") == mined
    assert after.localization_loss == before.localization_loss
    if name == "focal":
        assert after == before
    if mined:
        assert after.hard_example_miner.max_negatives_per_positive == 3


def test_the_focal_loss_of_a_config_without_it_is_that_of_its_paper():
    varied = space("loss=focal,cross-entropy", settings=["model.ssd.loss.classification_loss.weighted_sigmoid={}"])
    assert varied.own == {"loss": "cross-entropy"}
    (_, setting) = varied.request({"loss": "focal"})["settings"]
    assert "weighted_sigmoid_focal { gamma: 2.0 alpha: 0.25 }" in setting


def test_request_of_paths_and_of_nothing():
    varied = space(
        "train_config.gradient_clipping_by_norm=1:20", "learning_rate=1e-3:1e-1", settings=["train_config.max_number_of_boxes=7"]
    )
    nothing = {"batch_size": None, "learning_rate": None, "augmentation": None, "settings": ("train_config.max_number_of_boxes=7",)}
    assert varied.request({}) == nothing
    values = {"train_config.gradient_clipping_by_norm": 2.5, "learning_rate": 0.01}
    settings = ("train_config.max_number_of_boxes=7", "train_config.gradient_clipping_by_norm=2.5")
    assert varied.request(values) == nothing | {"learning_rate": 0.01, "settings": settings}
    assert resolved(varied, values).train_config.gradient_clipping_by_norm == 2.5


def test_numbers_have_few_digits_and_stay_within_the_ends():
    rate = parse("a.b=0.1234561:0.2")
    assert rate.plain(0.15000000001) == 0.15
    assert rate.plain(0.1234561) == 0.1234561


def test_the_digest_changes_with_the_config_but_not_with_comments(tmp_path):
    text = pipeline_config.paths.CONFIG_DIR.joinpath("ssd_mobilenet.config").read_text()
    digests = []
    for name, content in (("a", text), ("b", "# a comment\n" + text), ("c", text.replace("alpha: 0.75", "alpha: 0.5"))):
        (tmp_path / f"{name}.config").write_text(content)
        digests.append(space("batch_size=1,2", config=str(tmp_path / f"{name}.config")).sha256())
    assert digests[0] == digests[1] != digests[2]
