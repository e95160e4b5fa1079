"""Every field of every JSON format that may come from elsewhere, changed to what it must not be: a sentence or a correct reading, never a traceback."""

import itertools
import json

import made
import pytest
import tiny_export
from json_formats import ALL, VALUES, Formats, answers, paths_of, text_of

from pneumodet.core.errors import PneumodetError
from pneumodet.inference import backends

QUICK = 3
"""Of VALUES, how many each field gets in the quick test; fields take turns."""


def changed(document, *, every):
    """Yield (what was changed, the JSON text) for every field of a document, at any depth, with each of VALUES or left out, or with some in turn."""
    turns, as_it_is = itertools.cycle(VALUES), json.dumps([document])
    for path in [(), *paths_of(document)]:
        values = VALUES if every else itertools.islice(turns, QUICK)
        for value in (*values, "left out") if path else VALUES:
            whole = json.loads(as_it_is)  # a copy, in a fifth of the time that copy.deepcopy takes
            place = whole
            for key in (0, *path)[:-1]:
                place = place[key]
            if value == "left out":
                del place[path[-1]]
            else:
                place[(0, *path)[-1]] = value
            yield f"{'.'.join(map(str, path))} = {value!r:.60}", text_of(whole[0])


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return made.records(tmp_path_factory, exams=6, seed=3, size=64)[0]


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    return tiny_export.make(tmp_path_factory.mktemp("export") / "model")


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["in_turn", "every"])
@pytest.mark.parametrize("name", ALL)
def test_a_changed_field_is_a_sentence_or_a_correct_reading(name, every, tmp_path, records, export, monkeypatch):
    monkeypatch.setattr(backends, "open_file", answers)
    document, use = getattr(Formats(tmp_path, records, export), name)()
    use(text_of(document))  # as it is, it can be used
    tracebacks = {}
    for what, text in changed(document, every=every):
        try:
            use(text)
        except PneumodetError as error:
            str(error).encode(errors="surrogateescape")
        except Exception as error:
            tracebacks[what] = f"{type(error).__name__}: {error}"[:200]
    assert not tracebacks, f"{len(tracebacks)} tracebacks, such as {dict(list(tracebacks.items())[:20])}"
