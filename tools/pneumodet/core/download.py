"""Download a file so that a broken connection costs only what was on the way, and a broken file never has the final name.

fetch("https://…/mobilenet_v2.tar.gz", Path("pretrained/mobilenet_v2.tar.gz"), hint="Or copy it by hand.")

What has arrived lies in ``NAME.part``, and beside it in ``NAME.part.json`` what the server said of the file; the next attempt, also that of
another process, asks for the rest (RFC 9110, section 14: Range, and If-Range, so that a file that has changed meanwhile is sent anew).
A proxy is taken from the environment, as urllib does it.
"""

import contextlib
import errno
import http.client
import json
import logging
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pneumodet
from pneumodet.core import paths
from pneumodet.core.errors import CheckpointError, DataError, first_line

TIMEOUT_SECONDS = 30.0
"""How long a server may send nothing."""

DELAYS_SECONDS = (1.0, 2.0, 4.0, 8.0)
"""Pauses before the next attempts; when all are used up without one more byte, the download has failed."""

_log = logging.getLogger(__name__)

_CHUNK = 1 << 18
_PASSING = {408, 425, 429, 500, 502, 503, 504}
"""HTTP status codes after which another attempt makes sense (RFC 9110, section 15; RFC 6585; RFC 8470)."""

_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)$")


class KeepTls(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but from https to nothing else: who is on the way could then change the file."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        """Return the next request, as the base class."""
        if req.type == "https" and not newurl.startswith("https://"):
            raise urllib.error.HTTPError(newurl, code, "to an address without TLS, which is not followed", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Broken(Exception):
    """An attempt that failed and may be repeated."""


def fetch(
    url: str,
    final: Path,
    *,
    hint: str,
    name: str | None = None,
    on_progress: Callable[[int, int | None], None] = lambda done, total: None,
    delays: Sequence[float] = DELAYS_SECONDS,
    timeout: float = TIMEOUT_SECONDS,
) -> None:
    """Download ``url`` to ``final``; where an earlier download was cut off, only the rest of it.

    Args:
      url: of http or https.
      final: the file; it appears when it is whole.
      hint: the next step, for the message of a download that failed.
      name: what the file is called in messages, and by which the rest of it is known to belong to what has arrived; for an address that holds a
        signature, which is another one each time and nobody's to read. The address by default.
      on_progress: is called with (bytes there, bytes in all or None).
      delays: in seconds, before each attempt after one that brought nothing.
      timeout: in seconds without a byte from the server.

    Raises:
      CheckpointError: the file is not there, or the server cannot be reached; what has arrived is kept.
      DataError: the disk is full or the folder cannot be written; what has arrived is kept.
    """
    part = part_of(final)
    name = name or url
    most, left = _size(part), list(delays)
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                _attempt(url, name, part, on_progress=on_progress, timeout=timeout)
                break
            except _Broken as broken:
                if _size(part) > most:  # on its way: all attempts again
                    most, left = _size(part), list(delays)
                if not left:
                    raise CheckpointError(f"Cannot download {name}: {broken}. {hint}") from broken
                delay = left.pop(0)
                _log.warning("%s: %s; attempt %d of %d in %g s", final.name, broken, len(delays) - len(left) + 1, len(delays) + 1, delay)
                time.sleep(delay)
            # here, since an HTTPError is an OSError, too, and those further down are about the disk
            except urllib.error.HTTPError as error:
                raise CheckpointError(f"Cannot download {name}: the server answers {error.code} {error.reason}. {hint}") from error
        # the name first: a part without its notes could not be resumed, but notes without a part do no harm
        os.replace(part, final)
        _notes(part).unlink(missing_ok=True)
    except OSError as error:
        kept = f" What has arrived is kept in {part.name}, and the same command resumes from there." if _size(part) else ""
        raise DataError(f"Cannot write {final}: {error.strerror or error}. Free some disk space.{kept}") from error


def part_of(final: Path) -> Path:
    """Return the file in which what has arrived of ``final`` lies until it is whole."""
    return final.with_name(final.name + ".part")


def _attempt(url: str, name: str, part: Path, *, on_progress: Callable[[int, int | None], None], timeout: float) -> None:
    """Add to ``part`` until it is whole.

    Raises:
      _Broken: the connection failed or ended early.
      HTTPError: the server refuses for good.
      OSError: of the disk.
    """
    there = _known(part, name)
    if there and there["total"] == _size(part):
        return  # it was whole, and only had not got its name yet
    headers = {"User-Agent": f"pneumodet/{pneumodet.__version__}"}
    if there:
        headers |= {"Range": f"bytes={_size(part)}-", "If-Range": there["validator"]}
    try:
        opener = urllib.request.build_opener(KeepTls)  # urlopen would keep the proxy that it saw first
        answer = opener.open(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:  # what is here is no beginning of what is there
            _forget(part)
            raise _Broken("the server has another file than before") from error
        if error.code in _PASSING:
            raise _Broken(f"the server answers {error.code} {error.reason}") from error
        raise
    except urllib.error.URLError as error:
        raise _Broken(first_line(error.reason) if isinstance(error.reason, BaseException) else str(error.reason)) from error
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(first_line(error)) from error
    with answer:
        start, total = _place(answer)
        if start not in (0, _size(part)):
            _forget(part)
            raise _Broken("the server sent another part than was asked for")
        # the whole file comes: at first, from a server without ranges, or where it is not the one of If-Range (RFC 9110, section 13.1.5)
        if not start:
            _forget(part)
        # before the first byte, so that what arrives until a kill can be resumed
        _note(part, name, answer, total)
        done = _append(answer, part, start, total, on_progress=on_progress)
    if total is not None and done != total:
        raise _Broken(f"the connection ended after {done} of {total} bytes")


def _append(answer: Any, part: Path, start: int, total: int | None, *, on_progress: Callable[[int, int | None], None]) -> int:
    """Write what comes behind the first ``start`` bytes of ``part``; return the bytes there are then."""
    if total is not None and shutil.disk_usage(part.parent).free < total - start:
        raise OSError(errno.ENOSPC, f"{(total - start) >> 20} MiB are still to come, more than the disk has left")
    done = start
    with open(part, "ab") as file:
        while True:
            try:
                chunk = answer.read(_CHUNK)
            except (OSError, http.client.HTTPException) as error:  # of the connection: the file is not written here
                raise _Broken(f"the connection broke after {done} bytes ({first_line(error)})") from error
            if not chunk:
                break
            file.write(chunk)
            done += len(chunk)
            on_progress(done, total)
        file.flush()
        os.fsync(file.fileno())
    return done


def _place(answer: Any) -> tuple[int, int | None]:
    """Return (where in the file an answer begins, bytes of the whole file or None)."""
    if answer.status == http.HTTPStatus.PARTIAL_CONTENT:
        match = _RANGE.match(answer.headers.get("Content-Range", ""))
        # no part begins at -1, so that the caller drops what it has and asks anew
        if not match:
            return -1, None
        return int(match[1]), None if match[2] == "*" else int(match[2])
    length = answer.headers.get("Content-Length")
    return 0, int(length) if length else None


def _notes(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _note(part: Path, name: str, answer: Any, total: int | None) -> None:
    """Write down what the server says of the file; without a strong validator, nothing can be resumed (RFC 9110, section 13.1.5)."""
    etag = answer.headers.get("ETag", "")
    validator = etag if etag and not etag.startswith("W/") else answer.headers.get("Last-Modified")
    paths.write_json(_notes(part), {"url": name, "validator": validator, "total": total})


def _known(part: Path, name: str) -> dict[str, Any] | None:
    """Return the notes of an earlier attempt that can be resumed; remove what is left of any other."""
    notes = None
    with contextlib.suppress(OSError, ValueError):
        notes = json.loads(_notes(part).read_text(encoding="utf-8"))
    if (
        isinstance(notes, dict)
        and notes.get("url") == name
        and notes.get("validator")
        and 0 < _size(part) <= (notes.get("total") or 1 << 62)
    ):
        return notes
    _forget(part)
    return None


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _notes(part).unlink(missing_ok=True)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
