"""Exams that a model has seen, evaluated: each way in which they once came in without a word is counted and said. Exports are evaluated without TensorFlow."""

import dataclasses
import json

import made
import pytest
import tiny_export

from pneumodet.cli import evaluate, make_tfrecords
from pneumodet.core import metrics_table, paths, split_use
from pneumodet.core.metrics_table import MetricsTable, Row
from pneumodet.core.run_record import DataRecord, RunRecord
from pneumodet.core.seen import Exams, Marks, Seen
from pneumodet.data import synthetic as synthetic_data
from pneumodet.data.record_sets import MANIFEST, RecordSet
from pneumodet.evaluation import recipe_origin
from pneumodet.evaluation.metrics.calibration import OWN
from pneumodet.inference import card as cards
from pneumodet.inference.probability import Calibrator
from pneumodet.training import experiment
from pneumodet.training.engine import Prepared

CALIBRATOR = Calibrator("temperature", {"temperature": 2.0})
"""Of every export here."""


@pytest.fixture(scope="module")
def sets(synthetic, tmp_path_factory):
    """Return name -> folder of a record set: the one that a model is trained with, the same exams made anew in other ways, and other exams.

    Of "tested" the test split has all exams of "own"'s validation but one.
    """
    folder = tmp_path_factory.mktemp("sets")
    inputs = ["--dicom-dir", synthetic.dicom_dir, "--labels", synthetic.labels, "--patient-map", synthetic.patient_map, "--workers", "1"]

    def make(name, *flags):
        assert make_tfrecords.main([*map(str, [*inputs, *flags, "--output-dir", folder / name])]) == 0
        return folder / name / "split.csv"

    split = make("own", "--val-fraction", "0.4")
    words = {"train": "val", "val": "train"}
    rows = [line.rpartition(",") for line in split.read_text().splitlines()]
    (folder / "swapped.csv").write_text("".join(f"{exam},{words.get(word, word)}\n" for exam, _, word in rows))
    make("swapped", "--split-file", folder / "swapped.csv")
    tested = [f"{exam},{'test' if word == 'val' else word}\n" for exam, _, word in rows]
    first = next(number for number, line in enumerate(tested) if line.endswith(",test\n"))
    tested[first] = tested[first].replace(",test", ",val")
    (folder / "tested.csv").write_text("".join(tested))
    make("tested", "--split-file", folder / "tested.csv")
    make("of another size", "--max-side", "96", "--split-file", split)
    make("pseudonymized", "--max-side", "96", "--split-file", split, "--pseudonymize", folder / "study.key")
    others = synthetic_data.make_dataset(folder / "source", exams=12, seed=99, size=128)
    made.records_of(others, folder / "others", patients=False)
    return {name: folder / name for name in ("own", "swapped", "tested", "of another size", "pseudonymized", "others")}


def seen_of(data_dir, *, before=None, chose=True):
    """Return what a run on a record set has seen; without ``chose`` it was not evaluated twice."""
    records = RecordSet.open(data_dir)
    seen = experiment.seen_by(records, before=before or Seen(), say=lambda text: None)
    return seen | Seen(chosen=Marks.of(Exams.of(records.val.instances["images"]))) if chose else seen


@pytest.fixture
def measure(tmp_path, capsys):
    """Return what evaluates exports of models that have seen something, by name; it returns metrics.json's content.

    ``trained_with`` is the record set that their runs were trained with, if that is to be known.
    """

    def run(data_dir, models, *flags, trained_with=None):
        arguments = []
        for name, seen in models.items():
            folder = tiny_export.make(tmp_path / "models" / name)
            data = DataRecord(folder="", manifest_sha256=paths.sha256_file(trained_with / MANIFEST)) if trained_with else None
            cards.write(
                folder / cards.CARD,
                dataclasses.replace(cards.read(folder / cards.CARD), run=name, seen=seen, data=data, calibrator=CALIBRATOR),
            )
            arguments += ["--model", folder]
        out = tmp_path / "out"
        arguments += ["--data", data_dir, "--output-dir", out, "--resamples", "20", "--overwrite", *flags]
        capsys.readouterr()
        assert evaluate.main([*map(str, arguments)]) == 0
        printed = capsys.readouterr()
        metrics = json.loads((out / "metrics.json").read_text())
        statement = metrics["seen"]["statement"]
        # once on the terminal, and in both reports
        assert (printed.out + printed.err).count(statement) == 1
        assert statement in (out / "report.html").read_text() and statement in (out / "model_card.md").read_text()
        return metrics

    return run


def number(data_dir, split="val"):
    return len(RecordSet.open(data_dir).split(split))


def test_the_training_split(sets, measure):
    metrics, exams = measure(sets["own"], {"mine": seen_of(sets["own"])}, "--split", "train"), number(sets["own"], "train")
    assert metrics["seen"]["trained"]["exams"] == exams and metrics["seen"]["chosen"]["exams"] == 0
    assert metrics["warnings"][0].startswith(f"{exams} of {exams} exams ({metrics['patients']} patients) were in training. ")
    assert metrics["rsna_threshold_source"] != recipe_origin.FROM_MODEL, "it would be chosen on training exams"


def test_another_set_that_holds_exams_of_the_training(sets, measure):
    metrics, exams = measure(sets["swapped"], {"mine": seen_of(sets["own"])}), number(sets["own"], "train")
    assert metrics["seen"]["trained"]["exams"] == metrics["images"] == exams
    assert metrics["warnings"][0].startswith(f"{exams} of {exams} exams (")


@pytest.mark.parametrize("way", ["of another size", "pseudonymized"])
def test_the_exams_it_was_chosen_on_made_anew(sets, measure, way):
    """Whose operating point was called one that was chosen on other data."""
    metrics, exams = measure(sets[way], {"mine": seen_of(sets["own"])}), number(sets["own"])
    assert (metrics["seen"]["trained"]["exams"], metrics["seen"]["chosen"]["exams"]) == (0, exams)
    assert any(f"{exams} of {exams} exams (" in line and "used to choose checkpoint, threshold" in line for line in metrics["warnings"])
    assert metrics["rsna_threshold_source"] != recipe_origin.FROM_MODEL
    assert OWN not in metrics["calibration"].get("calibration.image", {})


def test_folds_on_each_others_training_exams(sets, measure):
    metrics = measure(sets["own"], {"fold_0": seen_of(sets["own"]), "fold_1": seen_of(sets["swapped"])})
    assert metrics["seen"]["trained"]["of"] == ["fold_1"]
    assert "in training of fold_1. " in metrics["warnings"][0]


def test_a_run_that_began_with_another_one(sets):
    """Onto a set whose validation exams that one was trained on: training itself warns, and what both have seen is kept."""
    records, said = RecordSet.open(sets["own"]), []
    known = experiment.seen_by(records, before=seen_of(sets["swapped"]), say=said.append)
    assert len(known.trained) == 12, "all exams, of both"
    (sentence,) = said
    assert sentence.startswith(f"warning: In what this run starts from, {len(records.val)} of {len(records.val)} validation exams (")
    said.clear()
    assert experiment.seen_by(records, before=Seen(unrecorded=("the run old",)), say=said.append).unrecorded
    assert said == [
        f"warning: What the run old has seen is not recorded: whether some of the {len(records.val)} validation exams were in "
        "training is not known."
    ]


def test_test_exams_that_an_earlier_run_has_seen(sets):
    """All splits that are kept aside are compared with what a run starts from, and on test exams nothing may have been chosen."""
    records, said = RecordSet.open(sets["tested"]), []
    for before, role in ((seen_of(sets["swapped"]), "in training"), (seen_of(sets["own"]), "used to choose checkpoint")):
        said.clear()
        experiment.seen_by(records, before=before, say=said.append)
        exams = len(records.split("test"))
        assert any(f"{exams} of {exams} test exam" in line and role in line for line in said), said


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        pytest.param(None, split_use.TEST, id="none"),
        pytest.param("swapped", split_use.TEST_SEEN, id="trained on them"),
        pytest.param("own", split_use.TEST_SEEN, id="chosen on them"),
        pytest.param("unrecorded", split_use.TEST_UNSURE, id="not recorded"),
    ],
)
def test_what_test_figures_are_called(sets, measure, tmp_path, before, expected):
    """Exams that the model began from having seen are no exams that nothing was chosen on."""
    earlier = Seen(unrecorded=("the run old",)) if before == "unrecorded" else seen_of(sets[before]) if before else None
    known = seen_of(sets["tested"], before=earlier)
    metrics = measure(sets["tested"], {"mine": known}, "--split", "test", trained_with=sets["tested"])
    assert metrics["figures_on"] == expected
    assert any(" exams (" in line for line in metrics["warnings"]) == (expected == split_use.TEST_SEEN)
    assert split_use.is_test(metrics)
    # whose own calibrator predict uses, and not fits on the exams of the test
    measured = expected != split_use.TEST_SEEN
    assert (OWN in metrics["calibration"].get("calibration.image", {})) == measured
    assert ("calibrator (temperature) is the one that predict" in (tmp_path / "out" / "report.html").read_text()) == measured


def test_validation_was_chosen_on_from_the_second_evaluation_on(sets, tmp_path):
    """A run that is stopped before is not said to have chosen: its report says that no other checkpoint was compared."""
    record = RunRecord(seen=seen_of(sets["own"], chose=False))
    prepared = Prepared(config=None, data=RecordSet.open(sets["own"]), record=record, steps=100, batch_size=1)
    table, chosen = MetricsTable(tmp_path / metrics_table.FILE), []
    for step in (10, 20):
        table.add(Row(step, metrics_table.VALIDATION, 1.0, True, {"rsna_metric": 0.1}))
        chosen.append(len(experiment.with_choice(tmp_path, prepared).seen.chosen))
    assert chosen == [0, number(sets["own"])]


def test_other_exams_are_said_to_be_others(sets, measure):
    metrics = measure(sets["others"], {"mine": seen_of(sets["own"])})
    assert metrics["seen"]["statement"].startswith(f"None of the {metrics['images']} exams, nor of their patients, was in training")
    assert metrics["seen"]["statement"] not in metrics["warnings"]
    assert metrics["rsna_threshold_source"] == recipe_origin.FROM_MODEL
    # of a run, threshold and calibration of its export are chosen on these
    assert Marks(**metrics["scored"]) == Marks.of(Exams.of(RecordSet.open(sets["others"]).val.instances["images"]))


def test_an_export_of_an_earlier_release_is_not_said_to_have_seen_nothing(sets, measure):
    metrics = measure(sets["others"], {"old": None})
    assert metrics["warnings"][0].startswith("What the export of old has seen is not recorded")
    assert "None of the" not in metrics["seen"]["statement"]
    assert metrics["rsna_threshold_source"] != recipe_origin.FROM_MODEL
