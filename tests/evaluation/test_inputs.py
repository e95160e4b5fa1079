"""Ground truth and detections in files: what fits, and what is wrong with the rest."""

import csv
import json

import numpy as np
import pytest

from pneumodet.core import detections
from pneumodet.core.detections import Detections, image_id
from pneumodet.core.errors import DataError
from pneumodet.evaluation import inputs

CATEGORIES = [{"id": 1, "name": "no-pneumonia"}, {"id": 2, "name": "pneumonia"}]


def instances(sizes=True):
    """Three exams: two boxes, one box, none."""
    size = {"width": 100, "height": 80} if sizes else {}
    images = [{"id": image_id(name), "file_name": name} | size for name in ("a", "b", "c")]
    images[0] |= {"view_position": "AP", "sex": "F", "age": 51}
    boxes = {"a": [[10, 10, 20, 20], [50, 40, 30, 20]], "b": [[0, 0, 100, 80]]}
    rows = [(name, box) for name, of_exam in boxes.items() for box in of_exam]
    annotations = [{"id": n, "image_id": image_id(name), "category_id": 2, "bbox": box} for n, (name, box) in enumerate(rows, start=1)]
    return {"images": images, "annotations": annotations, "categories": CATEGORIES}


def result(name="a", bbox=(10, 10, 20, 20), score=0.5, category=2, **more):
    return {"image_id": image_id(name), "category_id": category, "bbox": list(bbox), "score": score} | more


@pytest.fixture
def write(tmp_path):
    """Return a function that writes ground truth and detections and loads them."""

    def load(truth=None, found=(), **arguments):
        (tmp_path / "instances.json").write_text(json.dumps(instances() if truth is None else truth))
        (tmp_path / "detections.json").write_text(json.dumps(found if isinstance(found, dict) else list(found)))
        return inputs.load(tmp_path / "instances.json", tmp_path / "detections.json", **arguments)

    return load


def test_cases_are_sorted_and_of_one_class(write):
    rows = [
        result("b", score=0.1),
        result("a", score=0.2),
        result("a", score=0.9),
        result("a", score=0.2, bbox=(1, 1, 2, 2)),
        result("a", category=1),
    ]
    loaded = write(found=rows)
    cases = loaded.cases
    assert cases.names == ("a", "b", "c")
    assert cases.truth_case.tolist() == [0, 0, 1]
    assert cases.truth_xyxy_px.tolist() == [[10, 10, 30, 30], [50, 40, 80, 60], [0, 0, 100, 80]]
    assert cases.box_case.tolist() == [0, 0, 0, 1]
    assert cases.scores.tolist() == [0.9, 0.2, 0.2, 0.1]
    assert cases.boxes_xyxy_px[1:3].tolist() == [[10, 10, 30, 30], [1, 1, 3, 3]], "equal scores stay in the order given"
    assert cases.facts == {"view_position": ("AP", None, None), "sex": ("F", None, None), "age": (51, None, None)}
    assert loaded.sizes_hw.tolist() == [[80, 100]] * 3
    assert loaded.detected.scores.tolist() == [row["score"] for row in rows] and loaded.masked is None
    assert [text.split(":")[0] for text in loaded.warnings] == [
        "1 of 3 images have no detection of any class.",
        "No patient map was given",
    ]


def test_what_predict_writes_is_read(tmp_path):
    (tmp_path / "instances.json").write_text(json.dumps(instances()))
    by_exam = {"a": Detections(np.array([[1, 2, 30, 40]]), np.array([0.25]), np.array([2])), "b": Detections.none(), "c": Detections.none()}
    detections.write_coco_results(tmp_path / "detections.json", by_exam)
    rows = [f"{exam},{detections.prediction_string(one)}" for exam, one in by_exam.items()]
    (tmp_path / "submission.csv").write_text("\n".join([",".join(detections.SUBMISSION_HEADER), *rows]))
    for name in ("detections.json", "submission.csv"):
        cases = inputs.load(tmp_path / "instances.json", tmp_path / name).cases
        assert cases.boxes_xyxy_px.tolist() == [[1, 2, 30, 40]]
        assert cases.scores.tolist() == [0.25]


def test_rsna_labels_as_ground_truth(tmp_path):
    (tmp_path / "labels.csv").write_text("patientId,x,y,width,height,Target\na,1,2,3,4,1\na,5,6,7,8,1\nb,,,,,0\n")
    (tmp_path / "info.csv").write_text("patientId,class\na,Lung Opacity\nb,Normal\n")
    (tmp_path / "submission.csv").write_text("patientId,PredictionString\nb,\na,0.5 1 2 3 4 0.25 5 6 7 8\n")
    loaded = inputs.load(tmp_path / "labels.csv", tmp_path / "submission.csv", class_info=tmp_path / "info.csv")
    assert loaded.cases.names == ("a", "b")
    assert loaded.cases.boxes_xyxy_px.tolist() == loaded.cases.truth_xyxy_px.tolist() == [[1, 2, 4, 6], [5, 6, 12, 14]]
    assert loaded.cases.facts == {"rsna_class": ("Lung Opacity", "Normal")}
    assert np.isnan(loaded.sizes_hw).all()


def test_patients_by_map_by_record_set_or_by_exam(write, tmp_path):
    assert write().cases.patients.tolist() == [0, 1, 2]
    (tmp_path / "map.csv").write_text("patientId,patient\na,X\nb,Y\nc,X\n")
    loaded = write(patient_map=tmp_path / "map.csv")
    assert loaded.cases.patients.tolist() == [0, 1, 0]
    assert not any("patient map" in text for text in loaded.warnings)
    truth = instances()
    for image, patient in zip(truth["images"], (7, 7, 9), strict=True):
        image["patient"] = patient
    assert write(truth).cases.patients.tolist() == [0, 0, 1]
    (tmp_path / "map.csv").write_text("patientId,patient\na,X\n")
    with pytest.raises(DataError, match="2 of 3 images are not in the patient map, for example b"):
        write(patient_map=tmp_path / "map.csv")


@pytest.mark.parametrize(
    ("header", "row", "expected"),
    [
        pytest.param(
            "patientId,view_position,age",
            "b,PA,063",
            {"view_position": ("AP", "PA", None), "sex": ("F", None, None), "age": (51, 63, None)},
            id="ours",
        ),
        pytest.param(
            "PatientID,PatientAge,PatientSex",
            "b,018M,M",
            {"view_position": ("AP", None, None), "sex": ("F", "M", None), "age": (51, 1.5, None)},
            id="headers",
        ),
        pytest.param(
            "patientId,age,sex",
            "b,43.0,nan",
            {"view_position": ("AP", None, None), "sex": ("F", None, None), "age": (51, 43, None)},
            id="as pandas writes ages some of which are missing",
        ),
        pytest.param("patientId,age", "a,old", {"view_position": ("AP", None, None), "sex": ("F", None, None)}, id="no age"),
    ],
)
def test_facts(write, tmp_path, header, row, expected):
    (tmp_path / "facts.csv").write_text(f"{header}\n{row}\n")
    assert write(facts=tmp_path / "facts.csv").cases.facts == expected


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        pytest.param("a,F,51\nb,M,40\na,F,52", "line 4: exam a has the age 51 in an earlier row and 52 here", id="another age"),
        pytest.param("a,F,51\na,,51", "line 3: exam a has the sex 'F' in an earlier row and None here", id="nothing"),
        pytest.param("x,F,51\ny,M,40", r"None of the 2 exams in the facts is in the ground truth \(such as a\)", id="other exams"),
    ],
)
def test_facts_that_are_wrong(write, tmp_path, rows, message):
    (tmp_path / "facts.csv").write_text(f"patientId,sex,age\n{rows}\n")
    with pytest.raises(DataError, match=message):
        write(facts=tmp_path / "facts.csv")


def test_facts_of_other_exams_and_repeated_rows_are_counted(write, tmp_path):
    (tmp_path / "facts.csv").write_text("patientId,sex\na,F\na,F\nx,M\ny,M\n")
    warnings = write(facts=tmp_path / "facts.csv").warnings
    assert "2 of 3 exams in the facts are not in the ground truth; they were passed over." in warnings
    assert "2 of 3 images have no row in the facts." in warnings


def test_facts_without_a_column(write, tmp_path):
    (tmp_path / "facts.csv").write_text("patientId,colour\na,red\n")
    with pytest.raises(DataError, match="facts.csv has none of the columns view_position, ViewPosition"):
        write(facts=tmp_path / "facts.csv")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        pytest.param(result("stranger"), "entry 1 is of image .*, which the ground truth does not list; are these", id="unknown image"),
        pytest.param(result() | {"file_name": "b"}, "entry 1 has the image_id of 'a' in the ground truth, and the file_name 'b'", id="two"),
        pytest.param({"image_id": image_id("a"), "category_id": 2, "bbox": [1, 2, 3, 4]}, "entry 1 has no score", id="no score"),
        pytest.param(result(bbox=(1, 2, -3, 4)), r"entry 1: the box \[1, 2, -3, 4\] is inverted", id="inverted"),
        pytest.param(result(bbox=(1, 2, 3)), "entry 1: bbox must be four finite numbers", id="three numbers"),
        pytest.param(result(bbox=(1, 2, float("nan"), 4)), "entry 1: bbox must be four finite numbers", id="NaN in the box"),
        pytest.param(result(score=1.5), "entry 1: the score is 1.5; scores lie from 0 to 1", id="score above 1"),
        pytest.param(result(score=float("nan")), "entry 1: .*score|entry 1: bbox must be", id="score NaN"),
        pytest.param(result(score="0.5"), "entry 1: bbox must be four finite numbers.*'0.5'", id="score as text"),
        pytest.param(result(bbox=(1, 2, "3", 4)), "entry 1: bbox must be four finite numbers", id="a number as text"),
        pytest.param(result(category=2.5), "entry 1: category_id must be a whole number, but is 2.5", id="half a category"),
        pytest.param(result(score="high"), "entry 1: bbox must be four finite numbers.*'high'", id="score no number"),
        pytest.param(7, "entry 1 has no image_id", id="no object"),
        pytest.param(result() | {"image_id": [1]}, r"entry 1 is of image \[1\]", id="a list for an image"),
    ],
)
def test_detections_that_are_wrong(write, row, message):
    with pytest.raises(DataError, match=f"detections.json, {message}"):
        write(found=[result(), row])


def test_image_ids_of_detections_are_equal_by_value(write):
    write(found=[result() | {"image_id": one(image_id("a"))} for one in (int, str, float)])


def change(key, value):
    def mutate(truth):
        truth[key] = value(truth[key])
        return truth

    return mutate


@pytest.mark.parametrize(
    ("mutate", "message"),
    [
        pytest.param(change("images", lambda images: [*images, images[0] | {"file_name": "d"}]), "two images have this id", id="image id"),
        pytest.param(
            change("images", lambda images: [*images, images[0] | {"id": 3}]), "image 3: image .* has the name a as well", id="file_name"
        ),
        pytest.param(lambda truth: truth | {"images": [], "annotations": []}, "names no image", id="no images"),
        pytest.param(change("annotations", lambda rows: [*rows, rows[0]]), "annotation id 1 occurs twice", id="annotation id"),
        pytest.param(
            change("annotations", lambda rows: [rows[0] | {"image_id": 4}]), "there is no image with the id 4", id="unlisted image"
        ),
        pytest.param(
            change("annotations", lambda rows: [rows[0] | {"bbox": [1, 2, 3, -4]}]), "annotation 1: height is -4, must be above 0", id="box"
        ),
        pytest.param(change("annotations", lambda rows: [rows[0] | {"area": None}]), "annotation 1: area must be a number", id="area"),
        pytest.param(
            change("annotations", lambda rows: [rows[0] | {"area": -1}]), "annotation 1: area must be a number", id="negative area"
        ),
        pytest.param(change("annotations", lambda rows: [{"id": 1}]), "annotation entry 0: image_id is None", id="no fields"),
        pytest.param(change("categories", lambda rows: [*rows, {"id": 2, "name": "x"}]), "two categories have the id 2", id="category id"),
        pytest.param(
            change("categories", lambda rows: [*rows, {"id": 3, "name": "pneumonia"}]),
            "category name 'pneumonia' occurs twice",
            id="names",
        ),
        pytest.param(
            lambda truth: truth | {"annotations": [], "categories": truth["categories"][:1]},
            "has no class 'pneumonia'; it has 'no-pneumonia'",
            id="no class",
        ),
        pytest.param(lambda truth: truth | {"annotations": [], "categories": []}, "has no class 'pneumonia'; it has none", id="no classes"),
    ],
)
def test_ground_truth_that_is_wrong(write, mutate, message):
    with pytest.raises(DataError, match=message):
        write(mutate(instances()))


def test_files_that_are_swapped_missing_or_no_json(write, tmp_path):
    with pytest.raises(DataError, match="must be a COCO list of detections, but is a JSON dict. Are the two files swapped"):
        write(found=instances())
    (tmp_path / "text.json").write_text("[1,")
    with pytest.raises(DataError, match="text.json is not valid JSON"):
        inputs.load(tmp_path / "instances.json", tmp_path / "text.json")
    with pytest.raises(DataError, match="Cannot read .*gone.json: No such file"):
        inputs.load(tmp_path / "gone.json", tmp_path / "instances.json")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param("a,0.5 1 2 3", "line 2: PredictionString has 4 numbers; .* begins at column 1", id="four numbers"),
        pytest.param("a,0.5 1 2 3 4 0.5 1", "line 2: PredictionString has 7 numbers; .* begins at column 13", id="seven numbers"),
        pytest.param("a,0.5 1 two 3 4", "line 2, column 7 of PredictionString: 'two' is no number", id="a word"),
        pytest.param("a,1.5 1 2 3 4", "line 2, column 1 of PredictionString: a box needs a confidence from 0 to 1", id="confidence"),
        pytest.param("a,0.5 1 2 3 4  0.5 1 2 -3 4", "line 2, column 14 of PredictionString: .*'0.5 1 2 -3 4'", id="negative width"),
        pytest.param("a,\nb,\na,", "line 4: exam 'a' occurs twice", id="twice"),
        pytest.param("stranger,", "line 2: the ground truth has no exam 'stranger'", id="unknown"),
        pytest.param("a,\nc,", "has no line for 1 exams, for example b", id="missing"),
    ],
)
def test_submissions_that_are_wrong(tmp_path, line, message):
    (tmp_path / "instances.json").write_text(json.dumps(instances()))
    (tmp_path / "submission.csv").write_text(f"patientId,PredictionString\n{line}\n")
    with pytest.raises(DataError, match=f"submission.csv.*{message}"):
        inputs.load(tmp_path / "instances.json", tmp_path / "submission.csv")


@pytest.mark.slow
@pytest.mark.real_data
def test_all_of_rsna(shared_data, tmp_path):
    folder = shared_data / "rsna_csv"
    with open(folder / "stage_2_train_labels.csv", newline="") as file:
        exams = list(dict.fromkeys(row["patientId"] for row in csv.DictReader(file)))
    (tmp_path / "submission.csv").write_text("patientId,PredictionString\n" + "".join(f"{exam},0.5 1 2 3 4\n" for exam in exams))
    loaded = inputs.load(
        folder / "stage_2_train_labels.csv", tmp_path / "submission.csv", class_info=folder / "stage_2_detailed_class_info.csv"
    )
    assert (len(loaded.cases), len(loaded.cases.truth_case), int(loaded.cases.positive.sum())) == (26_684, 9_555, 6_012)
