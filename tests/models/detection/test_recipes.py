"""The model zoo's own recipe: what it changes of a config, and what the API's augmentation is here."""

import shutil

import pytest

from pneumodet.core import paths
from pneumodet.core.errors import ConfigError
from pneumodet.models.detection import pipeline_config, recipes
from pneumodet.models.inputs.augmentation_settings import Augmentation

CONFIGS = ("ssd_mobilenet", "ssd_mobilenet_fpnlite")


def stock(name):
    config = pipeline_config.load(name)
    recipes.apply(config, recipes.load("stock", name))
    return config


@pytest.mark.parametrize(("name", "decay", "warm_up"), [("ssd_mobilenet", 0.97, 80), ("ssd_mobilenet_fpnlite", 0.997, 40)])
def test_the_zoos_own_settings(name, decay, warm_up):
    config = stock(name)
    train, ssd = config.train_config, config.model.ssd
    assert ssd.post_processing.batch_non_max_suppression.iou_threshold == pytest.approx(0.6)
    assert ssd.feature_extractor.conv_hyperparams.batch_norm.decay == pytest.approx(decay)
    predictor = getattr(ssd.box_predictor, ssd.box_predictor.WhichOneof("box_predictor_oneof"))
    assert predictor.conv_hyperparams.batch_norm.decay == pytest.approx(decay)
    assert (train.gradient_clipping_by_norm, train.max_number_of_boxes) == (0, 100)
    assert pipeline_config.learning_rate(config).warmup_steps == warm_up
    assert config.train_input_reader.shuffle_buffer_size == 2048
    assert not train.optimizer.use_moving_average and not config.eval_config.use_moving_averages


@pytest.mark.parametrize("name", CONFIGS)
def test_what_it_does_not_name_stays(name):
    config, own = stock(name), pipeline_config.load(name)
    recipe = recipes.load("stock", name)
    assert config != own
    for message in (config, own):
        for field, _ in recipe.train_config.ListFields():
            if field.name != "optimizer":
                message.train_config.ClearField(field.name)
        pipeline_config.learning_rate(message).ClearField("warmup_steps")
        message.train_config.optimizer.ClearField("use_moving_average")
        message.eval_config.ClearField("use_moving_averages")
        message.train_input_reader.ClearField("shuffle_buffer_size")
        message.model.ssd.post_processing.batch_non_max_suppression.ClearField("iou_threshold")
        for part in (message.model.ssd.feature_extractor, message.model.ssd.box_predictor.weight_shared_convolutional_box_predictor):
            part.conv_hyperparams.batch_norm.ClearField("decay")
    assert config == own


def test_a_list_is_replaced():
    config = pipeline_config.load("ssd_mobilenet")
    config.train_config.data_augmentation_options.add().random_vertical_flip.SetInParent()
    recipes.apply(config, recipes.load("stock", "ssd_mobilenet"))
    kinds = [one.WhichOneof("preprocessing_step") for one in config.train_config.data_augmentation_options]
    assert kinds == ["random_horizontal_flip", "ssd_random_crop"]


def test_the_file_of_a_config_has_its_recipe_and_a_copy_elsewhere_has_none(tmp_path):
    file = paths.CONFIG_DIR / "ssd_mobilenet.config"
    assert recipes.load("stock", str(file)) == recipes.load("stock", "ssd_mobilenet")
    shutil.copy(file, tmp_path)
    with pytest.raises(ConfigError, match="ssd_mobilenet.config has no such recipe"):
        recipes.load("stock", str(tmp_path / file.name))


def test_a_config_without_one_is_refused_in_one_sentence():
    with pytest.raises(ConfigError) as raised:
        recipes.load("stock", "retinanet_resnet50")
    assert str(raised.value) == (
        "--recipe stock: the config retinanet_resnet50 has no such recipe; ssd_mobilenet and ssd_mobilenet_fpnlite have one. "
        "Leave --recipe out, or set fields by --set."
    )
    with pytest.raises(ConfigError, match="there is no 'stok'. Did you mean 'stock'"):
        recipes.load("stok", "ssd_mobilenet")


def test_every_recipe_is_of_a_config():
    assert recipes.names("stock") == [*CONFIGS]
    assert set(CONFIGS) <= set(pipeline_config.names())


def test_flips_and_crops_of_the_api_are_known():
    ssd = recipes.augmentation_of(stock("ssd_mobilenet"))
    assert ssd == Augmentation(flip=0.5, crop=0.85, crop_area=(0.1, 1), crop_aspect=(0.5, 2), crop_holds=(0, 0.1, 0.3, 0.5, 0.7, 0.9, 1))
    assert recipes.augmentation_of(stock("ssd_mobilenet_fpnlite")) == Augmentation(
        flip=0.5, crop=1, crop_area=(0.75, 1), crop_aspect=(0.75, 3), crop_holds=(0,)
    )
    assert recipes.augmentation_of(pipeline_config.load("ssd_mobilenet")) == Augmentation()


@pytest.mark.parametrize(
    "option",
    [
        pytest.param("random_vertical_flip {}", id="vertical-flip"),
        pytest.param("random_crop_image {}", id="holds-and-drops-at-other-shares"),
        pytest.param("ssd_random_crop { operations {} }", id="operations"),
    ],
)
def test_what_has_no_counterpart_is_refused(option):
    config = pipeline_config.load("ssd_mobilenet")
    pipeline_config.override(config, [f"train_config.data_augmentation_options={{{option}}}"])
    with pytest.raises(ConfigError, match=rf"{option.split()[0]}.* has no counterpart in tools/train.py.*Give --augmentation"):
        recipes.augmentation_of(config)
