"""metrics.json is read by one reader, which names the field that is wrong and takes files from before it had a version."""

import json

import made_up
import pytest

from pneumodet.core.errors import DataError
from pneumodet.evaluation import metrics_file, summary
from pneumodet.evaluation.metrics_file import Metrics


@pytest.fixture(scope="module")
def content():
    return json.loads(json.dumps(summary.summarize(made_up.loaded(exams=60), resamples=20)))


def test_what_an_evaluation_writes_is_read(content, tmp_path):
    (tmp_path / "metrics.json").write_text(json.dumps(content))
    metrics = metrics_file.read(tmp_path / "metrics.json", hint="Evaluate it again.")
    assert metrics == content and metrics.version == metrics_file.VERSION
    assert (metrics.images, metrics.patients, metrics.threshold) == tuple(content[key] for key in ("images", "patients", "rsna_threshold"))
    assert metrics.interval("rsna_metric") == tuple(content["intervals"]["rsna_metric"])
    assert (metrics.operating_point.aim, metrics.operating_point.threshold) == ("rsna", content["rsna_threshold"])
    assert metrics.operating_point.reached == content["operating_point"]["chosen"]["reached"]


def test_a_file_without_version_is_read_alike(content):
    before = Metrics({key: value for key, value in content.items() if key != "version"})
    assert before.version == 0
    assert before.operating_point == Metrics(content).operating_point


def test_the_version_is_no_figure(content):
    assert "version" not in summary.scalars(content)


def test_what_is_left_out_is_none():
    empty = Metrics({})
    assert (empty.images, empty.operating_point, empty.interval("rsna_metric"), empty.why_undefined("rsna_metric")) == (None,) * 4
    assert (empty.class_name, empty.warnings) == ("pneumonia", [])


def test_why_a_figure_is_undefined():
    metrics = Metrics(summary.summarize(made_up.loaded(positives=0.0), resamples=5))
    assert metrics.why_undefined("rsna_metric") == metrics.why_undefined("coco.pneumonia.AP50") == "no case has a ground-truth box"
    assert metrics.why_undefined("image.roc_auc") == "no case is positive"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": "many"}, r"metrics\.json: the field images is 'many', must be a whole number of at least 0\. Evaluate it again\."),
        ({"images": -1}, r"the field images is -1, must be a whole number of at least 0"),
        ({"rsna_metric": "high"}, r"the field rsna_metric is 'high', must be a number"),
        ({"rsna_metric": {}}, r"the field rsna_metric is \{\}, must be a number"),
        ({"image.roc_auc.undefined": 3}, r"the field image\.roc_auc\.undefined is 3, must be a text"),
        ({"intervals": {"rsna_metric": [0.1]}}, r"the field intervals\.rsna_metric is \[0\.1\], must be a list of 2 numbers"),
        ({"operating_point": {"threshold": "0.5"}}, r"the field operating_point\.threshold is '0\.5', must be a number"),
        ({"checkpoint": 7}, r"the field checkpoint is 7, must be a text"),
        ({"warnings": ["a", 1]}, r"the field warnings\[1\] is 1, must be a text"),
        ({"version": 99}, r"has the version 99, but this pneumodet knows 0 to 1\. Use the pneumodet that wrote it, or a newer one"),
    ],
)
def test_the_wrong_field_is_named(content, tmp_path, change, message):
    (tmp_path / "metrics.json").write_text(json.dumps(content | change))
    with pytest.raises(DataError, match=message):
        metrics_file.read(tmp_path / "metrics.json", hint="Evaluate it again.")


def test_a_list_is_refused(tmp_path):
    (tmp_path / "metrics.json").write_text("[]")
    with pytest.raises(DataError, match=r"the content is \[\], must be an object"):
        metrics_file.read(tmp_path / "metrics.json", hint="Evaluate it again.")
