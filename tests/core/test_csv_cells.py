"""Cells that a spreadsheet would compute: written as text, and read back as they were."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pneumodet.core import csv_cells
from pneumodet.core.detections import Detections
from pneumodet.core.errors import DataError
from pneumodet.data import formats, tables
from pneumodet.data.label_writers import WRITERS, ExamTruth
from pneumodet.inference.predict import outputs
from pneumodet.inference.predict.journal import Entry

FORMULAS = ("=1+1", "+x", "-x", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "=cmd|' /C calc'!A0", "-2+3", "＝1", "--1", "+", "- 1", "-1_0")
HARMLESS = ("", "0004cfab", "1.5", "-1.5", "+1", "-1e-5", "a=b", "'a", " =1", "x@y")


@pytest.mark.parametrize("cell", FORMULAS)
def test_a_formula_is_written_as_text(cell):
    assert csv_cells.is_formula(cell) and csv_cells.guarded(cell) == f"'{cell}"


@pytest.mark.parametrize("cell", HARMLESS)
def test_numbers_and_other_texts_stay_as_they_are(cell):
    assert not csv_cells.is_formula(cell) and csv_cells.guarded(cell) == cell == csv_cells.plain(cell)


def test_numbers_that_are_no_text_stay_numbers():
    assert csv_cells.guarded(-1.5) == -1.5 and csv_cells.guarded(None) is None


@settings(deadline=None)  # the first call imports pandas
@given(st.lists(st.text("'=+-@\t\uff1d1ax", min_size=1), min_size=1))
def test_what_is_written_is_read_back(tmp_path_factory, cells):
    text = io.StringIO()
    csv_cells.Writer(text).writerows([("patientId",), *((cell,) for cell in cells)])
    written = [row[0] for row in csv.reader(io.StringIO(text.getvalue()))][1:]
    assert not any(map(csv_cells.is_formula, written))
    table = tables.parse(text.getvalue(), tmp_path_factory.getbasetemp() / "a.csv")
    kept = [cell for cell in cells if cell.strip()]  # rows without any text are left out
    assert list(table.column("patientId")) == kept


def test_ids_of_kaggles_files_are_checked_and_never_changed(tmp_path):
    entries = [Entry(name, f"{name}.dcm", (10, 10), Detections([[1, 2, 3, 4]], [0.5], [2])) for name in ("a", "=1+1", "-x")]
    totals = outputs.write(tmp_path, entries, outputs.Rules(2, 0.1), pictured=())
    names = ("submission.csv", "scores.csv", "boxes.csv")
    first = {name: [row[0] for row in csv.reader((tmp_path / name).read_text().splitlines())][1:] for name in names}
    assert first["submission.csv"] == ["a"] and totals.not_submitted == ["=1+1", "-x"]
    assert first["scores.csv"] == ["a", "'=1+1", "'-x"] and first["boxes.csv"] == ["a.dcm", "'=1+1.dcm", "'-x.dcm"]
    assert list(tables.read(tmp_path / "scores.csv").column("patientId")) == ["a", "=1+1", "-x"]
    exam = ExamTruth("=1+1", "train", {"width": 10, "height": 10}, (), ())
    with pytest.raises(DataError, match="takes for a formula. Choose another format"):
        WRITERS[formats.RSNA](tmp_path / "rsna.csv", [exam], {}, {"pneumonia": 2})
    WRITERS[formats.CSV](tmp_path / "classic.csv", [exam], {"=1+1": "=1+1.png"}, {"pneumonia": 2})
    assert "\n'=1+1.png," in (tmp_path / "classic.csv").read_text()
