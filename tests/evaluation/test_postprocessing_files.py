"""From files to a folder; bad files are answered with one sentence."""

import json

import numpy as np
import pytest
import simulated

from pneumodet.core.detections import image_id, to_coco, write_coco_results
from pneumodet.core.errors import ConfigError, DataError
from pneumodet.data import detection_files
from pneumodet.evaluation import inputs, postprocess_files, summary
from pneumodet.evaluation.metrics import rsna
from pneumodet.inference.postprocess import gates as image_gates
from pneumodet.inference.postprocess import recipe, steps

EXAMS = 80


def write_truth(path, boxes, *, ids=image_id, category=2):
    images = [{"id": ids(name), "file_name": name, "width": 1024, "height": 1024} for name in boxes]
    rows = [(name, box) for name, boxes_of in boxes.items() for box in boxes_of.tolist()]
    entries = [
        {
            "id": number,
            "image_id": ids(name),
            "category_id": category,
            "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
            "area": 1,
            "iscrowd": 0,
        }
        for number, (name, box) in enumerate(rows, start=1)
    ]
    categories = (
        [{"id": 1, "name": "no-pneumonia"}, {"id": 2, "name": "pneumonia"}] if category == 2 else [{"id": category, "name": "opacity"}]
    )
    path.write_text(json.dumps({"images": images, "annotations": entries, "categories": categories}))
    return path


@pytest.fixture(scope="module")
def boxes():
    return simulated.truth(EXAMS)


@pytest.fixture(scope="module")
def cases(boxes):
    return simulated.detect(boxes, too_large=1.15, false=4)


@pytest.fixture
def instances(tmp_path, boxes):
    return write_truth(tmp_path / "instances.json", boxes)


@pytest.fixture
def detections(tmp_path, cases):
    write_coco_results(tmp_path / "detections.json", steps.from_cases(cases, category_id=2))
    return tmp_path / "detections.json"


@pytest.fixture
def gate(tmp_path, cases):
    rows = [f"{name},{score}" for name, score in zip(cases.names, simulated.gate(cases).tolist(), strict=True)]
    (tmp_path / "gate.csv").write_text("patientId,score\n" + "\n".join(rows[::-1]) + "\n")
    return tmp_path / "gate.csv"


def test_what_is_written_gives_the_last_row_of_the_table(tmp_path, instances, detections, gate, boxes):
    table = postprocess_files.tune(instances, [detections], tmp_path / "out", gate=gate, folds=2)
    assert json.loads((tmp_path / "out" / "table.json").read_text()) == table
    detections_of = detection_files.by_exam(tmp_path / "out" / "detections.json", list(boxes))
    metric = rsna.rsna_metric(boxes, {name: (one.boxes_xyxy_px, one.scores) for name, one in detections_of.items()})
    assert metric == pytest.approx(table["rows"][-1]["figure"]["value"], abs=0.002)  # boxes are rounded in the file
    chosen = recipe.Recipe(**table["rows"][-1]["chosen"], exams_sha256=recipe.fingerprint(boxes))
    assert recipe.load(tmp_path / "out" / "recipe.json") == chosen
    assert table["patient_map"] is False


def test_applied_again_on_the_same_files(tmp_path, instances, detections, gate, cases):
    postprocess_files.tune(instances, [detections], tmp_path / "out", gate=gate, folds=2)
    for number, truth in enumerate((instances, None)):
        counts = postprocess_files.apply_only(
            tmp_path / "out" / "recipe.json", [detections], tmp_path / str(number), ground_truth=truth, gate=gate
        )
        chosen = recipe.load(tmp_path / str(number) / "recipe.json")
        read = postprocess_files.read_detections(detections, truth=postprocess_files.read_truth(instances))
        expected = recipe.apply(chosen, [read], category_id=2, gate_scores=image_gates.read_gate(gate))
        assert json.loads((tmp_path / str(number) / "detections.json").read_text()) == to_coco(expected)
        assert counts == {
            "exams": EXAMS,
            "boxes_before": len(cases.scores),
            "boxes_after": sum(map(len, expected.values())),
            "exams_with_boxes": sum(len(one) > 0 for one in expected.values()),
        }
        assert 0 < counts["boxes_after"] < counts["boxes_before"]


def test_boxes_of_other_classes_are_passed_on_and_not_counted(tmp_path, instances, detections, gate):
    postprocess_files.tune(instances, [detections], tmp_path / "out", gate=gate, folds=2)
    rows = json.loads(detections.read_text())
    more = tmp_path / "more.json"
    more.write_text(json.dumps([*rows, rows[0] | {"category_id": 1, "score": 0.002}]))
    counts = [
        postprocess_files.apply_only(tmp_path / "out" / "recipe.json", [file], tmp_path / file.stem, gate=gate)
        for file in (detections, more)
    ]
    assert counts[0] == counts[1]
    kept = json.loads((tmp_path / "more" / "detections.json").read_text())
    assert [row["score"] for row in kept if row["category_id"] == 1] == pytest.approx([0.002])


def test_two_sources_of_which_one_found_nothing_in_an_exam(tmp_path, instances, detections, cases):
    fewer = tmp_path / "fewer.json"
    write_coco_results(fewer, dict(list(steps.from_cases(cases, category_id=2).items())[3:]))
    recipe.save(tmp_path / "recipe.json", recipe.Recipe(sources=2, fusion="wbf"))
    for truth in (instances, None):
        assert (
            postprocess_files.apply_only(
                tmp_path / "recipe.json", [fewer, detections], tmp_path / f"to-{truth is None}", ground_truth=truth
            )["exams"]
            == EXAMS
        )
    assert postprocess_files.tune(instances, [fewer, detections], tmp_path / "tuned", folds=2)["rows"][1]["step"] == "detections 2 alone"


def test_patients_are_kept_together(tmp_path, instances, detections, boxes):
    (tmp_path / "map.csv").write_text("patientId,patient\n" + "".join(f"{name},{index // 2}\n" for index, name in enumerate(boxes)))
    table = postprocess_files.tune(instances, [detections], tmp_path / "out", patient_map=tmp_path / "map.csv", folds=2)
    assert (table["patients"], table["exams"], table["patient_map"]) == (EXAMS // 2, EXAMS, True)
    (tmp_path / "map.csv").write_text("patientId,patient\nexam-00000,1\n")
    with pytest.raises(DataError, match=r"does not name 79 exams, for example exam-00001"):
        postprocess_files.tune(instances, [detections], tmp_path / "other", patient_map=tmp_path / "map.csv", folds=2)
    assert not (tmp_path / "other").exists()


def test_patients_of_the_ground_truth_are_kept_together(tmp_path, instances, detections):
    content = json.loads(instances.read_text())
    for index, image in enumerate(content["images"]):
        image["patient"] = index // 4
    instances.write_text(json.dumps(content))
    table = postprocess_files.tune(instances, [detections], tmp_path / "out", folds=2)
    assert (table["patients"], table["exams"], table["patient_map"]) == (EXAMS // 4, EXAMS, True)


def test_the_first_row_is_what_evaluate_finds(tmp_path, instances, detections):
    """The same folds, in whatever order patients are called."""
    content = json.loads(instances.read_text())
    for index, image in enumerate(content["images"]):
        image["patient"] = f"patient {7 * index % 40}"
    instances.write_text(json.dumps(content))
    row = postprocess_files.tune(instances, [detections], tmp_path / "out")["rows"][0]
    assert row["figure"]["value"] == pytest.approx(summary.headline(inputs.load(instances, detections)).figures["rsna_metric"], abs=1e-12)


def test_views_become_sources(tmp_path, instances, boxes):
    """A second view that errs independently betters the boxes; the recipe knows its views and its exams, and needs the detector."""
    sets = [steps.from_cases(simulated.detect(boxes, seed=seed, jitter=0.12, repeats=1), category_id=2) for seed in range(4)]
    truth = postprocess_files.read_truth(instances)
    names = ["a, identity", "a, flip", "b, identity", "b, flip"]
    table = postprocess_files.choose(truth, sets, tmp_path / "out", views=("identity", "flip"), names=names, folds=2)
    rows = table["rows"]
    assert [row["step"] for row in rows[:6]] == [*(f"{name} alone" for name in names), "fusion", "views fused"]
    values = [row["figure"]["value"] for row in rows]
    assert rows[4]["gain"]["value"] == pytest.approx(values[4] - max(values[0], values[2])), "over the better model, in its plain view"
    assert rows[5]["gain"]["value"] == pytest.approx(values[5] - values[4])
    assert table["total"]["value"] == pytest.approx(values[-1] - max(values[0], values[2]))
    saved = recipe.load(tmp_path / "out" / "recipe.json")
    assert (saved.views, saved.sources, saved.models, table["views"]) == (("identity", "flip"), 4, 2, ["identity", "flip"])
    assert saved.exams_sha256 == recipe.fingerprint(boxes)
    write_coco_results(tmp_path / "a.json", sets[0])
    with pytest.raises(ConfigError, match=r"recipe.json has the views identity, flip, which need the detector itself"):
        postprocess_files.apply_only(tmp_path / "out" / "recipe.json", [tmp_path / "a.json"] * 4, tmp_path / "applied")
    assert not (tmp_path / "applied").exists()


def test_results_by_the_ids_of_another_framework(tmp_path, boxes, cases):
    """Images are numbered, the only class is called otherwise, and results have no file_name."""
    number = {name: index for index, name in enumerate(boxes)}
    truth = postprocess_files.read_truth(write_truth(tmp_path / "instances.json", boxes, ids=number.get, category=7))
    rows = to_coco(steps.from_cases(cases, category_id=7))
    plain = [{**row, "image_id": number[row["file_name"]]} for row in rows]
    for row in plain:
        del row["file_name"]
    (tmp_path / "plain.json").write_text(json.dumps(plain))
    detections_of = postprocess_files.read_detections(tmp_path / "plain.json", truth=truth)
    assert truth.category_id == 7
    assert to_coco(detections_of) == rows
    read = postprocess_files.cases_of(truth, np.arange(EXAMS), detections_of)
    assert read.names == cases.names
    np.testing.assert_array_equal(read.truth_case, cases.truth_case)
    np.testing.assert_allclose(read.truth_xyxy_px, cases.truth_xyxy_px)
    np.testing.assert_allclose(read.boxes_xyxy_px, cases.boxes_xyxy_px, atol=0.011)


def test_boxes_of_other_classes_are_no_ground_truth(tmp_path, boxes):
    path = write_truth(tmp_path / "instances.json", boxes)
    content = json.loads(path.read_text())
    content["categories"].append({"id": 3, "name": "nodule"})
    content["annotations"][0]["category_id"] = 3
    path.write_text(json.dumps(content))
    truth = postprocess_files.read_truth(path)
    assert sum(map(len, truth.boxes_xyxy_px.values())) == len(content["annotations"]) - 1


def test_labels_as_csv(tmp_path):
    (tmp_path / "labels.csv").write_text("patientId,x,y,width,height,Target\na,10,20,30,40,1\nb,,,,,0\n")
    truth = postprocess_files.read_truth(tmp_path / "labels.csv")
    assert truth.category_id == 2
    assert {name: one.tolist() for name, one in truth.boxes_xyxy_px.items()} == {"a": [[10, 20, 40, 60]], "b": []}


GOOD = {"image_id": image_id("exam-00001"), "category_id": 2, "bbox": [0, 0, 5, 5], "score": 0.5}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param({}, r"must be a COCO list of detections, but is a JSON dict", id="no list"),
        pytest.param([3], r"bad.json, entry 0 has no image_id", id="no object"),
        pytest.param([GOOD, {**GOOD, "image_id": 5}], r"entry 1 is of image 5, which the ground truth does not list", id="unknown id"),
        pytest.param(
            [{**GOOD, "image_id": 5, "file_name": "zzz"}],
            r"entry 0 is of image 5 .'zzz'., which the ground truth does not list",
            id="unknown name",
        ),
        pytest.param([{**GOOD, "image_id": [5]}], r"entry 0 is of image .5., which", id="no id"),
        pytest.param([{**GOOD, "bbox": [1, 2, 3]}], r"entry 0: bbox must be four", id="three numbers"),
        pytest.param([{**GOOD, "bbox": [1, 2, 3, "x"]}], r"entry 0: bbox must be four", id="text"),
        pytest.param([{**GOOD, "bbox": [1, 2, -3, 4]}], r"entry 0: the box .* is inverted", id="inverted"),
        pytest.param([{**GOOD, "score": 1.5}], r"entry 0: the score is 1.5", id="score"),
        pytest.param([{**GOOD, "score": float("nan")}], r"entry 0: .* and score a number; got .* and nan", id="nan"),
    ],
)
def test_detections_that_are_refused(tmp_path, instances, content, message):
    (tmp_path / "bad.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        postprocess_files.read_detections(tmp_path / "bad.json", truth=postprocess_files.read_truth(instances))


def test_ground_truth_that_is_refused(tmp_path, instances):
    content = json.loads(instances.read_text())
    del content["images"][0]["file_name"]
    instances.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"instances.json: 1 exam cannot be used as ground truth .*file_name"):
        postprocess_files.read_truth(instances)
    content["images"], content["annotations"] = content["images"][1:], []
    content["categories"] = [{"id": 4, "name": "mass"}, {"id": 5, "name": "nodule"}]
    instances.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"has the classes mass, nodule. Call the one to post-process 'pneumonia'"):
        postprocess_files.read_truth(instances)


def test_an_earlier_result_is_kept(tmp_path, instances, detections):
    recipe.save(tmp_path / "recipe.json", recipe.Recipe(max_boxes=1))
    postprocess_files.apply_only(tmp_path / "recipe.json", [detections], tmp_path / "out")
    for again in (
        lambda **kwargs: postprocess_files.apply_only(tmp_path / "recipe.json", [detections], tmp_path / "out", **kwargs),
        lambda **kwargs: postprocess_files.tune(instances, [detections], tmp_path / "out", folds=2, **kwargs),
    ):
        with pytest.raises(DataError, match=r"holds an earlier result \(recipe.json\). Give --overwrite"):
            again()
        again(overwrite=True)
    assert (tmp_path / "out" / "table.json").is_file()
