"""Small files that ask for gigabytes, or for hours: refused by what they say of themselves, or ended by limits; ordinary ones of the same kinds are read."""

import gzip
import io
import struct
import zipfile

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit

from pneumodet.core import guarded
from pneumodet.core.errors import DataError
from pneumodet.data import archives, image_files, images, listing, record_images, sources, text_files
from pneumodet.data.encoding import Options
from pneumodet.dicom import costs, jpeg

GRAY = np.add.outer(np.arange(40), 3 * np.arange(56)).astype(np.uint8)


def in_dicom(like, stream, syntax, *, rows, columns):
    """Return a DICOM file of a compressed stream."""
    dataset = pydicom.dcmread(like)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.Rows, dataset.Columns = rows, columns
    dataset.PixelData = encapsulate([stream])
    dataset["PixelData"].is_undefined_length = True
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def codestream(*, width, height, tile, layers=1, sides=(), levels=0, size=200):
    """Return the beginning of a JPEG 2000 stream (ITU-T T.800 A.5.1, A.6.1), filled with zeros."""
    siz = struct.pack(">HH8IHBBB", 41, 0, width, height, 0, 0, tile, tile, 0, 0, 1, 7, 1, 1)
    style = struct.pack(">BBHBBBBBB", 1 if sides else 0, 0, layers, 0, levels, 4, 4, 0, 1) + bytes(sides)
    main = b"\xff\x4f\xff\x51" + siz + b"\xff\x52" + struct.pack(">H", 2 + len(style)) + style + b"\xff\x90"
    return main + bytes(size - len(main))


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        pytest.param({"width": 9000, "height": 8000, "tile": 2000}, "has 200 bytes for 72,000,000 px", id="pixels"),
        pytest.param({"width": 4000, "height": 4000, "tile": 8}, "has 250,000 tiles; 16,384 are allowed", id="tiles"),
        pytest.param(
            {"width": 4000, "height": 4000, "tile": 4000, "levels": 1, "sides": (0x22, 0x22)}, "has 1,250,000 precincts", id="precincts"
        ),
        pytest.param({"width": 4000, "height": 4000, "tile": 250, "layers": 65_000}, "has 16,640,000 packets", id="packets"),
        pytest.param({"width": 4000, "height": 4000, "tile": 0}, "damaged", id="no-tiles"),
    ],
)
def test_a_jpeg_2000_stream_of_too_many_parts(stream, reason, jpeg_file):
    data = in_dicom(jpeg_file, codestream(**stream), JPEG2000Lossless, rows=stream["height"], columns=stream["width"])
    with pytest.raises(DataError, match=reason):
        images.image_of(data, "a.dcm")


def test_a_decoder_that_takes_more_than_its_limits(jpeg_file, monkeypatch):
    """The checks before cannot see all: what is in the tiles, above all."""
    pytest.importorskip("openjpeg", reason="the package pylibjpeg-openjpeg is not installed")
    dataset = pydicom.dcmread(jpeg_file)
    # 36 MB as the decoder has it, which the C library gives back when it is free: a process that was used before has no such piece left
    large = (np.add.outer(np.arange(3000), np.arange(3000)) // 24).astype(np.uint8)
    dataset.Rows, dataset.Columns = large.shape
    dataset.compress(JPEG2000Lossless, large, generate_instance_uid=False)
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    np.testing.assert_array_equal(images.image_of(buffer.getvalue(), "a.dcm").pixels, large)
    if guarded.HAS_LIMITS:
        monkeypatch.setattr(costs, "MAX_MEMORY_BYTES", 8 << 20)
        with pytest.raises(DataError, match=r"a\.dcm: its image.* cannot be decoded"):
            images.image_of(buffer.getvalue(), "a.dcm")


def of_scans(count):
    """Return a JPEG whose last scan is there so many times more."""
    buffer = io.BytesIO()
    Image.fromarray(GRAY).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * count + data[-2:]


def test_a_jpeg_of_many_scans(jpeg_file):
    """Each scan goes over all pixels: 40,000 of them, which pack to nothing, take minutes."""
    few, many = of_scans(3), of_scans(100)
    assert images.image_of(few, "a.jpg").pixels.shape == GRAY.shape
    for data in (many, in_dicom(jpeg_file, many, JPEGBaseline8Bit, rows=40, columns=56)):
        with pytest.raises(DataError, match=r"a: the JPEG stream has 1\d\d scans; 64 are allowed"):
            images.image_of(data, "a")
        with pytest.raises(DataError, match="scans; 64 are allowed"):
            sources_encode(data)
    with pytest.raises(DataError, match="scans; 64 are allowed"):
        record_images.decode(many, where="record 1")
    assert record_images.decode(few, where="record 1").shape == GRAY.shape


def sources_encode(data):
    class Source:
        def __str__(self):
            return "a"

        def read_bytes(self):
            return data

    return images.encode(Source(), Options())


def plain(kind, pixels=GRAY, **more):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **more)
    return buffer.getvalue()


def test_what_is_plain_is_decoded_here_and_all_else_elsewhere(monkeypatch):
    asked = []
    monkeypatch.setattr(guarded, "call", lambda function, data, *rest, limits: asked.append(1) or function(data, *rest))
    directory = b"Exif\0\0" + b"II*\0\x08\0\0\0" + bytes(20_000)
    color = np.repeat(GRAY[..., None], 3, axis=2)
    for data in (plain("JPEG"), plain("JPEG", color), plain("PNG"), plain("PNG", GRAY.astype(np.uint16) * 200), plain("PNG", color)):
        images.image_of(data, "a"), sources_encode(data)
    assert asked == []
    others = [plain("TIFF"), plain("BMP"), plain("WEBP"), plain("JPEG", progressive=True), plain("JPEG", exif=directory)]
    for number, data in enumerate(others, start=1):
        images.image_of(data, "a")
        assert len(asked) == 2 * number - 1
        sources_encode(data)
        assert len(asked) == 2 * number


def test_a_large_directory_in_a_jpeg_makes_it_not_plain():
    """Pillow copies the file's directory once for each entry."""
    assert jpeg.read(plain("JPEG")).is_plain
    assert not jpeg.read(plain("JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0" + bytes(20_000))).is_plain
    assert not jpeg.read(plain("JPEG", progressive=True)).is_plain


def packed(path, method, contents, *, says=None):
    """Write an archive of one member, whose directory says another size."""
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a.png", contents)
    if says is not None:
        data = path.read_bytes()
        path.write_bytes(data.replace(struct.pack("<I", len(contents)), struct.pack("<I", says)))
    return path


@pytest.mark.skipif(not guarded.HAS_LIMITS, reason="there are no limits of memory on this system")
def test_a_member_that_unpacks_to_more_than_its_directory_says(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "_UNUSUAL_LIMITS", guarded.Limits(24 << 20, 20))
    path = packed(tmp_path / "a.zip", zipfile.ZIP_LZMA, bytes(64 << 20), says=1000)
    (source,) = sources.find_radiographs(path, images=True)[0].values()
    with pytest.raises(DataError, match=r"a\.zip/a\.png cannot be unpacked: it takes more than 24 MB of memory"):
        source.read_bytes()


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_archives_of_every_compression_are_read(method, tmp_path):
    data = plain("PNG")
    (source,) = sources.find_radiographs(packed(tmp_path / "a.zip", method, data), images=True)[0].values()
    assert source.read_bytes() == data
    assert listing._head(source) == data[:132]


def test_a_member_that_says_that_it_is_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_MEMBER_BYTES", 1000)
    (source,) = sources.find_radiographs(packed(tmp_path / "a.zip", zipfile.ZIP_DEFLATED, bytes(1001)), images=True)[0].values()
    with pytest.raises(DataError, match="1,001 bytes unpacked; 1,000 are allowed"):
        source.read_bytes()


def test_members_that_overlap(tmp_path):
    path = packed(tmp_path / "a.zip", zipfile.ZIP_STORED, np.random.default_rng(0).bytes(5000))
    data = path.read_bytes()
    start, end = data.index(b"PK\1\2"), data.index(b"PK\5\6")
    entry, tail = data[start:end], bytearray(data[end:])
    tail[8:12] = struct.pack("<HH", 2, 2)
    tail[12:16] = struct.pack("<I", 2 * len(entry))
    path.write_bytes(data[:start] + entry + entry.replace(b"a.png", b"b.png") + bytes(tail))
    (tmp_path / "c.png").write_bytes(plain("PNG"))
    files, refused = sources.find_radiographs(tmp_path, images=True)
    assert list(files) == ["c"] and refused == [("a.zip", "its members overlap, as those of an archive do that is made to fill disks")]


def test_packed_labels_that_unpack_to_more_than_labels_do(tmp_path, monkeypatch):
    monkeypatch.setattr(text_files, "SMALL_BYTES", 1 << 20)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"a,b\n" * (1 << 20)))
    packed(tmp_path / "b.csv.zip", zipfile.ZIP_DEFLATED, bytes(4 << 20))
    for name in ("a.csv.gz", "b.csv.zip"):
        with pytest.raises(DataError, match="unpacks to more than 100 times its size"):
            text_files.read_bytes(tmp_path / name)
    rows = b"".join(b"%d,%d\n" % (number, number * number) for number in range(100_000))
    (tmp_path / "c.csv.gz").write_bytes(gzip.compress(rows))
    assert text_files.read_bytes(tmp_path / "c.csv.gz") == rows


def test_an_image_file_that_takes_too_much_is_a_sentence(monkeypatch):
    def overrun(*_, limits):
        raise guarded.Overrun(f"it takes more than {limits.cpu_seconds} s")

    monkeypatch.setattr(guarded, "call", overrun)
    for decode in (lambda data: image_files.pixels_of(data, "a.tif"), lambda data: image_files.encode_bytes(data, "a.tif", Options())):
        with pytest.raises(
            DataError, match=r"^a\.tif: the image cannot be decoded: it takes more than \d+ s\. It is damaged, or made to do harm\.$"
        ):
            decode(plain("TIFF"))
