"""What lies in folders and archives: every file is read or refused with its reason."""

import gzip
import io
import os
import zipfile

import numpy as np
import pytest
from PIL import Image

from pneumodet.core import json_text
from pneumodet.core.errors import DataError
from pneumodet.data import file_kinds, formats, image_files, images, listing, sources
from pneumodet.data.encoding import Options
from pneumodet.data.formats import exam_id

GRAY = np.tile(np.arange(0, 240, 10, dtype=np.uint8), (20, 1))


def encoded(kind, pixels=GRAY, **more):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **more)
    return buffer.getvalue()


KINDS = {
    "a.png": "PNG",
    "b.jfif": "JPEG",
    "c.JPE": "JPEG",
    "d.tif": "TIFF",
    "e.tiff": "TIFF",
    "f.bmp": "BMP",
    "g.webp": "WEBP",
}


@pytest.mark.parametrize(("name", "kind"), KINDS.items())
def test_image_files_that_are_read(tmp_path, name, kind):
    data = encoded(kind, **({"lossless": True} if kind == "WEBP" else {}))
    (tmp_path / name).write_bytes(data)
    files, refused = sources.find_radiographs(tmp_path, images=True)
    assert (list(files), refused) == ([name[0]], [])
    assert exam_id(name) == name[0], "labels take the same suffixes off"
    source = files[name[0]]
    np.testing.assert_allclose(images.read_pixels(source).astype(int), GRAY, atol=3 if kind == "JPEG" else 0)
    image = images.encode(source, Options())
    assert (image.height, image.width, image.copied) == (*GRAY.shape, kind in ("PNG", "JPEG"))
    assert image_files.kind_of(data).upper() == kind


NOT_READ = {
    "a.jp2": "JPEG 2000",
    "b.gif": "format",
    "c.tar.gz": "unpack it",
    "d.7z": "unpack it",
    "e.nii": "format",
    "f.exe": "none of the images",
    "g": "none",
}


def test_what_is_not_read_is_counted_with_its_reason(tmp_path):
    (tmp_path / "one.png").write_bytes(encoded("PNG"))
    for name in NOT_READ:
        (tmp_path / name).write_bytes(b"something")
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("inner.png", encoded("PNG"))
    for name in ("notes.txt", ".hidden.jp2"):
        (tmp_path / name).write_bytes(b"")
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as archive:
        archive.writestr("deep/inner.zip", inner.getvalue())
        archive.writestr("two.png", encoded("PNG"))
    listed, refused = listing.candidates(tmp_path, (), images=True)
    assert [one.path for one in listed] == ["g", "one.png", "outer.zip/two.png"], "g may be DICOM, which shows when it is read"
    reasons = dict(refused)
    assert reasons.keys() == {*NOT_READ, "outer.zip/deep/inner.zip"} - {"g"}
    for name, part in NOT_READ.items():
        assert part in reasons.get(name, part), name
    assert "archives within archives" in reasons["outer.zip/deep/inner.zip"]


def test_an_archive_of_nothing_that_is_read_says_what_there_is(tmp_path):
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as archive:
        archive.writestr("inner.zip", b"PK\3\4")
    with pytest.raises(DataError, match=r"1 files there are something else \(first: inner\.zip: archives within archives"):
        sources.find_radiographs(tmp_path / "outer.zip", images=True)


def test_images_and_packed_files_of_any_name_are_known_by_their_content(tmp_path):
    (tmp_path / "a.scan").write_bytes(encoded("TIFF"))
    (tmp_path / "b.dcm").write_bytes(gzip.compress(b"a DICOM file"))
    listed, refused = listing.candidates(tmp_path, (), images=True)
    assert ([one.path for one in listed], refused) == (["a.scan", "b.dcm"], [])
    assert images.read_pixels(listed[0].source).shape == GRAY.shape
    with pytest.raises(DataError, match=r"b\.dcm: archives of this kind are not opened; unpack it"):
        images.read_pixels(listed[1].source)


def test_two_members_of_one_name(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("x/a.png", b"1")
        archive.writestr("x/a.png", b"2")
    listed, refused = listing.candidates(tmp_path / "a.zip", (), images=True)
    assert [(one.path, one.place) for one in listed] == [("x/a.png", "x/a")]
    assert refused == [("x/a.png", "its archive has another file of this very name")]


def test_earlier_predictions_are_passed_over_and_named(tmp_path):
    (tmp_path / "one.png").write_bytes(encoded("PNG"))
    (tmp_path / "out" / "images").mkdir(parents=True)
    for name in (*file_kinds.PREDICTIONS, "overview.png", "images/one.png"):
        (tmp_path / "out" / name).write_bytes(b"")
    listed, refused = listing.candidates(tmp_path, (), images=True)
    assert ([one.path for one in listed], refused) == (["one.png"], [("out", listing.EARLIER)])


def test_a_dicom_file_whose_preamble_is_that_of_a_tiff_is_dicom():
    head = b"II*\0" + bytes(124) + b"DICM"
    assert (file_kinds.is_image(head), file_kinds.is_dicom(head)) == (False, True)
    assert file_kinds.is_image(b"II*\0" + bytes(128))
    assert not file_kinds.is_image(b"BM, as a text may begin, which is longer than a header")


@pytest.mark.parametrize("kind", ["uint16", "white is zero", "int32", "float32"])
def test_tiff_of_more_than_8_bits(kind):
    ramp = np.tile(np.linspace(0, 4095, 64), (16, 1))
    if kind == "float32":
        pixels = image_files.pixels_of(encoded("TIFF", (ramp / 4095 - 0.5).astype(np.float32)), "a.tif")
    elif kind == "int32":
        pixels = image_files.pixels_of(encoded("TIFF", (ramp * 100 - 5).astype(np.int32)), "a.tif")
    else:
        stored = ramp.astype(np.uint16)
        tags = {262: 0} if kind == "white is zero" else {}
        pixels = image_files.pixels_of(encoded("TIFF", 4095 - stored if tags else stored, tiffinfo=tags), "a.tif")
    assert (pixels.dtype, pixels.shape) == (np.uint8, (16, 64))
    assert (np.diff(pixels[0].astype(int)) >= 0).all(), "bright stays bright"
    assert (pixels[0, 0], pixels[0, -1]) == (0, 255)


def test_a_tiff_that_is_cut_off():
    with pytest.raises(DataError, match=r"a\.tif is a damaged image file"):
        image_files.pixels_of(encoded("TIFF")[:60], "a.tif")


def test_the_first_page_of_a_tiff_counts():
    pages = [Image.fromarray(np.full((4, 6), level, np.uint8)) for level in (50, 200, 100)]
    buffer = io.BytesIO()
    pages[0].save(buffer, "TIFF", save_all=True, append_images=pages[1:])
    image = image_files.encode_bytes(buffer.getvalue(), "a.tif", Options(max_side=3))
    assert "first of several pages" in image.notes
    assert (image_files.pixels_of(buffer.getvalue(), "a.tif") == 50).all()


def test_pipes_and_devices_are_refused_by_name_and_never_opened(tmp_path):
    """Opening a pipe that nobody writes to would end in a test that never ends."""
    (tmp_path / "a.png").write_bytes(encoded("PNG"))
    for name in ("b.dcm", "c.png", "d", "e.zip", "f.v2", "images.tfrec", "paths.tfrec"):
        os.mkfifo(tmp_path / name)
    (tmp_path / "g.dcm").symlink_to("/dev/zero")
    (tmp_path / "h.png").symlink_to(tmp_path / "c.png")
    files, refused = sources.find_radiographs(tmp_path, images=True)
    assert list(files) == ["a"]
    assert {path: "pipe" if "pipe" in reason else reason.split(",")[0] for path, reason in refused} == dict.fromkeys(
        ("b.dcm", "c.png", "d", "e.zip", "f.v2", "images.tfrec", "paths.tfrec", "h.png"), "pipe"
    ) | {"g.dcm": "a device"}
    with pytest.raises(DataError, match="named pipe"):
        sources.find_radiographs(tmp_path / "b.dcm")


def test_pipes_among_labels_are_rejected_by_name(tmp_path):
    os.mkfifo(tmp_path / "a.xml")
    (tmp_path / "b.xml").write_text("<annotation><filename>b.png</filename><size><width>9</width><height>9</height></size></annotation>")
    labels = formats.read_labels(tmp_path)
    assert list(labels.exams) == ["b"] and [exam for exam, _ in labels.rejected] == ["a"]
    for name in ("images", "labels"):
        (tmp_path / "yolo" / name).mkdir(parents=True)
    (tmp_path / "yolo" / "classes.txt").write_text("pneumonia\n")
    (tmp_path / "yolo" / "images" / "b.png").write_bytes(encoded("PNG"))
    os.mkfifo(tmp_path / "yolo" / "images" / "a.png")
    labels = formats.read_labels(tmp_path / "yolo")
    assert list(labels.exams) == ["b"] and [exam for exam, _ in labels.rejected] == ["a"]


def test_a_pipe_is_no_json_file(tmp_path):
    os.mkfifo(tmp_path / "manifest.json")
    with pytest.raises(DataError, match="The manifest .* is a named pipe, which is not opened. Again."):
        json_text.read(tmp_path / "manifest.json", what="the manifest", hint="Again.")


def test_aliases_within_aliases_do_not_unfold(tmp_path):
    levels = "".join(f"a{level}: &a{level}\n  <<: [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 30))
    (tmp_path / "data.yaml").write_text(f"names: [pneumonia]\ntrain: images\na0: &a0 {{x: 1}}\n{levels}")
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match="has aliases"):
        formats.read_labels(tmp_path / "data.yaml")
