"""Checkpoints on disk: the newest that is there, a write that fails, and checkpoints that are taken out."""

import pytest
import tensorflow as tf

from pneumodet.core.errors import DataError
from pneumodet.training import saving


@pytest.fixture
def make(tmp_path):
    """Return what makes a manager of the checkpoints in train/ of a folder."""
    checkpoint = tf.train.Checkpoint(value=tf.Variable(1.0))
    return lambda keep=3: tf.train.CheckpointManager(checkpoint, str(tmp_path / "train"), max_to_keep=keep)


def names(manager):
    return [path.rpartition("/")[2] for path in manager.checkpoints]


def test_the_newest_is_one_that_is_there(make, tmp_path):
    assert saving.newest(tmp_path) is None
    manager = make(keep=9)
    for step in (0, 2, 10):
        path = saving.save(manager, step, newest=None)
    assert saving.newest(tmp_path) == path == str(tmp_path / "train" / "ckpt-10")
    for file in (tmp_path / "train").glob("ckpt-10.*"):
        file.unlink()
    assert saving.newest(tmp_path) == str(tmp_path / "train" / "ckpt-2")
    (tmp_path / "train" / "checkpoint").unlink()
    assert saving.newest(tmp_path) == str(tmp_path / "train" / "ckpt-2")


def test_what_is_kept_is_known_to_the_next_manager_and_goes_in_its_turn(make, tmp_path):
    manager = make()
    for step in (1, 2, 3):
        saving.save(manager, step, newest=None)
    saving.keep_only(manager, manager.checkpoints[:-1])
    again = make()
    assert names(again) == ["ckpt-1", "ckpt-2"]
    assert again.latest_checkpoint.endswith("ckpt-2")
    for step in (4, 5):
        saving.save(again, step, newest=None)
    assert names(again) == ["ckpt-2", "ckpt-4", "ckpt-5"]
    assert not (tmp_path / "train" / "ckpt-1.index").exists(), "the oldest went"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        pytest.param(
            tf.errors.ResourceExhaustedError(None, None, "{{function_node __wrapped__SaveV2}} x/part; No space left on device [Op:SaveV2]"),
            "x/part; No space left on device",
            id="tensorflow",
        ),
        pytest.param(OSError(28, "No space left on device"), "No space left on device", id="system"),
    ],
)
def test_a_write_that_fails(make, tmp_path, monkeypatch, error, reason):
    manager = make()
    good = saving.save(manager, 7, newest=None)

    def fail(**_):
        (tmp_path / "train" / "ckpt-8_temp").mkdir()
        raise error

    monkeypatch.setattr(manager, "save", fail)
    with pytest.raises(
        DataError, match=f"Cannot write a checkpoint in {tmp_path / 'train'}: .*{reason}. The last good one is step 7. .*--resume"
    ):
        saving.save(manager, 8, newest=good)
    assert not (tmp_path / "train" / "ckpt-8_temp").exists()
    assert saving.newest(tmp_path) == good
