"""Files at URLs that Apache Beam knows (gs://, s3://, hdfs://, and file:// here): listing, reading, writing.

for url, size, changed in listing("gs://bucket/rsna"): ...
contents = read("gs://bucket/rsna/0004cfab.dcm")
"""

from collections.abc import Iterator
from typing import Any

from pneumodet.core import installation
from pneumodet.core.errors import ConfigError, DataError, first_line


def is_url(path: Any) -> bool:
    """Whether a path is a URL."""
    return "://" in str(path)


def beam() -> Any:
    """Return the module apache_beam.

    Raises:
      ConfigError: it is not installed.
    """
    try:
        import apache_beam
        import apache_beam.io.filesystems
    except ImportError as error:
        raise ConfigError(
            f"--runner and URLs need Apache Beam ({first_line(error)}). Install it: {installation.command('beam')}."
        ) from error
    return apache_beam


def listing(root: str) -> Iterator[tuple[str, int, int]]:
    """Yield (URL, bytes, time of change in ns or 0) of every file below ``root``, in the order of their names.

    Raises:
      DataError: the folder cannot be listed.
    """
    systems = beam().io.filesystems.FileSystems
    try:
        entries = systems.match([root.rstrip("/") + "/**"])[0].metadata_list
    except Exception as error:  # every file system has exceptions of its own
        raise DataError(f"Cannot list {root}: {first_line(error)}.") from error
    for entry in sorted(entries, key=lambda entry: entry.path):
        yield entry.path, entry.size_in_bytes, int((entry.last_updated_in_seconds or 0) * 1e9)


def exists(url: str) -> bool:
    """Whether there is a file.

    Raises:
      DataError: Beam cannot read there.
    """
    systems = beam().io.filesystems.FileSystems
    try:
        there: bool = systems.exists(url)
        return there
    except Exception as error:
        raise DataError(f"Cannot find out whether {url} exists: {first_line(error)}.") from error


def read(url: str) -> bytes:
    """Return a file's contents as they are stored.

    Raises:
      DataError: the file cannot be read.
    """
    io = beam().io
    try:
        # UNCOMPRESSED: Beam would unpack .gz by its name, and text_files does so by content
        with io.filesystems.FileSystems.open(url, compression_type=io.filesystem.CompressionTypes.UNCOMPRESSED) as file:
            contents: bytes = file.read()
            return contents
    except Exception as error:
        raise DataError(f"{url} cannot be read: {first_line(error)}.") from error


def create(url: str) -> Any:
    """Return a binary file to write; folders on the way are made.

    Raises:
      DataError: it cannot be made.
    """
    io = beam().io
    try:
        return io.filesystems.FileSystems.create(url, compression_type=io.filesystem.CompressionTypes.UNCOMPRESSED)
    except Exception as error:
        raise DataError(f"Cannot write {url}: {first_line(error)}. Choose another --output-dir.") from error


def write(url: str, contents: bytes) -> None:
    """Write a file.

    Raises:
      DataError: it cannot be written.
    """
    with create(url) as file:
        file.write(contents)


def delete(urls: list[str]) -> None:
    """Remove files that are there."""
    beam().io.filesystems.FileSystems.delete(urls)
