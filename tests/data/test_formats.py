"""Labels of every format: what is read, what is rejected, and the message about it."""

import csv
import gzip
import json
import random
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO

from pneumodet.core.errors import ConfigError, DataError
from pneumodet.data import annotations, formats, labels_coco

CSV_HEADER = ",".join(formats.CSV_COLUMNS) + "\n"
GOOD_ROW = "good.png,100,80,pneumonia,1,2,3,4\n"
GOOD_BOX = [[1, 2, 3, 4]]


def contents(labels):
    """Return what two readings of the same labels must agree in."""
    return {exam.patient_id: (exam.boxes_xyxy_px.tolist(), exam.positive, exam.class_names, exam.size_hw) for exam in labels.exams.values()}


@pytest.fixture
def read_csv(tmp_path):
    """Return a function: rows below the classic header -> Labels."""

    def read(rows, *, header=CSV_HEADER, **arguments):
        path = tmp_path / "labels.csv"
        path.write_text(header + rows, encoding="utf-8")
        return formats.read_labels(path, **arguments)

    return read


def voc(*objects, name="good.png", size=(100, 80), extra=""):
    """Return the text of a Pascal VOC file; objects are (class, xmin, ymin, xmax, ymax)."""
    objects = "".join(
        f"<object><name>{one}</name><bndbox><xmin>{x}</xmin><ymin>{y}</ymin><xmax>{right}</xmax><ymax>{low}</ymax></bndbox></object>"
        for one, x, y, right, low in objects
    )
    return f"<annotation><filename>{name}</filename><size><width>{size[0]}</width><height>{size[1]}</height></size>{objects}{extra}</annotation>"


GOOD_VOC = voc(("pneumonia", 1, 2, 3, 4))


@pytest.fixture
def read_voc(tmp_path):
    """Return a function: {file name: text} -> Labels of the folder."""

    def read(files, **arguments):
        folder = tmp_path / "voc"
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return formats.read_labels(folder, **arguments)

    return read


def image(number=1, name="good.png", **more):
    return {"id": number, "file_name": name, "width": 100, "height": 80} | more


def box(number=1, of=1, bbox=(1, 2, 2, 2), category=2, **more):
    return {"id": number, "image_id": of, "category_id": category, "bbox": list(bbox), "area": 4, "iscrowd": 0} | more


CATEGORIES = [{"id": 1, "name": "no-pneumonia"}, {"id": 2, "name": " pneumonia "}, {"id": 7, "name": "effusion"}]
GOOD_COCO = {"images": [image()], "annotations": [box()], "categories": CATEGORIES}


@pytest.fixture
def read_coco(tmp_path):
    """Return a function: images, annotations -> Labels."""

    def read(images, boxes, categories=CATEGORIES, **arguments):
        path = tmp_path / "instances.json"
        path.write_text(json.dumps({"images": images, "annotations": boxes, "categories": categories}))
        return formats.read_labels(path, **arguments)

    return read


@pytest.mark.parametrize(
    ("name", "exam"),
    [
        pytest.param("a.dcm", "a", id="dcm"),
        pytest.param("a.DICOM", "a", id="DICOM"),
        pytest.param("a.png", "a", id="png"),
        pytest.param("a.JPG", "a", id="JPG"),
        pytest.param("a.jpeg", "a", id="jpeg"),
        pytest.param("a.tif", "a", id="tif"),
        pytest.param("a.jp2", "a.jp2", id="another suffix"),
        pytest.param("1.2.840.113619", "1.2.840.113619", id="UID"),
        pytest.param("1.2.840.113619.dcm", "1.2.840.113619", id="UID with suffix"),
        pytest.param("a.png.jpg", "a.png", id="one suffix only"),
        pytest.param("x/y/a.png", "a", id="folders"),
        pytest.param("C:\\x\\a.png", "a", id="folders of Windows"),
        pytest.param("  a b .png ", "a b", id="blanks"),
        pytest.param("png", "png", id="no dot"),
        pytest.param("x/.png", "", id="only a suffix"),
        pytest.param("x/", "", id="only a folder"),
    ],
)
def test_exam_id(name, exam):
    assert formats.exam_id(name) == exam


# classic CSV


def test_csv(read_csv):
    parsed = read_csv(
        "dir/b.jpg,512,1024, pneumonia ,10.5,20,30,40.25\na.png,512,512,,,,,\nb2.jpg,100,80,no-pneumonia,,,,\n"
        "dir/b.jpg,512.0,1024,effusion,-3,2,900,4\nc.1.dcm,100,80,no-pneumonia,0,0,100,80\nd,5,6,No-Pneumonia,1,1,2,2\n"
    )
    assert contents(parsed) == {
        "b": ([[10.5, 20, 30, 40.25], [-3, 2, 900, 4]], True, ("pneumonia", "effusion"), (1024, 512)),
        "a": ([], False, (), (512, 512)),
        "b2": ([], False, (), (80, 100)),
        "c.1": ([], False, (), (80, 100)),
        "d": ([[1, 1, 2, 2]], True, ("No-Pneumonia",), (6, 5)),
    }
    assert list(parsed.exams) == ["b", "a", "b2", "c.1", "d"]
    assert {(exam.boxes_xyxy_px.shape[1], exam.boxes_xyxy_px.dtype.name) for exam in parsed.exams.values()} == {(4, "float64")}
    assert (parsed.rejected, parsed.duplicate_rows) == ([], 0)


def test_csv_repeated_rows_count_once(read_csv):
    parsed = read_csv(GOOD_ROW + "n.png,1,1,,,,,\n" + GOOD_ROW.replace("1,2", "1.0,2.00") + "n.png,1,1,no-pneumonia,NaN,,,\n")
    assert contents(parsed)["good"][0] == GOOD_BOX
    assert not parsed.exams["n"].positive
    assert (parsed.rejected, parsed.duplicate_rows) == ([], 2)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        pytest.param("bad.png,100,80,pneumonia,,2,3,4", "line 3: xmin is empty", id="empty corner"),
        pytest.param("bad.png,100,80,pneumonia,,,,", "line 3: xmin is empty", id="finding without a box"),
        pytest.param("bad.png,100,80,no-pneumonia,1,,3,4", "line 3: ymin is empty", id="half a negative box"),
        pytest.param("bad.png,100,80,pneumonia,1,2,3", "line 3: ymax is empty", id="missing cell"),
        pytest.param("bad.png,100,80,pneumonia,1,2,3,4,5", "line 3: the row has more cells than the header", id="more cells"),
        pytest.param("bad.png,100,80,,1,2,3,4", "line 3: class is empty, but there is a box", id="no class"),
        pytest.param("bad.png,100,80,pneumonia,1,2,nan,4", "line 3: xmax is nan, must be a number up to 1,000,000 px", id="NaN"),
        pytest.param("bad.png,100,80,pneumonia,-inf,2,3,4", "line 3: xmin is -inf, must be a number up to", id="inf"),
        pytest.param("bad.png,100,80,pneumonia,1,2,3,1000001", "line 3: ymax is 1000001.0, must be a number up to", id="far away"),
        pytest.param("bad.png,100,80,pneumonia,1_0,2,30,4", "line 3: xmin is '1_0', which is no number", id="underscore"),
        pytest.param("bad.png,100,80,pneumonia,3,2,3,4", "line 3: the box has no area: xmin is 3 and xmax is 3", id="no width"),
        pytest.param("bad.png,100,80,pneumonia,1,4,3,2", "line 3: the box has no area: ymin is 4 and ymax is 2", id="upside down"),
        pytest.param("bad.png,0,80,pneumonia,1,2,3,4", "line 3: width is 0, must be a whole number of px above 0", id="width 0"),
        pytest.param(
            "bad.png,100,-80,pneumonia,1,2,3,4", "line 3: height is -80, must be a whole number of px above 0", id="height below 0"
        ),
        pytest.param("bad.png,100.5,80,pneumonia,1,2,3,4", "line 3: width is 100.5, must be a whole number", id="half a pixel"),
        pytest.param("bad.png,,80,pneumonia,1,2,3,4", "line 3: width is empty", id="no width given"),
        pytest.param("bad.png,wide,80,,,,,", "line 3: width is 'wide', which is no number", id="width is text"),
        pytest.param(
            "bad.png,100,80,,,,,\nbad.png,100,81,,,,,", "line 4: the image has 100 x 81 px, but 100 x 80 px at line 3", id="two sizes"
        ),
        pytest.param(
            "bad.png,9,9,,,,,\nbad.jpg,9,9,,,,,", "line 4: bad.jpg and bad.png (line 3) are two images of one name", id="one stem"
        ),
        pytest.param("x/bad.png,9,9,,,,,\ny/bad.png,9,9,,,,,", "line 4: y/bad.png and x/bad.png (line 3) are two images", id="two folders"),
        pytest.param(
            "bad.png,100,80,pneumonia,1,2,3,4\nbad.png,100,80,no-pneumonia,,,,",
            "line 4: says no-pneumonia, but there is a finding at line 3",
            id="negative and finding",
        ),
    ],
)
def test_csv_rejects_the_exam(read_csv, row, reason):
    parsed = read_csv(GOOD_ROW + row + "\nbad.png,100,80,pneumonia,1,2,3,4\n")
    assert list(contents(parsed)) == ["good"]
    ((exam, said),) = parsed.rejected
    assert exam == "bad"
    assert said.startswith(reason)


def test_csv_row_without_a_name_is_rejected_by_its_line(read_csv):
    parsed = read_csv(GOOD_ROW + ",100,80,no-pneumonia,,,,\n x/.png,100,80,,,,,\n")
    assert parsed.rejected == [("(line 3)", "line 3: filename is empty"), ("(line 4)", "line 4: filename is empty")]
    assert list(parsed.exams) == ["good"]


def test_csv_without_a_column(read_csv):
    with pytest.raises(DataError, match=r"labels.csv has no column 'class'; it has 'filename', 'width'"):
        read_csv(GOOD_ROW, header=CSV_HEADER.replace("class", "label"), format="csv")


# Pascal VOC


def test_voc_folder(read_voc):
    files = {
        "sub/b.xml": voc(("pneumonia", 10.5, 20, 30, 40), ("effusion ", 1, 1, 2, 2), name="x/b.jpg", size=(512, 1024)),
        "a.XML": voc(name="1.2.840.dcm"),
        "c.xml": voc(("no-pneumonia", 0, 0, 100, 80), name="c & d.png".replace("&", "&amp;")),
        ".hidden.xml": "<",
        ".git/e.xml": "<",
        "notes.txt": "not XML",
    }
    parsed = read_voc(files)
    assert contents(parsed) == {
        "1.2.840": ([], False, (), (80, 100)),
        "c & d": ([], False, (), (80, 100)),
        "b": ([[10.5, 20, 30, 40], [1, 1, 2, 2]], True, ("pneumonia", "effusion"), (1024, 512)),
    }
    assert list(parsed.exams) == ["1.2.840", "c & d", "b"]  # by file name, on every file system
    assert (parsed.rejected, parsed.duplicate_rows) == ([], 0)


def test_voc_one_file_as_labelimg_writes_it(tmp_path):
    path = tmp_path / "labels"  # without a suffix: recognised by its content
    path.write_text(
        """<?xml version="1.0"?>
<!-- a comment -->
<annotation verified="yes">
  <folder>images</folder><filename>good.png</filename><path>/x/good.png</path>
  <source><database>Unknown</database></source>
  <size><width>100</width><height>80</height><depth>1</depth></size>
  <segmented>0</segmented>
  <object>
    <name>pneumonia</name><pose>Unspecified</pose><truncated>0</truncated><difficult>0</difficult>
    <bndbox><xmin> 1 </xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax></bndbox>
    <part><name>hilum</name><bndbox><xmin>5</xmin><ymin>5</ymin><xmax>6</xmax><ymax>6</ymax></bndbox></part>
  </object>
</annotation>
"""
    )
    assert contents(formats.read_labels(path)) == {"good": (GOOD_BOX, True, ("pneumonia",), (80, 100))}


def test_voc_repeated_object_counts_once(read_voc):
    parsed = read_voc({"good.xml": voc(("pneumonia", 1, 2, 3, 4), ("pneumonia", 1.0, 2, 3, 4))})
    assert (contents(parsed)["good"][0], parsed.duplicate_rows) == (GOOD_BOX, 1)


@pytest.mark.parametrize(
    ("text", "exam", "reason"),
    [
        pytest.param("<annotation>", "bad", "bad.xml is not valid XML", id="not closed"),
        pytest.param("", "bad", "bad.xml is not valid XML", id="empty file"),
        pytest.param(b"\xff\xfe\x00", "bad", "bad.xml is not valid XML", id="bytes"),
        pytest.param("<?xml version='1.0' encoding='klingon'?><annotation/>", "bad", "bad.xml is not valid XML", id="unknown encoding"),
        pytest.param("<annotation>\0</annotation>", "bad", "bad.xml is not valid XML", id="byte 0, about which the parser has two lines"),
        pytest.param("<svg/>", "bad", "bad.xml is not Pascal VOC: its root is <svg>, not <annotation>.", id="other XML"),
        pytest.param("<annotation/>", "bad", "bad.xml: <filename> is missing or empty", id="no file name"),
        pytest.param(voc(name="x/.png"), "bad", "bad.xml: <filename> is 'x/.png', which names no image", id="no name"),
        pytest.param("<annotation><filename>z.png</filename></annotation>", "z", "bad.xml: <size/width> is missing or empty", id="no size"),
        pytest.param(voc(name="z.png", size=(0, 80)), "z", "bad.xml: width is 0, must be a whole number of px above 0", id="width 0"),
        pytest.param(
            voc(name="z.png", extra="<object><name>pneumonia</name></object>"),
            "z",
            "bad.xml, object 1: <bndbox/xmin> is missing or empty",
            id="no box",
        ),
        pytest.param(
            voc(("pneumonia", 1, 2, 3, 4), (" ", 1, 2, 3, 4), name="z.png"),
            "z",
            "bad.xml, object 2: <name> is missing or empty",
            id="no class",
        ),
        pytest.param(voc(("pneumonia", 1, 2, 1, 4), name="z.png"), "z", "bad.xml, object 1: the box has no area: xmin is 1", id="no area"),
        pytest.param(voc(("pneumonia", 1, 2, "inf", 4), name="z.png"), "z", "bad.xml, object 1: xmax is inf, must be", id="inf"),
        pytest.param(
            voc(("no-pneumonia", 1, 2, 3, 4), ("pneumonia", 1, 2, 3, 4), name="z.png"),
            "z",
            "bad.xml, object 1: says no-pneumonia, but there is a finding at bad.xml, object 2",
            id="negative and finding",
        ),
        pytest.param(
            '<!DOCTYPE a [<!ENTITY e "x"><!ENTITY f "&e;&e;&e;">]><annotation><filename>&f;.png</filename></annotation>',
            "bad",
            "bad.xml has a document type definition",
            id="entities that grow",
        ),
        pytest.param(
            '<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/hostname">]><annotation><filename>&e;</filename></annotation>',
            "bad",
            "bad.xml has a document type definition",
            id="external entity",
        ),
        pytest.param(
            '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE a SYSTEM "http://localhost/a.dtd"><annotation/>'.encode("utf-16"),
            "bad",
            "bad.xml has a document type definition",
            id="external DTD in UTF-16",
        ),
    ],
)
def test_voc_rejects_the_exam(read_voc, tmp_path, text, exam, reason):
    parsed = read_voc({"good.xml": GOOD_VOC, "bad.xml": text})
    assert list(contents(parsed)) == ["good"]
    ((rejected, said),) = parsed.rejected
    assert "\n" not in said
    assert rejected == exam
    assert said.startswith(reason)
    assert str(tmp_path) not in said


def test_voc_two_files_of_one_image(read_voc):
    parsed = read_voc({"good.xml": GOOD_VOC, "a/z.xml": voc(name="z.png"), "b/z.xml": voc(("pneumonia", 1, 2, 3, 4), name="z.png")})
    assert list(parsed.exams) == ["good"]
    assert parsed.rejected == [("z", "b/z.xml: a/z.xml has labels of z.png as well; keep one of the two files")]


@pytest.mark.parametrize("text", ["<annotation>", "<svg/>", '<!DOCTYPE a [<!ENTITY e "x">]><annotation/>'])
def test_voc_one_bad_file_is_an_error(tmp_path, text):
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(DataError, match=r"a\.xml (is not valid XML|is not Pascal VOC|has a document type definition)"):
        formats.read_labels(tmp_path / "a.xml")


def test_folder_without_xml(tmp_path):
    (tmp_path / "labels.csv").write_text(CSV_HEADER + GOOD_ROW)
    with pytest.raises(DataError, match="There is no .xml file in .* for another format name the file"):
        formats.read_labels(tmp_path)


def test_voc_file_that_cannot_be_read(read_voc, tmp_path):
    read_voc({"good.xml": GOOD_VOC})
    (tmp_path / "voc" / "bad.xml").symlink_to("nowhere.xml")
    assert read_voc({}).rejected == [("bad", "Cannot read bad.xml: No such file or directory.")]


# COCO


def test_coco(read_coco):
    parsed = read_coco(
        [image(5, "x/b.jpg", width=512, height=1024), image("a", "a.dcm"), image(2, "c.png"), image(3, "d.png")],
        [box(9, 5, (10.5, 20, 19.5, 20)), box("x", 2, (0, 0, 100, 80), category=1), box(1, 5, (-1, 2, 3, 4), category=7, iscrowd=False)],
    )
    assert contents(parsed) == {
        "b": ([[10.5, 20, 30, 40], [-1, 2, 2, 6]], True, ("pneumonia", "effusion"), (1024, 512)),
        "a": ([], False, (), (80, 100)),
        "c": ([], False, (), (80, 100)),
        "d": ([], False, (), (80, 100)),
    }
    assert list(parsed.exams) == ["b", "a", "c", "d"]
    assert (parsed.rejected, parsed.duplicate_rows) == ([], 0)


def test_coco_repeated_entries_count_once(read_coco):
    parsed = read_coco([image(), image()], [box(1), box(1), box(2)])
    assert (contents(parsed)["good"][0], parsed.rejected, parsed.duplicate_rows) == (GOOD_BOX, [], 3)


NESTED = {"a": [[[["x" * 100] * 50] * 50]]}


@pytest.mark.parametrize(
    ("images", "boxes", "rejected"),
    [
        pytest.param([image(2, "z.png")], [box([], 2)], {"z": "annotation entry 1: id is [], must be a whole number"}, id="id is a list"),
        pytest.param([image(2, "z.png")], [box(None, 2)], {"z": "annotation entry 1: id is None"}, id="annotation without id"),
        pytest.param(
            [image(2, "z.png")], [box(3, 2, category=4)], {"z": "annotation 3: there is no category with the id 4"}, id="category"
        ),
        pytest.param([image(2, "z.png")], [box(3, 2, iscrowd=2)], {"z": "annotation 3: iscrowd is 2, must be 0 or 1"}, id="crowd"),
        pytest.param([image(2, "z.png")], [box(3, 2, iscrowd="0")], {"z": "annotation 3: iscrowd is '0', must be 0"}, id="crowd is text"),
        pytest.param(
            [image(2, "z.png")], [box(3, 2, (1, 2, 3))], {"z": "annotation 3: bbox is [1, 2, 3], must be [x, y,"}, id="three numbers"
        ),
        pytest.param([image(2, "z.png")], [box(3, 2) | {"bbox": NESTED}], {"z": "annotation 3: bbox is {'a': [[["}, id="bbox is an object"),
        pytest.param([image(2, "z.png")], [box(3, 2, (1, "2", 3, 4))], {"z": "annotation 3: y is '2', which is no number"}, id="y is text"),
        pytest.param([image(2, "z.png")], [box(3, 2, (1, 2, 0, 4))], {"z": "annotation 3: width is 0, must be above 0"}, id="width 0"),
        pytest.param([image(2, "z.png")], [box(3, 2, (1, 2, 3, -4))], {"z": "annotation 3: height is -4, must be above 0"}, id="height"),
        pytest.param(
            [image(2, "z.png")], [box(3, 2, (float("nan"), 2, 3, 4))], {"z": "annotation 3: x is nan, must be a number"}, id="NaN"
        ),
        pytest.param([image(2, "z.png")], [box(3, 2, (1, 2, 10**400, 4))], {"z": "annotation 3: width is 10000"}, id="huge"),
        pytest.param(
            [image(2, "z.png")],
            [box(3, 2, (9e5, 2, 1e-12, 4))],
            {"z": "annotation 3: the box has no area: xmin is 900000"},
            id="lost by rounding",
        ),
        pytest.param([image(2, "z.png", width=None)], [box(3, 2)], {"z": "image 2: width is None, which is no number"}, id="no width"),
        pytest.param([image(2, "z.png", height="80")], [], {"z": "image 2: height is '80', which is no number"}, id="height is text"),
        pytest.param(
            [image(2, "z.png", height=80.5)], [], {"z": "image 2: height is 80.5, must be a whole number of px"}, id="half a pixel"
        ),
        pytest.param([image(2, "z.png", width=True)], [], {"z": "image 2: width is True, which is no number"}, id="width is true"),
        pytest.param(
            [image(2.5, "z.png")], [], {"(image entry 1)": "image entry 1: id is 2.5, must be a whole number"}, id="image id is a float"
        ),
        pytest.param([image(2, 7)], [], {"(image entry 1)": "image 2: file_name is 7, must be text"}, id="name is a number"),
        pytest.param([image(2, "x/")], [], {"(image entry 1)": "image 2: file_name is 'x/', which names no image"}, id="no name"),
        pytest.param(
            [image(2, "\ud800.png")], [], {"(image entry 1)": r"image 2: file_name is '\ud800.png', must be text"}, id="no Unicode"
        ),
        pytest.param([image(2, " ")], [], {"(image entry 1)": "image 2: file_name is ' ', must be text"}, id="blank"),
        pytest.param([None], [], {"(image entry 1)": "image entry 1: the entry is None, must be an object"}, id="image is null"),
        pytest.param(
            [image(2, "z.png"), image(3, "z.jpg")],
            [box(3, 2), box(4, 3)],
            {"z": "image 3: image 2 has the name z.png as well"},
            id="one stem",
        ),
        pytest.param(
            [image(2, "z.png"), image(3, "z.png")], [], {"z": "image 3: image 2 has the name z.png as well"}, id="one image, two ids"
        ),
        pytest.param(
            [image(2, "z.png"), image(2, "z.png", width=7)],
            [],
            {"z": "image 2: the image has 7 x 80 px, but 100 x 80 px at image 2"},
            id="two sizes",
        ),
        pytest.param(
            [image(2, "y.png"), image(2, "z.png")],
            [box(3, 2)],
            {"y": "image 2: two images have this id", "z": "image 2: two images have this id"},
            id="one id, two images",
        ),
        pytest.param(
            [image(2, "y.png"), image(3, "z.png")],
            [box(3, 2), box(3, 3)],
            {"y": "annotation 3: another annotation has this id", "z": "annotation 3: another annotation has this id"},
            id="one annotation id",
        ),
        pytest.param(
            [image(2, "z.png")],
            [box(3, 2), box(4, 2, category=1)],
            {"z": "annotation 4: says no-pneumonia, but there is a finding at annotation 3"},
            id="negative and finding",
        ),
    ],
)
def test_coco_rejects_the_exam(read_coco, images, boxes, rejected):
    parsed = read_coco([image(), *images], [box(), *boxes])
    assert contents(parsed) == {"good": (GOOD_BOX, True, ("pneumonia",), (80, 100))}
    assert [exam for exam, _ in parsed.rejected] == sorted(rejected)
    for exam, reason in parsed.rejected:
        assert reason.startswith(rejected[exam])
        assert len(reason) < 250


@pytest.mark.parametrize(
    ("image_id", "category"),
    [
        pytest.param("1", 2, id="text"),
        pytest.param(1.0, 2, id="float"),
        pytest.param(1, "2", id="text of the category"),
        pytest.param(1, 2.0, id="float of the category"),
    ],
)
def test_coco_ids_are_equal_by_value(read_coco, image_id, category):
    parsed = read_coco([image()], [box(1, image_id, category=category)], evaluating=True)
    assert contents(parsed)["good"][0] == GOOD_BOX
    assert [(type(row["image_id"]), row["image_id"], row["category_id"]) for row in parsed.coco["annotations"]] == [(int, 1, 2)]


def test_coco_ids_of_images_are_equal_by_value_too(read_coco):
    parsed = read_coco([image("7", "a.png"), image(8.0, "b.png"), image("007", "c.png")], [box(1, 7), box(2, "8"), box(3, "007")])
    assert {exam: len(one.boxes_xyxy_px) for exam, one in parsed.exams.items()} == {"a": 1, "b": 1, "c": 1}


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        pytest.param(box(2, 99), "annotation entry 1: there is no image with the id 99", id="unknown image"),
        pytest.param({"id": 2}, "annotation entry 1: image_id is None, must be a whole number", id="no image_id"),
        pytest.param(box(2, None), "annotation entry 1: image_id is None, must be a whole number", id="null"),
        pytest.param(box(2, True), "annotation entry 1: image_id is True, must be a whole number", id="true"),
        pytest.param(box(2, 1.5), "annotation entry 1: image_id is 1.5, must be a whole number", id="a half"),
        pytest.param(box(2, "01"), "annotation entry 1: there is no image with the id '01'", id="text that is no number"),
        pytest.param("x", "annotation entry 1: the entry is 'x', must be an object", id="no object"),
    ],
)
@pytest.mark.parametrize("evaluating", [False, True])
def test_coco_annotation_that_cannot_be_placed_stops(read_coco, entry, reason, evaluating):
    """Its image would be a negative."""
    with pytest.raises(DataError, match=rf"1 annotation cannot be placed \(first: {reason}\)"):
        read_coco([image(), image(2, "z.png")], [box(), entry], evaluating=evaluating)


@pytest.mark.parametrize(
    "row", [pytest.param(",100,80,pneumonia,1,2,3,4", id="box"), pytest.param(" ,100,80,effusion,,,,", id="class only")]
)
def test_csv_box_without_a_file_name_stops(read_csv, row):
    with pytest.raises(DataError, match=r"the box of 1 line cannot be placed \(first: line 3\), because filename is empty"):
        read_csv(f"a.png,100,80,,,,,\n{row}\n")


def test_objects_marked_difficult_are_counted(read_voc, read_coco):
    marked = GOOD_VOC.replace("</name>", "</name><difficult>1</difficult>", 1)
    for parsed in (read_voc({"a.xml": marked}), read_coco([image()], [box(difficult=1)])):
        assert parsed.exams["good"].difficult == (True,)
        assert parsed.notes == {"objects marked difficult": 1}


def test_coco_outlines(read_coco):
    triangle = [1, 2, 3, 2, 1.5, 4]
    given = {1: [triangle], 2: [], 3: {"counts": [1, 2], "size": [80, 100]}, 4: [[1, 2, 3, 4]], 5: [["1"] * 6], 6: [triangle, triangle]}
    parsed = read_coco(
        [image(number, f"{number}.png") for number in given],
        [box(number, number, segmentation=segmentation) for number, segmentation in given.items()],
    )
    one = tuple(map(float, triangle))
    assert {exam: labels.outlines for exam, labels in parsed.exams.items()} == {
        "1": ((one,),), "2": (), "3": (), "4": (), "5": (), "6": ((one, one),)
    }  # fmt: skip
    assert parsed.notes == {labels_coco.NO_POLYGON: 3}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("{", "is not valid JSON", id="no JSON"),
        pytest.param("[" * 100_000, "is not valid JSON", id="nested too deeply"),
        pytest.param('{"images": "\udc81"}', "is neither UTF-8, UTF-16 nor Windows-1252: see line 1", id="no encoding"),
        pytest.param('[{"image_id": 1}]', "is a JSON list, as COCO results are. Labels are COCO instances", id="COCO results"),
        pytest.param("7", "has no list 'images'", id="number"),
        pytest.param('{"images": [], "categories": []}', "has no list 'annotations'", id="no annotations"),
        pytest.param('{"images": [], "annotations": [], "categories": {}}', "has no list 'categories'", id="categories is an object"),
        pytest.param('{"images": [], "annotations": [], "categories": []}', "names no image", id="no images"),
        pytest.param(
            '{"images": [], "annotations": [], "categories": [{"id": 1}]}',
            "category entry 0: name is None, must be text",
            id="no class name",
        ),
        pytest.param(
            '{"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}',
            "category entry 1: two categories have the id 1",
            id="one id, two classes",
        ),
    ],
)
def test_coco_fault_of_the_whole_file(tmp_path, text, message):
    path = tmp_path / "instances.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=rf"instances\.json.*{message}"):
        formats.read_labels(path)


def test_coco_is_read_as_pycocotools_reads_it(tmp_path, capsys):
    rng = random.Random(3)
    images = [image(number, f"{number}.png") for number in rng.sample(range(10**12), 30)]
    boxes = [
        box(
            number,
            rng.choice(images)["id"],
            [rng.uniform(-5, 90), rng.uniform(0, 70), rng.uniform(0.1, 9), rng.randint(1, 9)],
            rng.choice([2, 7]),
        )
        for number in range(1, 80)
    ]
    path = tmp_path / "instances.json"
    path.write_text(json.dumps({"images": images, "annotations": boxes, "categories": CATEGORIES}))
    parsed = formats.read_labels(path)
    oracle = COCO(path)
    capsys.readouterr()
    for one in oracle.loadImgs(oracle.getImgIds()):
        expected = oracle.loadAnns(oracle.getAnnIds(imgIds=one["id"]))
        exam = parsed.exams[one["file_name"].removesuffix(".png")]
        corners = [[x, y, x + width, y + height] for x, y, width, height in (entry["bbox"] for entry in expected)]
        assert exam.boxes_xyxy_px.tolist() == corners
        assert list(exam.class_names) == [oracle.cats[entry["category_id"]]["name"].strip() for entry in expected]


# which format


@pytest.mark.parametrize(
    ("name", "text", "exam"),
    [
        pytest.param("a.csv", "patientId,x,y,width,height,Target\ngood,1,2,2,2,1\n", "good", id="rsna"),
        pytest.param("a.txt", "\ufeff" + CSV_HEADER + GOOD_ROW, "good", id="csv with BOM"),
        pytest.param(
            "a.csv", "note,ymax,xmax,ymin,xmin,class,height,width,filename\n,4,3,2,1,pneumonia,8,9,good.png\n", "good", id="order"
        ),
        pytest.param("a.csv.gz", gzip.compress((CSV_HEADER + GOOD_ROW).encode()), "good", id="packed csv"),
        pytest.param("a.json.gz", gzip.compress(json.dumps(GOOD_COCO).encode()), "good", id="packed coco"),
        pytest.param("a.dat", "\n " + GOOD_VOC, "good", id="voc"),
        pytest.param("a.xml", ('<?xml version="1.0" encoding="utf-16"?>' + GOOD_VOC).encode("utf-16"), "good", id="voc in UTF-16"),
        pytest.param("a.labels", "\ufeff\n" + json.dumps(GOOD_COCO), "good", id="coco"),
    ],
)
def test_auto(tmp_path, name, text, exam):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert formats.read_labels(path).exams[exam].boxes_xyxy_px.tolist() == GOOD_BOX


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("a,b\n1,2\n", r"has the columns \['a', 'b'\]. A label file is RSNA's CSV \(patientId,x,y,", id="other columns"),
        pytest.param("", r"is empty. A label file is RSNA's CSV", id="empty"),
        pytest.param(CSV_HEADER, "names no image. Is this the right file?", id="no rows"),
        pytest.param("a\0\xff", "is no text: it has a byte 0 at place 1", id="bytes"),
    ],
)
def test_auto_says_what_the_formats_need(tmp_path, text, message):
    (tmp_path / "a.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=message):
        formats.read_labels(tmp_path / "a.csv")


@pytest.mark.parametrize("format", formats.FORMATS)
@pytest.mark.parametrize("name", ["none.csv", "none.json", "none.xml"])
def test_missing_file(tmp_path, format, name):
    with pytest.raises(DataError, match="Cannot read .*none.*No such file"):
        formats.read_labels(tmp_path / name, format=format)


def test_unknown_format(tmp_path):
    with pytest.raises(ConfigError, match="The label format is 'labelme', must be one of 'auto', 'rsna', 'csv', 'voc', 'coco'"):
        formats.read_labels(tmp_path, format="labelme")


def test_class_info_is_rsnas(read_csv, tmp_path):
    info = tmp_path / "info.csv"
    info.write_text("patientId,class\ngood,Lung Opacity\n")
    with pytest.raises(ConfigError, match="Class info belongs to RSNA's labels, but .*labels.csv is 'csv'"):
        read_csv(GOOD_ROW, class_info=info)
    rsna = read_csv("good,1,2,2,2,1\n", header=",".join(annotations.LABEL_COLUMNS) + "\n", class_info=info)
    assert rsna.exams["good"].rsna_class == "Lung Opacity"


# all of them against one another

NAMES = st.text(
    st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"), exclude_characters="/\\\ufffe\uffff"), min_size=1, max_size=12
).filter(lambda name: name.strip() == name and not name.startswith(".") and formats.exam_id(name) == name)
COORDINATES = st.floats(-50, 2000) | st.integers(-50, 2000).map(float)


@st.composite
def drawn_exams(draw):
    """Return {exam: [(class, xyxy)]}."""
    exams = {}
    for name in draw(st.lists(NAMES, min_size=1, max_size=4, unique_by=str.casefold)):
        parsed = draw(
            st.lists(
                st.tuples(NAMES.filter(lambda one: one != "no-pneumonia"), COORDINATES, COORDINATES, COORDINATES, COORDINATES), max_size=3
            )
        )
        exams[name] = [(one, (x, y, right, low)) for one, x, y, right, low in parsed if x < right and y < low]
    return exams


@settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(exams=drawn_exams())
def test_csv_and_voc_give_back_what_independent_writers_wrote(tmp_path, exams):
    expected = {
        name: (
            [list(corners) for _, corners in dict.fromkeys(parsed)],
            bool(parsed),
            tuple(one for one, _ in dict.fromkeys(parsed)),
            (80, 100),
        )
        for name, parsed in exams.items()
    }
    with open(tmp_path / "labels.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerow(formats.CSV_COLUMNS)
        for name, parsed in exams.items():
            writer.writerows([f"{name}.png", 100, 80, one, *map(repr, corners)] for one, corners in parsed or [("", ("",) * 4)] if parsed)
            if not parsed:
                writer.writerow([f"{name}.png", 100, 80, "", "", "", "", ""])
    assert contents(formats.read_labels(tmp_path / "labels.csv")) == expected
    for name, parsed in exams.items():
        root = ET.Element("annotation")
        ET.SubElement(root, "filename").text = f"{name}.png"
        size = ET.SubElement(root, "size")
        size.extend([ET.Element("width"), ET.Element("height")])
        size[0].text, size[1].text = "100", "80"
        for one, corners in parsed:
            element = ET.SubElement(root, "object")
            ET.SubElement(element, "name").text = one
            bndbox = ET.SubElement(element, "bndbox")
            for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True):
                ET.SubElement(bndbox, tag).text = repr(value)
        ET.ElementTree(root).write(tmp_path / "one.xml", encoding="utf-8")
        assert contents(formats.read_labels(tmp_path / "one.xml")) == {name: expected[name]}


SEEDS = {
    "csv": (CSV_HEADER + GOOD_ROW + "n.png,9,9,,,,,\n").encode(),
    "voc": voc(("pneumonia", 1, 2, 3, 4), ("effusion", 5, 6, 7, 8)).encode(),
    "coco": json.dumps(
        {"images": [image(), image(2, "n.png")], "annotations": [box(), box(2, 1, (5, 6, 7, 8))], "categories": CATEGORIES}
    ).encode(),
}


@pytest.mark.parametrize("rounds", [250, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("format", sorted(SEEDS))
def test_damaged_files_are_read_or_refused_in_words(tmp_path, format, rounds):
    """Never another exception, and never a box that breaks the rules."""
    rng = random.Random(format)
    path = tmp_path / f"labels.{format}"
    outcomes = {"read": 0, "rejected": 0, "refused": 0}
    for _ in range(rounds):
        data = bytearray(SEEDS[format])
        for _ in range(rng.randint(1, 3)):
            start = rng.randrange(len(data))
            piece = rng.choice(
                [b"", b"\x00", b"\xff", b"nan", b"-", b"9" * 30, b'"', b"<", b"null", b"[", bytes(rng.choices(range(256), k=3))]
            )
            data[start : start + rng.randint(0, 4)] = piece
        path.write_bytes(data)
        try:
            parsed = formats.read_labels(path, format=format)
        except DataError as error:
            assert len(str(error)) < 600
            outcomes["refused"] += 1
            continue
        outcomes["rejected" if parsed.rejected else "read"] += 1
        for exam in parsed.exams.values():
            corners = exam.boxes_xyxy_px
            assert np.isfinite(corners).all()
            assert (corners[:, 2:] > corners[:, :2]).all()
            assert exam.positive == bool(len(corners))
            assert len(exam.class_names) == len(corners)
            assert exam.patient_id.strip()
    assert min(outcomes.values()) > rounds / 200, outcomes


@pytest.mark.slow
@pytest.mark.real_data
def test_rsnas_labels_are_told_by_their_content(shared_data):
    path = shared_data / "rsna_csv" / "stage_2_train_labels.csv"
    parsed, expected = formats.read_labels(path), annotations.read_rsna_labels(path)
    assert len(parsed.exams) == 26_684
    assert contents(parsed) == contents(expected)
