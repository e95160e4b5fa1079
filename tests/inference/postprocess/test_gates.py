"""The gate of a recipe: a CSV of image-level scores, read with the line that is wrong."""

import pytest

from pneumodet.core.errors import DataError
from pneumodet.inference.postprocess.gates import gate_for, read_gate
from pneumodet.inference.postprocess.recipe import Recipe


def test_a_gate_that_a_recipe_needs(tmp_path):
    gate = tmp_path / "gate.csv"
    gate.write_text("patientId,score\nb,0.25\na,1\n")
    assert gate_for(Recipe(), None) is None
    assert gate_for(Recipe(gate="multiply"), gate) == read_gate(gate) == {"b": 0.25, "a": 1.0}
    with pytest.raises(DataError, match=r"gates by an image-level score, but there is none. Give the CSV"):
        gate_for(Recipe(gate="drop"), None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("patientId,score\na,0.5\n", r"gate.csv has no score for 1 of 2 exams, for example b", id="missing"),
        pytest.param(
            "patientId,score\na,0.5\nb,nan\n", r"gate.csv, line 3: exam 'b' has the score 'nan', must be a number from 0 to 1", id="nan"
        ),
        pytest.param("patientId,score\na,0.5\nb,high\n", r"line 3: exam 'b' has the score 'high'", id="text"),
        pytest.param("patientId,score\na,0.5\nb,\n", r"line 3: exam 'b' has the score ''", id="empty"),
        pytest.param("patientId,score\na,0.5\nb,1.5\n", r"line 3: exam 'b' has the score '1.5'", id="logit"),
        pytest.param("patientId,score\na,0.5\nb,0.5\na,0.5\n", r"line 4: exam a occurs twice", id="twice"),
        pytest.param("patientId,score\na,0.5\nb,0.5\nc,0.5\n", r"line 4: exam c is not in the ground truth", id="unknown"),
        pytest.param("patientId,score\n,0.5\n", r"line 2: exam '' has", id="no name"),
        pytest.param("patientId,probability\na,1\n", r"has no column 'score'", id="column"),
        pytest.param("", r"gate.csv is empty", id="empty file"),
    ],
)
def test_gates_that_are_refused(tmp_path, text, message):
    (tmp_path / "gate.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_gate(tmp_path / "gate.csv", exams=["a", "b"])
