"""Messages of several parts: what is written can be read, and what is malformed is noticed."""

from email import message_from_bytes
from email.policy import HTTP

import pytest

from pneumodet.dicom.net import multipart
from pneumodet.dicom.net.errors import Trouble

KIND = 'multipart/related; type="application/dicom"; boundary="a cut"'
CONTENTS = b"\0\r\n--a cu\r\n\xff--\r\n\r\nend"


def message(contents=CONTENTS, *, before=b"", header=b"Content-Type: application/dicom\r\n", after=b"\r\n--a cut--\r\n"):
    return before + b"--a cut\r\n" + header + b"\r\n" + contents + after


def test_written_messages_are_read_by_another_reader():
    body, kind = multipart.write([b"first", b"second\r\n"])
    parsed = message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body, policy=HTTP)
    assert [part.get_content_type() for part in parsed.iter_parts()] == ["application/dicom"] * 2
    assert body.count(b"\r\n\r\nsecond\r\n\r\n--") == 1


def test_one_part_is_read_back():
    assert multipart.only_part(*multipart.write([CONTENTS])) == CONTENTS


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(message(), id="usual"),
        pytest.param(message(header=b""), id="no-header"),
        pytest.param(message(before=b"preamble\r\n"), id="preamble"),
        pytest.param(message(before=b"\r\n"), id="blank-line-first"),
        pytest.param(message(after=b"\r\n--a cut--"), id="no-last-line-end"),
        pytest.param(message(after=b"\r\n--a cut--\r\nepilogue"), id="epilogue"),
    ],
)
def test_contents_are_kept_to_the_byte(body):
    assert multipart.only_part(body, KIND) == CONTENTS


def test_a_plain_object_is_taken_as_it_is():
    assert multipart.only_part(CONTENTS, "application/dicom") == CONTENTS


@pytest.mark.parametrize(
    ("body", "kind", "reason"),
    [
        pytest.param(b"<html>", "text/html", "did not answer with a DICOM object", id="html"),
        pytest.param(b"", "", "did not answer with a DICOM object", id="nothing"),
        pytest.param(message(), "multipart/related", "did not answer with a DICOM object", id="no-boundary"),
        pytest.param(message(), f"multipart/related; boundary={'x' * 71}", "did not answer with a DICOM object", id="long-boundary"),
        pytest.param(b"--a cut--\r\n", KIND, "has no part", id="no-part"),
        pytest.param(b"x" * 99999 + message(), KIND, "has no part", id="endless-preamble"),
        pytest.param(message(header=b"X: " + b"y" * 9999 + b"\r\n"), KIND, "endless header", id="endless-header"),
        pytest.param(message(after=b""), KIND, "cut off", id="cut-in-the-contents"),
        pytest.param(message(after=b"\r\n--a cu"), KIND, "cut off", id="cut-in-the-boundary"),
        pytest.param(message(after=b"\r\n--a cut\r\n\r\nanother\r\n--a cut--"), KIND, "more than one object", id="two-parts"),
    ],
)
def test_what_is_malformed_is_noticed(body, kind, reason):
    with pytest.raises(Trouble, match=reason):
        multipart.only_part(body, kind)
