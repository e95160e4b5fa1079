"""Every data set of docs/guide/data-sets.md, from its files to a model and back: converted by the command, trained a few steps, its labels exported."""

import functools

import layouts
import numpy as np
import pytest
import shallow
import small

from pneumodet.cli import make_tfrecords
from pneumodet.core.errors import DataError
from pneumodet.data import formats, label_export
from pneumodet.data.record_sets import RecordSet


@pytest.fixture(params=[*layouts.LAYOUTS])
def converted(request, tmp_path):
    """Return (layout, folder of its records)."""
    layout, out = layouts.LAYOUTS[request.param](tmp_path / "source"), tmp_path / "records"
    # not --workers of one processor each: starting them takes longer than eight images
    flags = ["--image-dir", layout.images, "--labels", layout.labels, *layout.flags, "--workers", 1, "--output-dir", out]
    assert make_tfrecords.main([*map(str, [*flags, "--split-file", layout.split_file(tmp_path)])]) == 0
    return layout, out


def check_labels(layout, folder):
    """Check that exported labels are what the layout's files say."""
    read = formats.read_labels(folder)
    assert not read.rejected
    assert read.exams.keys() == set(layout.names.values())
    for exam, name in layout.names.items():
        one = read.exams[name]
        assert one.positive == (exam in layouts.BOXES)
        expected = layout.boxes_of(exam)
        np.testing.assert_allclose(one.boxes_xyxy_px, np.reshape(expected, (-1, 4)), atol=1e-4)  # records have float32 shares
        assert set(one.class_names) == ({"pneumonia"} if expected else set())
        assert one.findings == (("pneumonia",) if exam in layouts.BOXES and not layout.boxes else ())


def test_labels_come_back(converted, tmp_path):
    layout, records = converted
    opened = RecordSet.open(records)
    assert {split.name: set(split.names) for split in opened.each_split() if len(split)} == {
        "train": {layout.names[exam] for exam in layouts.TRAIN},
        "val": {layout.names[exam] for exam in layouts.EXAMS if exam not in layouts.TRAIN},
    }
    for form in label_export.LABELS if layout.boxes else ("coco",):
        label_export.export_labels(records, tmp_path / form, format=form, images=form == "yolo")
        check_labels(layout, tmp_path / form / label_export.LABELS[form])


# quick: the test above, and training in tests/models/detection and families
@pytest.mark.slow
def test_it_trains_what_its_labels_are_for(converted, tmp_path):
    """A detector where there are boxes; else a classifier, and the detector refuses in one sentence."""
    layout, records = converted
    from pneumodet.training.families import detection

    asked = small.request(records, tmp_path / "detector", steps=2, checkpoint_every=2)
    if layout.boxes:
        with shallow.backbone():
            _, outcome = detection.train(asked)
        assert outcome.completed and outcome.step == 2
        return
    with pytest.raises(DataError, match=r"^A detector needs boxes, but 2 of 2 positive exams in train of .* --image-level leave-out"):
        detection.train(asked)
    assert not (tmp_path / "detector").exists()
    from pneumodet.evaluation import image_level
    from pneumodet.models.classification import networks
    from pneumodet.training.families.classification import Classifier
    from pneumodet.training.keras import experiment

    quick = ("pretrained=none", "image_size=32", "batch_size=2", "steps=2", "checkpoint_every=2", "evaluate_every=2", "head_steps=1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "_BLOCKS", 1)
        patch.setattr(image_level, "summarize", functools.partial(image_level.summarize, resamples=20))
        chosen = experiment.Request(
            run=str(tmp_path / "classifier"), config="resnet_scratch", data=records, overrides=(*quick, "warmup_steps=1")
        )
        folder, outcome, metrics = experiment.train(Classifier(), chosen)
    assert outcome.completed and metrics["positive_images"] == 2 and metrics["images"] == 4
    assert (folder / "evaluation" / "scores.csv").is_file()
