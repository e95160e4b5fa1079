"""TF_CONFIG: who trains with whom."""

import json

import pytest

from pneumodet.core.errors import ConfigError
from pneumodet.training import tf_config

TWO = {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}}


def test_workers_and_place(monkeypatch):
    monkeypatch.setenv(tf_config.TF_CONFIG, json.dumps(TWO))
    assert tf_config.workers() == (("a:1", "b:2"), 1)
    monkeypatch.delenv(tf_config.TF_CONFIG)
    assert tf_config.workers() == ((), 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("{", "cannot be read", id="no-json"),
        pytest.param("[]", "cannot be read", id="no-object"),
        pytest.param(json.dumps({"cluster": {"worker": ["a:1"]}}), "cannot be read", id="no-task"),
        pytest.param(json.dumps(TWO | {"task": {"type": "worker", "index": 2}}), "names task worker 2 among 2 workers", id="index"),
        pytest.param(json.dumps(TWO | {"task": {"type": "ps", "index": 0}}), "names task ps 0", id="kind"),
        pytest.param(json.dumps(TWO | {"cluster": {"worker": ["a:1"], "ps": ["b:2"]}}), "only workers", id="cluster"),
    ],
)
def test_what_cannot_be_is_refused(monkeypatch, text, message):
    monkeypatch.setenv(tf_config.TF_CONFIG, text)
    with pytest.raises(ConfigError, match=message):
        tf_config.workers()
