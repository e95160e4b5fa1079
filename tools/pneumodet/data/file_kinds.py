"""Which files may be radiographs, by their names and first bytes, and why the others are not read.

    suffix_of("IM.JFIF") in IMAGES           # True
    unread("a/scan.jp2")                     # 'JPEG 2000 is read within DICOM only; convert it to PNG'
    is_image(data), is_dicom(data)

One list for labels, folders, archives and the page: a suffix that is read here is taken off an exam's name there.
"""

import os

DICOM = (".dcm", ".dicom", ".dic")
"""Suffixes of DICOM files; archives and CDs often have none."""

IMAGES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".bmp", ".webp")
"""Suffixes of image files that are read: PNG, JPEG, TIFF, BMP, WebP."""

DOCUMENTS = (".csv", ".json", ".txt", ".xml", ".md", ".html", ".pdf", ".xlsx")
"""Suffixes of what lies beside radiographs, labels above all: passed over and not counted."""

ARCHIVE = ".zip"
"""Suffix of the archives that are opened."""

RECORDS = ".tfrecord"
"""Suffix that only an output of make_tfrecords has."""

PAIR = ".tfrec"
"""Suffix of a file of images whose paths another one has; see ``tfrecord_pairs``."""

PREDICTIONS = frozenset(("predictions.json", "scores.csv"))
"""Files that a folder has together only where predict wrote it; its pictures are no radiographs."""

PNG_START, JPEG_START = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
"""How these files begin (PNG 3rd edition, 5.2; ITU-T T.81 B.1.1.3 and the marker after it)."""

HEAD_BYTES = 132
"""Of a file that say what it is."""

NO_KIND = "it is no DICOM file and none of the images that are read (PNG, JPEG, TIFF, BMP, WebP)"
"""Why a file of an unknown name and content is not read."""

_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""Little and big endian, and the two of BigTIFF."""

_DICOM_MAGIC = slice(128, HEAD_BYTES), b"DICM"
"""Where a DICOM file says that it is one (PS3.10 7.1)."""

_BMP_HEADERS = frozenset((12, 16, 40, 52, 56, 64, 108, 124))
"""Bytes of the header after a BMP's file header, by its versions."""

_PACKED = "archives of this kind are not opened; unpack it, or pack its files as ZIP"
_J2K = "JPEG 2000 is read within DICOM only; convert it to PNG"
_OTHER_IMAGE = "images of this format are not read; convert it to PNG"

_UNREAD = {
    **dict.fromkeys((".tar", ".gz", ".tgz", ".bz2", ".tbz2", ".xz", ".txz", ".zst", ".7z", ".rar"), _PACKED),
    **dict.fromkeys((".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".jph", ".htj2k"), _J2K),
    **dict.fromkeys((".gif", ".heic", ".heif", ".avif", ".jxl", ".jls", ".nii", ".nrrd", ".mha", ".mhd", ".npy", ".npz"), _OTHER_IMAGE),
    ARCHIVE: "archives within archives, or at a URL, are not opened; unpack it",
}

_UNREAD_STARTS = {
    b"\x1f\x8b": _PACKED,
    b"BZh": _PACKED,
    b"\xfd7zXZ\0": _PACKED,
    b"7z\xbc\xaf\x27\x1c": _PACKED,
    b"Rar!": _PACKED,
    b"PK\3\4": _UNREAD[ARCHIVE],
    b"\0\0\0\x0cjP  ": _J2K,
    b"\xff\x4f\xff\x51": _J2K,
    b"GIF8": _OTHER_IMAGE,
}
"""How such files begin, whatever they are called."""


def suffix_of(name: str) -> str:
    """Return a file name's last suffix in small letters, with its dot, or nothing."""
    return os.path.splitext(name)[1].lower()


def is_image(head: bytes) -> bool:
    """Whether a file that begins so is an image of a format that is read; 132 bytes are enough."""
    if head.startswith((PNG_START, JPEG_START)):
        return True
    # a DICOM file's preamble may be that of a TIFF file, which it then is as well (PS3.10 7.1)
    if head.startswith(_TIFF_STARTS):
        return not is_dicom(head)
    if head.startswith(b"BM"):
        return len(head) > 18 and int.from_bytes(head[14:18], "little") in _BMP_HEADERS
    return head.startswith(b"RIFF") and head[8:12] == b"WEBP"


def is_dicom(head: bytes) -> bool:
    """Whether a file that begins so says that it is DICOM; an old one may leave that out."""
    place, magic = _DICOM_MAGIC
    return head[place] == magic


def unread(name: str) -> str | None:
    """Return why a file of this name is never read, with what to do; None where its name does not say."""
    return _UNREAD.get(suffix_of(name))


def unread_content(head: bytes) -> str | None:
    """Return why a file that begins so is not read, or None where its first bytes do not say."""
    return next((reason for start, reason in _UNREAD_STARTS.items() if head.startswith(start)), None)
