"""Keyed hashes in place of patient and exam ids.

alias = Pseudonyms(read_or_make_key(Path("study.key")))
alias("MRN-4711")        # 32 hex digits: the same with the same key, and nobody without it can try ids one by one
"""

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from pneumodet.core.errors import DataError

KEY_BYTES = 32
"""As many as SHA-256 gives (RFC 2104, section 3)."""

_DIGITS = 32


class Pseudonyms:
    """Turns an id into the first 128 bits of its HMAC-SHA256 (RFC 2104); without a key ids stay as they are."""

    def __init__(self, key: bytes | None) -> None:
        """Take the key, or None for no pseudonyms."""
        self._key = key

    def __bool__(self) -> bool:
        return self._key is not None

    def __call__(self, text: str) -> str:
        """Return what stands in for ``text``."""
        return (
            text if self._key is None else hmac.new(self._key, text.encode(errors="surrogateescape"), hashlib.sha256).hexdigest()[:_DIGITS]
        )


def read_or_make_key(path: Path) -> bytes:
    """Return the key in a file; where there is no such file, make one with a random key that only its owner may read.

    Raises:
      DataError: the file cannot be read or written, or holds something else.
    """
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            # O_EXCL: two commands at once must not each make a key; 0o600 from the start, and not after it was written
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
                file.write(secrets.token_hex(KEY_BYTES) + "\n")
        key = bytes.fromhex(path.read_text(encoding="ascii"))
    except OSError as error:
        raise DataError(f"Cannot read or write the key {path}: {error.strerror}.") from error
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise DataError(f"{path} is no key: it must hold {2 * KEY_BYTES} hex digits. Name a file that does not exist to have one made.")
    return key
