"""--class-map: classes of labels that are spelled otherwise, and the one error about them."""

import json
from pathlib import Path

import pytest

from pneumodet.core.errors import ConfigError, DataError
from pneumodet.data import class_map, formats, ground_truth
from pneumodet.data.class_map import ClassMap

LABELS = Path("labels.csv")
HEADER = "filename,width,height,class,xmin,ymin,xmax,ymax"


@pytest.mark.parametrize(
    ("texts", "pairs"),
    [
        pytest.param(["Lung Opacity=pneumonia"], {"Lung Opacity": "pneumonia"}, id="one"),
        pytest.param([" a = b ", "c="], {"a": "b", "c": ""}, id="blanks and nothing"),
        pytest.param(["x=y=pneumonia"], {"x=y": "pneumonia"}, id="the last sign separates"),
        pytest.param(["*="], {"*": ""}, id="others"),
        pytest.param([], {}, id="none"),
    ],
)
def test_parse(texts, pairs):
    assert class_map.parse(texts) == pairs


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        pytest.param(["pneumonia"], "must be NAME=CLASS", id="no sign"),
        pytest.param(["=pneumonia"], "must be NAME=CLASS", id="no name"),
        pytest.param(["a=pneumonia", "a="], "gives the class 'a' twice: 'pneumonia' and ''", id="twice"),
    ],
)
def test_texts_of_another_form(texts, message):
    with pytest.raises(ConfigError, match=message):
        class_map.parse(texts)


def test_others_are_those_that_nothing_is_known_of():
    classes = ClassMap({"Lung Opacity": "pneumonia", "*": ""})
    assert [classes.target(name) for name in ("Lung Opacity", "pneumonia", "no-pneumonia", "Nodule")] == [
        "pneumonia", "pneumonia", "no-pneumonia", None
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["Pneumonia", "PNEUMONIA", " pneumonia", "No Finding", "no pneumonia", "Normal"])
def test_another_spelling_is_always_an_error(name):
    with pytest.raises(DataError, match=r"Say what the others are, for example --class-map"):
        ClassMap().check({"pneumonia": 5, name: 2}, LABELS)


def test_one_error_lists_the_classes_with_their_numbers_and_how_to_map_them():
    with pytest.raises(DataError) as caught:
        ClassMap(complete=True).check({"Nodule": 1, "Lung Opacity": 12, "No finding": 3}, LABELS)
    said = str(caught.value)
    assert "labels.csv has the classes 'Lung Opacity' (12 objects), 'No finding' (3 objects), 'Nodule' (1 object)" in said
    for flag in ('"Lung Opacity=pneumonia"', '"No finding=no-pneumonia"', '"Nodule="'):
        assert f"--class-map {flag}" in said


def test_a_class_that_does_not_occur_is_no_error():
    ClassMap(complete=True).check({"chest": 0, "pneumonia": 3}, LABELS)  # Roboflow's first category is one


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        pytest.param({"Lung opacity": "pneumonia"}, "names the class 'Lung opacity', but labels.csv has 'Lung Opacity'", id="absent"),
        pytest.param({"Lung Opacity": "Pneumonia"}, "leads to 'Pneumonia', but the label map has 'no-pneumonia', 'pneumonia'", id="target"),
    ],
)
def test_a_map_that_does_not_fit(pairs, message):
    with pytest.raises(ConfigError, match=message):
        ClassMap(pairs).check({"Lung Opacity": 2}, LABELS)


@pytest.fixture
def csv(tmp_path):
    """Return a function: rows -> path of an 8-column CSV."""

    def write(*rows):
        path = tmp_path / "labels.csv"
        path.write_text("\n".join([HEADER, *rows]) + "\n")
        return path

    return write


def test_mapped_classes_are_read_as_if_they_stood_there(csv):
    path = csv("a.png,9,9,Opacity,1,1,4,4", "b.png,9,9,No Finding,,,,", "c.png,9,9,Nodule,1,1,4,4", "d.png,9,9,,,,,")
    labels = formats.read_labels(
        path, classes=ClassMap(class_map.parse(["Opacity=pneumonia", "No Finding=no-pneumonia", "*="]), complete=True)
    )
    assert labels.rejected == []
    assert {exam: one.class_names for exam, one in labels.exams.items()} == {"a": ("pneumonia",), "b": (), "c": (), "d": ()}
    assert labels.notes == {"objects of the class 'Nodule' left out": 1}


def test_rsnas_labels_have_no_classes(tmp_path):
    (tmp_path / "labels.csv").write_text("patientId,x,y,width,height,Target\na,,,,,0\n")
    with pytest.raises(ConfigError, match="names the class 'Opacity', but .*has no classes"):
        formats.read_labels(tmp_path / "labels.csv", classes=ClassMap({"Opacity": "pneumonia"}))


def test_categories_that_become_one_class(tmp_path):
    path = tmp_path / "instances.json"
    images = [{"id": number, "file_name": f"{number}.png"} for number in (1, 2)]
    boxes = [{"id": number, "image_id": 1, "category_id": number, "bbox": [number, 1, 2, 2]} for number in (4, 5, 6)]
    names = [{"id": 4, "name": "Opacity"}, {"id": 5, "name": "Consolidation"}, {"id": 6, "name": "Nodule"}]
    path.write_text(json.dumps({"images": images, "annotations": boxes, "categories": names}))
    truth = ground_truth.read(path, class_map={"Opacity": "pneumonia", "Consolidation": "pneumonia", "Nodule": ""}, wanted="pneumonia")
    assert truth.categories == {"pneumonia": 4}
    assert [(row["id"], row["category_id"]) for row in truth.instances["annotations"]] == [(4, 4), (5, 4)]


def test_truth_without_the_class_that_is_evaluated(csv):
    """All its exams would count as negative."""
    path = csv("a.png,9,9,Lung Opacity,1,1,4,4", "b.png,9,9,,,,,")
    with pytest.raises(DataError, match=r"'Lung Opacity' \(1 object\).* --class-map \"Lung Opacity=pneumonia\""):
        ground_truth.read(path, wanted="pneumonia")
    assert ground_truth.read(path, wanted="Lung Opacity").labels.exams["a"].positive
    assert ground_truth.read(path, wanted="pneumonia", class_map={"Lung Opacity": "pneumonia"}).categories == {"pneumonia": 2}
