"""From files to results: what is found is where it is, in every output, whatever the input is, and no bad file stops the others."""

import csv
import html
import json
import shutil
import zipfile

import numpy as np
import pydicom
import pytest
import squares
from PIL import Image

from pneumodet.cli import predict as command
from pneumodet.core.errors import CheckpointError, DataError
from pneumodet.data import detection_files, formats
from pneumodet.inference.admission import DX_PROCESSING
from pneumodet.inference.postprocess import recipe
from pneumodet.inference.predict import predicting

WITH_SQUARE = {name for name, place in squares.PLACES.items() if place is not None}


def read(path):
    return json.loads(path.read_text())


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"PresentationIntentType": "FOR PROCESSING"}, "for processing, which is not meant for the eye."),
        ({"SOPClassUID": DX_PROCESSING}, "for processing, which is not meant for the eye."),
        ({"Manufacturer": "pneumodet"}, "it was made by pneumodet itself."),
    ],
    ids=["intent", "class", "own"],
)
def test_files_and_members_of_archives_that_are_not_admitted(model, radiographs, tmp_path, elements, reason):
    dataset = pydicom.dcmread(radiographs / "left.dcm")
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    folder = tmp_path / "in"
    folder.mkdir()
    dataset.save_as(folder / "odd.dcm")
    shutil.copy(radiographs / "right.dcm", folder)
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for path in folder.iterdir():
            archive.write(path, path.name)
    for root in (folder, tmp_path / "in.zip"):
        summary = predicting.predict([model], root, tmp_path / f"out of {root.name}", max_images=0)
        assert summary.radiographs == 1
        ((name, why),) = summary.refused
        assert name == "odd.dcm"
        assert why.endswith(reason)


def test_squares_are_found_where_they_are_in_every_output(model, radiographs, tmp_path):
    summary = predicting.predict([model], radiographs, tmp_path / "out")
    assert (summary.radiographs, summary.positive, summary.refused) == (6, 4, [])
    assert (summary.score_threshold, summary.threshold_source, summary.backends) == (0.5, "the model's own", ["onnx"])
    results = detection_files.by_exam(tmp_path / "out" / "detections.json", list(squares.PLACES))
    submission = {row["patientId"]: row["PredictionString"].split() for row in rows(tmp_path / "out" / "submission.csv")}
    scores = {row["patientId"]: row for row in rows(tmp_path / "out" / "scores.csv")}
    labels = formats.read_labels(tmp_path / "out" / "boxes.csv")
    assert list(submission) == list(scores) == list(labels.exams) == sorted(squares.PLACES), "every exam has a line, in order"
    assert not labels.rejected
    for exam, place in squares.PLACES.items():
        assert labels.exams[exam].size_hw == (96, 96)
        assert labels.exams[exam].positive == (place is not None)
        if place is None:
            assert len(results[exam]) == 0
            assert submission[exam] == []
            assert scores[exam] == {"patientId": exam, "score": "0", "probability": ""}
            continue
        np.testing.assert_allclose(results[exam].boxes_xyxy_px[0], squares.box(place), atol=0.1)
        np.testing.assert_allclose(labels.exams[exam].boxes_xyxy_px[0], squares.box(place), atol=0.1)
        np.testing.assert_allclose([float(one) for one in submission[exam][1:5]], [*place, 24, 24], atol=0.1)
        assert float(scores[exam]["score"]) == pytest.approx(results[exam].scores[0], abs=1e-6)
        assert results[exam].scores[0] > 0.99
    written = rows(tmp_path / "out" / "boxes.csv")
    assert list(written[0]) == ["filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax", "score"]
    assert {row["filename"] for row in written} == {f"{exam}.dcm" for exam in squares.PLACES}


def test_the_summary_names_model_and_file(model, radiographs, tmp_path):
    predicting.predict([model], radiographs, tmp_path / "out", max_images=2)
    summary = read(tmp_path / "out" / "predictions.json")
    card = read(model / "model.json")
    assert summary["models"] == [{"run": "tiny", "checkpoint": "ckpt-1", "format": "onnx", "sha256": card["artefacts"]["onnx"]["sha256"]}]
    assert summary["sheet"] == "overview.png"
    highest = sorted(rows(tmp_path / "out" / "scores.csv"), key=lambda row: -float(row["score"]))[:2]
    assert {path.stem for path in (tmp_path / "out" / "images").iterdir()} == {row["patientId"] for row in highest}
    assert not (tmp_path / "out" / "journal.jsonl").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"], "nothing temporary is left"


def test_a_model_that_was_not_trained_is_called_so(model, radiographs, tmp_path):
    untrained = shutil.copytree(model, tmp_path / "export")
    (untrained / "model.json").write_text(json.dumps(read(model / "model.json") | {"checkpoint": "ckpt-0"}))
    assert "ckpt-0 is of step 0" in predicting.predict([untrained], radiographs, tmp_path / "out", max_images=0).notes[0]


@pytest.mark.parametrize("suffix", ["dcm", "png", "jpg"])
def test_a_single_file(model, tmp_path, suffix):
    path = squares.write(tmp_path / f"one.{suffix}", (24, 36))
    assert predicting.predict([model], path, tmp_path / "out").radiographs == 1
    (results,) = detection_files.by_exam(tmp_path / "out" / "detections.json").values()
    np.testing.assert_allclose(results.boxes_xyxy_px[0], squares.box((24, 36)), atol=0.1)


def test_an_archive_gives_what_its_folder_gives(model, radiographs, tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for path in radiographs.iterdir():
            archive.write(path, f"deep/{path.name}")
    predicting.predict([model], radiographs, tmp_path / "a")
    predicting.predict([model], tmp_path / "all.zip", tmp_path / "b")
    for name in ("detections.json", "submission.csv", "scores.csv", "boxes.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_bad_files_are_listed_and_stop_nothing(model, radiographs, tmp_path):
    folder = shutil.copytree(radiographs, tmp_path / "in")
    whole = (radiographs / "left.dcm").read_bytes()
    (folder / "cut.dcm").write_bytes(whole[:-400])
    (folder / "nothing.dcm").write_bytes(b"")
    (folder / "text.dcm").write_text("no DICOM")
    (folder / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 40)
    (folder / "noise.dcm").write_bytes(np.random.default_rng(0).bytes(5000))
    (folder / "sub").mkdir()
    shutil.copy(folder / "low.dcm", folder / "sub" / "left.dcm")
    summary = predicting.predict([model], folder, tmp_path / "out")
    assert summary.radiographs == 6
    reasons = dict(summary.refused)
    assert set(reasons) == {"cut.dcm", "nothing.dcm", "text.dcm", "torn.png", "noise.dcm", "sub/left.dcm"}
    assert reasons["sub/left.dcm"] == "the same radiograph as low"
    assert "not a DICOM file" in reasons["text.dcm"]
    assert str(tmp_path) not in json.dumps(summary.refused), "no path of this machine"
    assert [tuple(one) for one in read(tmp_path / "out" / "predictions.json")["refused"]] == summary.refused


def test_a_decoder_that_breaks_stops_nothing(model, radiographs, tmp_path, monkeypatch):
    from pneumodet.data import images

    real = images.image_of

    def breaks(data, source):
        if source.name == "low.dcm":
            raise RuntimeError("what no decoder should do")
        return real(data, source)

    monkeypatch.setattr(images, "image_of", breaks)
    summary = predicting.predict([model], radiographs, tmp_path / "out")
    assert summary.radiographs == 5
    assert summary.refused == [("low.dcm", "it cannot be decoded (RuntimeError); it is damaged or unusual.")]


def test_nothing_that_can_be_read(model, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "text.dcm").write_text("no DICOM")
    with pytest.raises(DataError, match=r"None of the 1 files in .* could be read \(first: text.dcm: it is not a DICOM file"):
        predicting.predict([model], tmp_path / "in", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_an_earlier_result_is_kept_until_the_new_one_is_whole(model, radiographs, tmp_path):
    out = tmp_path / "out"
    predicting.predict([model], radiographs, out, score_threshold=0.3)
    with pytest.raises(DataError, match="holds an earlier result"):
        predicting.predict([model], radiographs, out)
    predicting.predict([model], radiographs, out, score_threshold=0.4, overwrite=True)
    assert read(out / "predictions.json")["score_threshold"] == 0.4


def test_own_pictures_are_no_radiographs(model, radiographs, tmp_path):
    folder = shutil.copytree(radiographs, tmp_path / "in")
    for _ in range(2):
        assert predicting.predict([model], folder, folder / "out", overwrite=True).radiographs == 6


def test_an_exam_without_image_level_score_is_left_out(model, radiographs, tmp_path):
    recipe.save(tmp_path / "recipe.json", recipe.Recipe(gate="drop", gate_threshold=0.5, score_threshold=0.2))
    (tmp_path / "gate.csv").write_text("patientId,score\n" + "".join(f"{exam},0.9\n" for exam in squares.PLACES if exam != "low"))
    summary = predicting.predict([model], radiographs, tmp_path / "out", recipe=tmp_path / "recipe.json", gate=tmp_path / "gate.csv")
    assert (summary.radiographs, summary.positive, summary.threshold_source) == (5, 3, "the recipe's own")
    assert summary.refused == [("low.dcm", "it has no image-level score in the CSV of --gate")]


def test_gate_drops(model, radiographs, tmp_path):
    recipe.save(tmp_path / "recipe.json", recipe.Recipe(gate="drop", gate_threshold=0.5, score_threshold=0.2))
    (tmp_path / "gate.csv").write_text("patientId,score\n" + "".join(f"{exam},{0.1 * (exam == 'low')}\n" for exam in squares.PLACES))
    arguments = {"recipe": tmp_path / "recipe.json", "gate": tmp_path / "gate.csv"}
    assert predicting.predict([model], radiographs, tmp_path / "out", **arguments).positive == 0


def test_two_models_in_two_views_are_fused(model, radiographs, tmp_path):
    twin = shutil.copytree(model, tmp_path / "twin")
    summary = predicting.predict([model, twin], radiographs, tmp_path / "out", tta="flip")
    assert summary.positive == 4
    assert "2 models, each in 2 views (identity, flip) were fused" in summary.notes[0]
    assert summary.threshold_source.startswith("the mean of the models' own")
    results = detection_files.by_exam(tmp_path / "out" / "detections.json")
    alone = predicting.predict([model], radiographs, tmp_path / "alone")
    assert alone.notes == []
    for exam in WITH_SQUARE:
        best = results[exam].boxes_xyxy_px[results[exam].scores.argmax()]
        np.testing.assert_allclose(best, squares.box(squares.PLACES[exam]), atol=3)


def test_probabilities_of_a_calibrated_model(model, radiographs, tmp_path):
    calibrated = shutil.copytree(model, tmp_path / "calibrated")
    metrics = {"images": 57, "patients": 47, "operating_point": {"chosen": {}}, "checkpoint_chosen_of": 10}
    card = read(calibrated / "model.json") | {"calibrator": {"method": "temperature", "temperature": 2.0}, "metrics": metrics}
    (calibrated / "model.json").write_text(json.dumps(card))
    summary = predicting.predict([calibrated], radiographs, tmp_path / "out")
    for row in rows(tmp_path / "out" / "scores.csv"):
        score = min(max(float(row["score"]), 1e-3), 1 - 1e-3)
        assert row["probability"] == f"{1 / (1 + ((1 - score) / score) ** 0.5):.2f}"
    basis = "57 exams of 47 patients, on which the model's threshold and checkpoint were chosen as well"
    assert basis in summary.notes[0]
    assert basis in html.unescape((tmp_path / "out" / "gallery.html").read_text())
    summary = predicting.predict([calibrated], radiographs, tmp_path / "flipped", tta="flip")
    assert any("has no probabilities" in note for note in summary.notes)


def test_ground_truth_stands_beside(model, radiographs, tmp_path, monkeypatch):
    (tmp_path / "labels.csv").write_text("patientId,x,y,width,height,Target\nleft,12,24,24,24,1\nnone,,,,,0\n")
    from pneumodet.viz import pictures

    captions = []
    laid_out = pictures.contact_sheet
    monkeypatch.setattr(pictures, "contact_sheet", lambda *args, **more: captions.extend(more["captions"]) or laid_out(*args, **more))
    predicting.predict([model], radiographs, tmp_path / "out", labels=tmp_path / "labels.csv")
    with Image.open(tmp_path / "out" / "images" / "left.png") as picture:
        assert picture.size == (192, 96)
        left, right = (np.asarray(picture.crop(box)).reshape(-1, 3) for box in ((0, 0, 96, 96), (96, 0, 192, 96)))
    assert (left == pictures.TRUTH_RGB).all(axis=1).any()
    assert not (left == pictures.DETECTION_RGB).all(axis=1).any()
    assert (right == pictures.DETECTION_RGB).all(axis=1).any()
    around = left.reshape(96, 96, 3).astype(int)
    around[16:56, 4:44] = 0  # the box
    assert (around.min(axis=2) == around.max(axis=2)).all(), "no panel over the radiograph"
    with Image.open(tmp_path / "out" / "overview.png") as sheet:
        assert sheet.width == 4 * 384
        assert sheet.height > 384 * -(-sheet.height // 500), "names stand in strips above the tiles"
    of_truth = dict(captions[::2])
    assert (of_truth["left"], of_truth["none"]) == ("ground truth 1", "ground truth 0")
    assert list(of_truth.values()).count("not in the labels") == 4, "which is not the same as no box"
    page = (tmp_path / "out" / "gallery.html").read_text()
    assert page.count("not in the labels") == 4
    assert page.count("ground truth 1<") == page.count("ground truth 0<") == 1


def test_exams_are_called_as_the_labels_call_them(model, tmp_path):
    squares.write(tmp_path / "in" / "IM0001.dcm", (12, 24), patient_id="exam-a")
    squares.write(tmp_path / "in" / "more" / "IM0001.dcm", (60, 30), patient_id="exam-b")
    (tmp_path / "labels.csv").write_text("patientId,x,y,width,height,Target\nexam-a,12,24,24,24,1\nexam-b,,,,,0\n")
    predicting.predict([model], tmp_path / "in", tmp_path / "out", labels=tmp_path / "labels.csv")
    boxes = formats.read_labels(tmp_path / "out" / "boxes.csv").exams
    np.testing.assert_allclose(boxes["exam-a"].boxes_xyxy_px, [squares.box((12, 24))], atol=0.1)
    np.testing.assert_allclose(boxes["exam-b"].boxes_xyxy_px, [squares.box((60, 30))], atol=0.1)


def test_an_exam_may_be_called_anything(model, tmp_path):
    """Names become file names and HTML."""
    names = ["<b>&'\".dcm", "ä ö%20#1.dcm", "..dots.dcm"[1:], "x" * 240 + ".dcm"]
    for name in names:
        squares.write(tmp_path / "in" / f"a{name}", (12, 24))
    summary = predicting.predict([model], tmp_path / "in", tmp_path / "out")
    assert summary.radiographs == len(names)
    assert len(list((tmp_path / "out" / "images").iterdir())) == len(names)
    assert "<b>" not in (tmp_path / "out" / "gallery.html").read_text()


def test_without_pneumonia_there_is_nothing_to_predict(model, radiographs, tmp_path):
    other = shutil.copytree(model, tmp_path / "other")
    (other / "label_map.pbtxt").write_text("item { id: 1 name: 'cat' }\nitem { id: 2 name: 'dog' }\n")
    with pytest.raises(DataError, match="has no class 'pneumonia'; its classes are cat, dog"):
        predicting.predict([other], radiographs, tmp_path / "out")
    with pytest.raises(DataError, match="The models do not fit together"):
        predicting.predict([model, other], radiographs, tmp_path / "out")


def test_a_file_of_the_model_may_be_named(model, radiographs, tmp_path):
    assert predicting.predict([model / "model.onnx"], radiographs, tmp_path / "out").positive == 4
    with pytest.raises(CheckpointError, match="has no file for the backend tflite"):
        predicting.predict([model], radiographs, tmp_path / "other", backend="tflite")


def test_command(model, radiographs, tmp_path, capsys):
    folder = shutil.copytree(radiographs, tmp_path / "in")
    for number in range(7):
        (folder / f"bad{number}.dcm").write_text("no DICOM")
    out = tmp_path / "out"
    assert command.main(["--model", str(model), "--image-dir", str(folder), "--output_dir", str(out), "--backend", "onnx"]) == 0
    out_text, err = capsys.readouterr()
    assert "6 radiographs, 4 with pneumonia at score 0.5000 or more (the model's own); 7 files left out; " in out_text
    assert "left out: bad0.dcm: it is not a DICOM file." in err
    assert "… and 2 more, all in predictions.json" in err


def test_a_model_without_threshold_is_warned_of(model, radiographs, tmp_path, capsys):
    import tiny_export

    bare = tiny_export.make(tmp_path / "bare", score_threshold=None)
    assert command.main(["--model", str(bare), "--input", str(radiographs), "--output-dir", str(tmp_path / "out")]) == 0
    assert "warning: the model has no score threshold of its own; 0.5 was used" in capsys.readouterr().err


def test_what_is_passed_over_is_counted(model, radiographs, tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("left.dcm", "right.dcm"):
        dataset = pydicom.dcmread(radiographs / name)
        dataset.WindowCenter, dataset.WindowWidth = 100, 0
        dataset.save_as(folder / name)
    assert command.main(["--model", str(model), "--input", str(folder), "--output-dir", str(tmp_path / "out")]) == 0
    assert "note: 2 radiographs: unusable window ignored (the first: left.dcm)" in capsys.readouterr().err
    assert read(tmp_path / "out" / "predictions.json")["images"] == {"unusable window ignored": {"radiographs": 2, "first": "left.dcm"}}
