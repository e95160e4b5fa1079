"""Whatever JSON holds, it is a value or one sentence; and fields are read by their types, with the wrong one named."""

import dataclasses
import json
from typing import Any

import pytest

from pneumodet.core import json_fields, json_text
from pneumodet.core.errors import CheckpointError, DataError
from pneumodet.core.json_fields import REST, Fields


def nested(levels):
    return "[" * levels + "]" * levels


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expecting value"),
        (b"\xff\xfe{", "codec can't decode"),
        (nested(100_000), "nested deeper than 64 levels"),
        (nested(65), "nested deeper than 64 levels"),
        ('{"a": {"b": [0, NaN]}}', r"a\.b\[1\] is nan, which is no number in JSON"),
        ('{"a": 1e999}', "a is inf, which is no number in JSON or too large"),
        ('{"a": [-1' + "0" * 400 + "]}", r"a\[0\] is a whole number of more than 64 bits"),
        ("9223372036854775808", "it is a whole number of more than 64 bits"),
        ("1" * 5000, "integer string conversion"),
        (r'{"run": "a\u0000b"}', r"run is 'a\\x00b', which has half a character or a byte 0"),
        (r'{"run": "\ud800"}', r"run is '\\ud800'"),
        (r'{"\ud800": 1}', r"it has a field whose name is no text: '\\ud800'"),
    ],
)
def test_what_is_no_json(text, message):
    with pytest.raises(ValueError, match=message):
        json_text.loads(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (nested(64), json.loads(nested(64))),
        (r'"\ud83e\udec1"', "\N{LUNGS}"),
        (r'"\udce9"', "\udce9"),  # a path whose bytes are not UTF-8
        ("-9223372036854775808", -(1 << 63)),
        ("true", True),
    ],
)
def test_what_is_json(text, value):
    assert json_text.loads(text) == value


def test_long_tables_keep_what_their_own_readers_check():
    assert json_text.loads("[1e999, 1" + "0" * 30 + "]", strict=False) == [float("inf"), 10**30]
    with pytest.raises(ValueError, match="nested deeper"):
        json_text.loads(nested(100_000), strict=False)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "Cannot read the card .*No such file.* Export it again"),
        (b"x" * 1001, "The card .* has more than 0 MiB, and is not read"),
        (b"{", "The card .* is not valid JSON .*Export it again"),
        (b"[]", r"card\.json: the content is \[\], must be an object"),
    ],
)
def test_files(tmp_path, monkeypatch, content, message):
    monkeypatch.setattr(json_text, "MAX_BYTES", 1000)
    path = tmp_path / "card.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        json_fields.of_file(path, what="the card", hint="Export it again.", error=CheckpointError)


@dataclasses.dataclass(frozen=True)
class Part:
    name: str
    size: float = 0.5


@dataclasses.dataclass(frozen=True)
class Whole:
    number: int
    part: Part | None = None
    parts: tuple[Part, ...] = ()
    counts: dict[str, int] = dataclasses.field(default_factory=dict)
    texts: list[str] = dataclasses.field(default_factory=list)
    anything: Any = None
    more: dict[str, Any] = dataclasses.field(default_factory=dict, metadata=REST)


def fields(content):
    return Fields(content, where="whole.json", error=DataError, hint="Write it again.")


def test_a_dataclass_is_built_by_its_annotations():
    content = {"number": 3, "part": {"name": "a", "size": 2, "colour": "red"}, "parts": [{"name": "b"}], "counts": {"x": 1}, "texts": ["t"]}
    built = fields({**content, "anything": [1, "a"], "else": 5}).build(Whole)
    assert built == Whole(3, Part("a", 2.0), (Part("b"),), {"x": 1}, ["t"], [1, "a"], {"else": 5})
    assert type(built.part.size) is float
    assert fields({"number": 3, "part": None, "counts": None}).build(Whole) == Whole(3), "null is what was left out"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"number": None}, r"whole\.json: the field number is missing\. Write it again\."),
        ({"number": True}, "the field number is True, must be a whole number"),
        ({"number": 1.0}, r"the field number is 1\.0, must be a whole number"),
        ({"part": []}, r"the field part is \[\], must be an object"),
        ({"part": {}}, r"the field part\.name is missing"),
        ({"parts": [{"name": "a"}, {"name": 5}]}, r"the field parts\[1\]\.name is 5, must be a text"),
        ({"counts": {"x": "1"}}, r"the field counts\.x is '1', must be a whole number"),
        ({"counts": {"x": None}}, r"the field counts\.x is missing"),
        ({"texts": ["a", 1]}, r"the field texts\[1\] is 1, must be a text"),
        ({"part": {"name": "a", "size": float("nan")}}, r"the field part\.size is nan, must be a number"),
        ({"part": {"name": "a", "size": 10**400}}, r"the field part\.size is 1000.*must be a number of a double's range"),
    ],
)
def test_the_wrong_field_is_named(change, message):
    with pytest.raises(DataError, match=message):
        fields({"number": 3} | change).build(Whole)


@pytest.mark.parametrize("version", [0, -1, True, "1", 1.0])
def test_no_version(version):
    with pytest.raises(DataError, match="the field version is .* must be a whole number of at least 1"):
        fields({"version": version}).version(2)


def test_versions():
    assert [fields({"version": one}).version(2) for one in (1, 2, None)] == [1, 2, None]
    with pytest.raises(
        DataError, match=r"whole\.json has the version 3, but this pneumodet knows 1 to 2\. Use the pneumodet that wrote it, or a newer"
    ):
        fields({"version": 3}).version(2)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "a\0b", "x" * 256, "ä" * 200])
def test_names_of_files_that_lead_elsewhere(name):
    with pytest.raises(DataError, match="must be the name of a file in the same folder"):
        fields({"file": name}).file_name("file")
