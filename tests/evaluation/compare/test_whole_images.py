"""Sets of whole images, which have no box, give a comparison its ROC (Kermany's data set and others: docs/guide/data-sets.md)."""

import json

import layouts
import made_up_runs
import pytest

from pneumodet.cli import compare, make_tfrecords


@pytest.mark.parametrize("name", ["kermany", "nih", "chexpert"])
def test_scores_are_compared_by_roc(name, tmp_path, capsys):
    layout, records = layouts.LAYOUTS[name](tmp_path / "source"), tmp_path / "records"
    flags = ["--image-dir", layout.images, "--labels", layout.labels, *layout.flags, "--workers", 1, "--output-dir", records]
    assert make_tfrecords.main([*map(str, [*flags, "--split-file", layout.split_file(tmp_path)])]) == 0
    exams = [exam for exam in layouts.EXAMS if exam not in layouts.TRAIN]
    # of two positive and two negative exams: all pairs in order; three of four
    for file, scores in (("right", [0.9, 0.2, 0.8, 0.1]), ("partly", [0.9, 0.6, 0.5, 0.1])):
        made_up_runs.write_scores(tmp_path / f"{file}.csv", dict(zip((layout.names[exam] for exam in exams), scores, strict=True)))
    assert [exam in layouts.BOXES for exam in exams] == [True, False, True, False]
    given = ["--runs", *(f"{file}={tmp_path / file}.csv" for file in ("right", "partly")), "--truth", str(records)]
    capsys.readouterr()
    assert compare.main([*given, "--resamples", "20", "--output-dir", str(tmp_path / "out")]) == 0
    of_runs = {one["name"]: one["figures"] for one in json.loads((tmp_path / "out" / "comparison.json").read_text())["runs"]}
    assert {run: figures["image.roc_auc"]["value"] for run, figures in of_runs.items()} == {"right": 1.0, "partly": 0.75}
    assert "Highest ROC AUC: right" in capsys.readouterr().out
