"""TOML settings: read, overridden, checked, written."""

import dataclasses

import pytest

from pneumodet.core.errors import ConfigError
from pneumodet.models import settings
from pneumodet.models.settings import Settings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mine(Settings):
    name: str = "it"
    sizes: tuple = (1, 2)


def written(tmp_path, text):
    (tmp_path / "one.toml").write_text(text)
    return tmp_path


def test_what_is_saved_is_read_again(tmp_path):
    before = Mine(image_size=96, learning_rate=1e-05, skip_corrupt=True, name='a "quoted" \\ näme', sizes=(3,), augmentation="none")
    settings.save(before, tmp_path / "saved.toml")
    assert settings.load(Mine, tmp_path / "saved.toml", folder=tmp_path) == before


def test_a_path_of_any_letters_is_read_again(tmp_path):
    """Also of those that JSON writes as two escapes, which TOML does not know."""
    settings.save(Mine(name="/data/\U0001fac1/x.csv"), tmp_path / "saved.toml")
    assert settings.load(Mine, tmp_path / "saved.toml", folder=tmp_path).name == "/data/\U0001fac1/x.csv"


def test_overrides_win_and_have_the_types_of_toml(tmp_path):
    folder = written(tmp_path, 'steps = 7\nname = "a"\n')
    overrides = ["steps=9", "learning_rate=1", "name=/some/path-1", "skip_corrupt=true", "sizes=[5]"]
    loaded = settings.load(Mine, "one", folder=folder, overrides=overrides)
    assert (loaded.steps, loaded.learning_rate, loaded.name, loaded.skip_corrupt, loaded.sizes) == (9, 1.0, "/some/path-1", True, (5,))
    assert type(loaded.learning_rate) is float
    assert settings.load(Mine, "one", folder=folder, overrides=["name=2018"]).name == "2018"


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        ("stepps = 3", [], "unknown key 'stepps'. Did you mean 'steps'"),
        ("steps = 2.5", [], "steps is 2.5, must be a whole number"),
        ("steps = true", [], "steps is True, must be a whole number"),
        ("steps = 0", [], "steps is 0, must be at least 1"),
        ("learning_rate = nan", [], "learning_rate is nan"),
        ("image_size = 5000", [], "image_size is 5000, must be from 32 to 1024"),
        ("positive_share = 1.0", [], "positive_share is 1"),
        ('normalization = "clahee"', [], "Did you mean 'clahe'"),
        ('augmentation = "radiografh"', [], "no augmentation 'radiografh'"),
        ("steps = ", [], "no TOML file"),
        ("", ["steps"], "'steps' is no KEY=VALUE"),
        ("", ["step=3"], "no setting 'step'. Did you mean 'steps'"),
        ("", ["seed=-1"], "seed is -1"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, overrides, message):
    with pytest.raises(ConfigError, match=message):
        settings.load(Mine, "one", folder=written(tmp_path, text), overrides=overrides)


def test_what_was_given_is_not_said_to_be_in_the_file(tmp_path):
    folder = written(tmp_path, "steps = 3")
    with pytest.raises(ConfigError, match="^Of the settings given: seed is -1"):
        settings.load(Mine, "one", folder=folder, overrides=["seed=-1"])
    with pytest.raises(ConfigError, match=r"one\.toml: seed is -2"):
        settings.load(Mine, "one", folder=written(tmp_path, "seed = -2"), overrides=["steps=5"])


def test_an_unknown_config_names_the_nearest(tmp_path):
    with pytest.raises(ConfigError, match="Did you mean 'one'"):
        settings.load(Mine, "onee", folder=written(tmp_path, ""))


def test_ten_evaluations_where_nothing_else_is_asked_for():
    assert Settings(steps=1000).between_evaluations == 100
    assert Settings(steps=3).between_evaluations == 1
    assert Settings(steps=1000, evaluate_every=300).between_evaluations == 300


def test_0_is_never_as_for_detectors():
    assert Settings(steps=1000, evaluate_every=0).between_evaluations == 0
    with pytest.raises(ConfigError, match="patience counts evaluations, but evaluate_every = 0 leaves none"):
        Settings(patience=2, evaluate_every=0).check()
    with pytest.raises(ConfigError, match="evaluate_every is -2"):
        Settings(evaluate_every=-2).check()
