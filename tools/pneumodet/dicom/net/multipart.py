"""multipart/related messages of DICOM objects (RFC 2387, PS3.18 8.6.1.2): written, and read with bounds.

    body, content_type = write([first, second])
    data = only_part(body, content_type)

A message that is read lies in memory already, of a bounded size; what is bounded here is the search in it.
"""

import secrets
from collections.abc import Sequence
from email.message import Message

from pneumodet.dicom.net.errors import Trouble

DICOM = "application/dicom"

MAX_HEADER_BYTES = 8192
"""Of the lines before a part's contents; usual are 100."""

MAX_BOUNDARY_LETTERS = 70
"""RFC 2046 5.1.1."""


def write(objects: Sequence[bytes]) -> tuple[bytes, str]:
    """Return (body, Content-Type) of a message with these DICOM files."""
    # it must not occur in the contents (RFC 2046 5.1.1): 128 bits by chance do not, and need no search
    boundary = f"pneumodet-{secrets.token_hex(16)}"
    parts = [f"--{boundary}\r\nContent-Type: {DICOM}\r\n\r\n".encode() + data + b"\r\n" for data in objects]
    return b"".join(parts) + f"--{boundary}--\r\n".encode(), f'multipart/related; type="{DICOM}"; boundary={boundary}'


def only_part(body: bytes, content_type: str) -> bytes:
    """Return the contents of a message that has one part; a body that is no multipart message, but application/dicom, is taken as it is.

    Raises:
      Trouble: it is cut off, malformed, or has not exactly one part.
    """
    # the parser of e-mail: parameters come in any order, and may be quoted (RFC 2045 5.1)
    message = Message()
    message["Content-Type"] = content_type
    kind = message.get_content_type()
    if kind == DICOM:
        return body
    boundary = message.get_param("boundary") if kind == "multipart/related" else None
    if not isinstance(boundary, str) or not 1 <= len(boundary) <= MAX_BOUNDARY_LETTERS or not boundary.isascii():
        raise Trouble("the PACS did not answer with a DICOM object")
    delimiter = b"--" + boundary.encode()
    # the first delimiter may be preceded by a preamble, which is small where it exists at all
    start = 0 if body.startswith(delimiter) else body.find(b"\r\n" + delimiter, 0, MAX_HEADER_BYTES) + 2
    if start == 1:
        raise Trouble("the answer of the PACS has no part")
    head = start + len(delimiter)
    blank = body.find(b"\r\n\r\n", head, head + MAX_HEADER_BYTES)
    if blank < 0:
        raise Trouble("the answer of the PACS has no part, or one with an endless header")
    first = blank + 4
    end = body.find(b"\r\n" + delimiter, first)
    if end < 0:
        raise Trouble("the answer of the PACS is cut off")
    # two dashes close a message; without them another part follows (RFC 2046 5.1.1)
    if body[end + 2 + len(delimiter) :][:2] != b"--":
        raise Trouble("the answer of the PACS has more than one object, or is cut off")
    return body[first:end]
