"""Label maps, against the text format that the API reads them by."""

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from hypothesis import given, settings
from hypothesis import strategies as st

from pneumodet.core import paths
from pneumodet.core.errors import DataError
from pneumodet.data import label_map


def read(tmp_path, text):
    path = tmp_path / "map.pbtxt"
    path.write_text(text, encoding="utf-8")
    return label_map.read_label_map(path)


def by_protobuf(text):
    """Return name -> id as protobuf's own text reader finds them in a StringIntLabelMap (object_detection/protos)."""
    file = descriptor_pb2.FileDescriptorProto(name="map.proto", package="p", syntax="proto2")
    kind = descriptor_pb2.FieldDescriptorProto
    item = file.message_type.add(name="Item")
    item.field.add(name="name", number=1, type=kind.TYPE_STRING, label=kind.LABEL_OPTIONAL)
    item.field.add(name="id", number=2, type=kind.TYPE_INT32, label=kind.LABEL_OPTIONAL)
    item.field.add(name="display_name", number=3, type=kind.TYPE_STRING, label=kind.LABEL_OPTIONAL)
    whole = file.message_type.add(name="Map")
    whole.field.add(name="item", number=1, type=kind.TYPE_MESSAGE, label=kind.LABEL_REPEATED, type_name=".p.Item")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    message = message_factory.GetMessageClass(pool.FindMessageTypeByName("p.Map"))()
    text_format.Parse(text, message)
    return {entry.name: entry.id for entry in message.item}


def test_the_default_map():
    assert label_map.read_label_map(paths.DEFAULT_LABEL_MAP) == {"no-pneumonia": 1, "pneumonia": 2}
    assert by_protobuf(paths.DEFAULT_LABEL_MAP.read_text()) == {"no-pneumonia": 1, "pneumonia": 2}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("item {\n  id: 1\n  name: 'a'\n}\nitem {\n  id: 2\n  name: 'b'\n}\n", id="as shipped"),
        pytest.param('item { name: "a" id: 1 } item { name: "b" id: 2 }', id="double quotes, one line, name first"),
        pytest.param("# {comment}\nitem { # item {\n id: 1 # 7\n name: 'a'\n}\n#\nitem { id: 2 name: 'b' }#end", id="comments"),
        pytest.param("item { id: 2 name: 'b' }\nitem { id: 1 name: 'a' }", id="not in order"),
        pytest.param("item: { id: 1, name: 'a' }\nitem { id: 2; name: 'b'; }", id="colon, comma and semicolon"),
        pytest.param("item{id:1 name:'a' display_name:'x'}item{id:2 name:'b'}", id="no spaces, display name"),
    ],
)
def test_reads_what_protobuf_reads(tmp_path, text):
    assert list(read(tmp_path, text).items()) == [("a", 1), ("b", 2)]
    assert by_protobuf(text) == {"a": 1, "b": 2}


def test_hash_and_brace_in_a_name_are_of_the_name(tmp_path):
    assert read(tmp_path, "item { id: 1 name: 'a # } b' }") == {"a # } b": 1}
    assert read(tmp_path, """item { id: 1 name: "it's" }""") == {"it's": 1}


A, B = "item { id: 1 name: 'a' }", "item { id: 2 name: 'b' }"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("item { id: 0 name: 'x' } " + A, "line 1: id 0 is not allowed; ids start at 1 because 0 is", id="id 0"),
        pytest.param("item { id: -1 name: 'x' }", "id -1 is not allowed", id="negative id"),
        pytest.param(A + "\nitem { id: 3 name: 'c' }", r"ids must be 1 to 2 without a gap, but are \[1, 3\]", id="gap"),
        pytest.param(A + "\nitem { id: 1 name: 'b' }", "line 2: 'b' or id 1 occurs twice", id="id twice"),
        pytest.param(A + "\n\nitem { id: 2 name: 'a' }", "line 3: 'a' or id 2 occurs twice", id="name twice"),
        pytest.param("item { id: 1 }", "line 1: every item needs a name and an id", id="no name"),
        pytest.param("item { id: 1 name: '' }", "every item needs a name and an id", id="empty name"),
        pytest.param("item { name: 'a' }", "every item needs a name and an id", id="no id"),
        pytest.param("item { id: '1' name: 'a' }", "every item needs a name and an id", id="id in quotes"),
        pytest.param("item { id: 1 id: 2 name: 'a' }", "line 1: 'id' occurs twice in one item", id="two ids in an item"),
        pytest.param("item { id: 1.5 name: 'a' }", "line 1: unexpected '.'", id="id no whole number"),
        pytest.param("\nitem { id: 1 name: a }", "line 2: 'name' has no value", id="name without quotes"),
        pytest.param("item { id: 1 name: 'a }", 'line 1: unexpected "\'"', id="quote not closed"),
        pytest.param("item { id: 1 name: 'a'", "not closed by '}'", id="brace not closed"),
        pytest.param(A + " }", "unexpected '}'", id="brace too many"),
        pytest.param("item { item { id: 1 } }", "expected 'item {'", id="nested"),
        pytest.param("entry { id: 1 name: 'a' }", "expected 'item', got 'entry'", id="another message"),
        pytest.param("1: 'a'", "a value without a name: 1", id="a list of its own making"),
        pytest.param("a,1\nb,2", "expected 'item', got 'a'", id="CSV"),
        pytest.param("# nothing", "has no item", id="only a comment"),
        pytest.param("", "has no item", id="empty"),
    ],
)
def test_faults(tmp_path, text, message):
    with pytest.raises(DataError, match=rf"[Ll]abel map .*map\.pbtxt.*{message}"):
        read(tmp_path, text)


def test_unreadable(tmp_path):
    with pytest.raises(DataError, match="Cannot read the label map .*none.pbtxt.*No such file"):
        label_map.read_label_map(tmp_path / "none.pbtxt")
    (tmp_path / "bin").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="Cannot read the label map .*bin"):
        label_map.read_label_map(tmp_path / "bin")


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=8), min_size=1, max_size=5, unique=True))
def test_written_maps_are_read_back_or_refused(tmp_path_factory, names):
    path = tmp_path_factory.mktemp("written") / "map.pbtxt"
    classes = {name: number for number, name in enumerate(names, start=1)}
    try:
        label_map.write_label_map(path, classes)
    except DataError as error:
        assert "cannot stand in a label map" in str(error)
        assert any(set(name) & set("'\\") or not name.isprintable() for name in names)
        assert not path.exists()
        return
    assert label_map.read_label_map(path) == classes
    assert by_protobuf(path.read_text(encoding="utf-8")) == classes


@settings(max_examples=60, deadline=None)
@given(st.text("item{}:'\" id name 12\n#,", max_size=60))
def test_whatever_is_read_protobuf_reads_the_same(tmp_path_factory, text):
    try:
        parsed = read(tmp_path_factory.mktemp("any"), text)
    except DataError:
        return
    assert by_protobuf(text) == parsed


def test_check_pneumonia(tmp_path):
    label_map.check_pneumonia({"pneumonia": 1, "no-pneumonia": 2}, tmp_path)
    with pytest.raises(DataError, match="has no 'pneumonia'; it has 'no-pneumonia', 'nodule'"):
        label_map.check_pneumonia({"no-pneumonia": 1, "nodule": 2}, tmp_path)
    with pytest.raises(DataError, match="has no 'no-pneumonia' and no 'pneumonia'; it has 'cat'"):
        label_map.check_pneumonia({"cat": 1}, tmp_path)
