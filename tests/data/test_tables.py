"""CSV files without quotes are read as pandas reads them."""

import io
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pneumodet.core.errors import DataError
from pneumodet.data import tables

CELLS = st.text(st.sampled_from("ab 1.-'\t\u00e9"), max_size=3)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.lists(CELLS, min_size=1, max_size=5), min_size=1, max_size=5),
    separator=st.sampled_from(",;"),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    last=st.booleans(),
)
def test_as_pandas_reads_them(rows, separator, end, last):
    import pandas as pd

    text = end.join(separator.join(cells) for cells in rows) + end * last
    if not text:
        return
    width = max(map(len, rows))
    read = tables._plain_cells(text, Path("a.csv"), separator, width)
    frame = pd.read_csv(
        io.StringIO(text),
        sep=separator,
        header=None,
        names=range(width),
        index_col=False,
        dtype=str,
        keep_default_na=False,
        na_filter=False,
        skip_blank_lines=False,
        engine="c",
    )
    # of a cell that is not there pandas makes a missing value
    assert read == [["" if cell != cell else cell for cell in frame[column].tolist()] for column in frame.columns]


def test_a_quoted_cell_changes_nothing_of_the_others():
    text = "patientId,x,y\na,1,2\n\nb,3\nc,1,2,3,,4,\n"
    plain, quoted = tables.parse(text, Path("a.csv")), tables.parse(text.replace("b", '"b"'), Path("a.csv"))
    assert (plain.columns, list(plain.lines), list(map(list, plain.cells)), plain.too_long) == (
        *(quoted.columns, list(quoted.lines), list(map(list, quoted.cells)), quoted.too_long),
    )
    assert plain.too_long == {5: 6} and list(plain.lines) == [2, 4, 5]


def test_a_file_of_one_endless_row_is_refused():
    with pytest.raises(DataError, match=r"a.csv is not a CSV file \(line 2 has 5001 cells\)"):
        tables.parse("a,b\n" + "," * 5000, Path("a.csv"))


def test_pandas_is_not_imported_for_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert tables.parse("a,b\n1,2\n", Path("a.csv")).column("b") == ["2"]
    with pytest.raises(ImportError):
        tables.parse('a,b\n"1",2\n', Path("a.csv"))
