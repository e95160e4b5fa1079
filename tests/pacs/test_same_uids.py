"""tools/predict.py and the worker make the same objects of a radiograph: an archive that gets both keeps one."""

from datetime import datetime
from io import BytesIO

import pydicom
import pytest
from fake_pacs import radiograph

from pneumodet.pacs.admission import Rules
from pneumodet.pacs.analysis import ModelAnalyst
from pneumodet.postprocessing import recipe as recipes
from pneumodet.postprocessing.recipe import Recipe
from pneumodet.prediction import dicom_files, predicting

pytest.importorskip("highdicom", reason="needs highdicom, which writes the reports")
tiny_export = pytest.importorskip("tiny_export", reason="needs onnx, which writes the model")


def uids(file):
    """Return all UIDs of a DICOM object but those that every file of its kind has."""
    dataset = pydicom.dcmread(file)
    found = {}
    for element in dataset.iterall():
        if element.VR == "UI":
            found.setdefault(element.keyword, []).append(element.value)
    return found


@pytest.mark.parametrize("threshold", [None, 0.3], ids=["of the model", "given"])
@pytest.mark.parametrize("recipe", [None, Recipe(views=("identity", "flip"), sources=2, fusion="wbf")], ids=["plain", "recipe"])
def test_prediction_and_worker_make_the_same_uids(tmp_path, threshold, recipe):
    model, data = tiny_export.make(tmp_path / "model"), radiograph(7)
    path = None
    if recipe is not None:
        path = tmp_path / "recipe.json"
        recipes.save(path, recipe)
    (tmp_path / "exam.dcm").write_bytes(data)
    predicting.predict(
        [model], tmp_path / "exam.dcm", tmp_path / "out", recipe=path, score_threshold=threshold, dicom=["sr", "gsps"], max_images=0
    )
    analyst = ModelAnalyst(model, rules=Rules(), algorithm_of=dicom_files.algorithm_of, threads=1, score_threshold=threshold, recipe=path)
    uid = str(pydicom.dcmread(BytesIO(data)).SOPInstanceUID)
    reports = {report.kind: report for report in analyst.reports(data, uid, datetime(2026, 2, 3, 4, 5, 6))}
    assert sorted(reports) == ["gsps", "sr"]
    for kind, report in reports.items():
        ours = uids(tmp_path / "out" / "dicom" / f"exam.{kind}.dcm")
        assert ours["SOPInstanceUID"] and ours == uids(BytesIO(report.data))
