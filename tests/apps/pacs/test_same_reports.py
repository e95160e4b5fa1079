"""tools/predict.py, the worker and the page make the same objects of a radiograph, byte by byte: what has one SOPInstanceUID is one object."""

import contextlib
import threading
from io import BytesIO

import pydicom
import pytest
from fake_pacs import FakePacs, radiograph

from pneumodet.apps.pacs.analysis import ModelAnalyst
from pneumodet.apps.pacs.journal import Journal
from pneumodet.apps.pacs.spool import Folder
from pneumodet.apps.pacs.worker import Settings, Worker
from pneumodet.apps.web import downloads
from pneumodet.apps.web.cases import Cases
from pneumodet.apps.web.shared_model import SharedModel
from pneumodet.apps.web.uploads import File
from pneumodet.dicom.net.access import Access
from pneumodet.dicom.net.dicomweb import DicomwebClient
from pneumodet.dicom.net.transport import Limits
from pneumodet.dicom.objects import objects
from pneumodet.inference.admission import WORKER
from pneumodet.inference.postprocess import recipe as recipes
from pneumodet.inference.postprocess.recipe import Recipe
from pneumodet.inference.predict import predicting

pytest.importorskip("highdicom", reason="needs highdicom, which writes the reports")
tiny_export = pytest.importorskip("tiny_export", reason="needs onnx, which writes the model")

DAY = 86_400.0
NOW = 1_800_000_000.0

UNDATED = {"StudyDate": "", "StudyTime": ""}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_export.make(tmp_path_factory.mktemp("model") / "model")


def by_predict(model, folder, data, *, threshold=None, recipe=None):
    """Return kind -> file of tools/predict.py."""
    folder.mkdir()
    (folder / "exam.dcm").write_bytes(data)
    predicting.predict(
        [model], folder / "exam.dcm", folder / "out", recipe=recipe, score_threshold=threshold, dicom=["sr", "gsps"], max_images=0
    )
    return {kind: (folder / "out" / "dicom" / f"exam.{kind}.dcm").read_bytes() for kind in ("sr", "gsps")}


def by_worker(model, folder, data, *, now, threshold=None, recipe=None):
    """Return kind -> file that a worker stores in a PACS at a time."""
    analyst = ModelAnalyst(model, profile=WORKER, threads=1, score_threshold=threshold, recipe=recipe)
    with FakePacs().running() as pacs, Folder(folder).held() as spool, contextlib.closing(Journal(spool.journal)) as journal:
        pacs.put(data)
        client = DicomwebClient(pacs.url, Access(), limits=Limits(object_bytes=10**6))
        worker = Worker(journal, spool, analyst, client, source=client, settings=Settings(), clock=lambda: now)
        assert worker.run(threading.Event(), once=True) == 0
        return {{"SR": "sr", "PR": "gsps"}[str(opened(pacs.files[uid]).Modality)]: pacs.files[uid] for uid in pacs.posted}


def by_page(model, data, *, threshold=None):
    """Return the SR that the page offers."""
    shared = SharedModel(model)
    case = Cases(shared.detect).add(File("exam.dcm", data))
    return downloads.as_sr(case, shared, score_threshold=shared.score_threshold if threshold is None else threshold)


def opened(data):
    return pydicom.dcmread(BytesIO(data))


@pytest.mark.parametrize(
    ("threshold", "elements"),
    [
        pytest.param(None, {}, id="of the model-dated"),
        pytest.param(None, UNDATED, id="of the model-undated", marks=pytest.mark.slow),
        pytest.param(0.3, {}, id="given-dated", marks=pytest.mark.slow),
        pytest.param(0.3, UNDATED, id="given-undated"),
    ],
)
def test_prediction_worker_and_page_make_the_same_files_on_any_day(model, tmp_path, threshold, elements):
    data = radiograph(7, **elements)
    first = by_predict(model, tmp_path / "predict", data, threshold=threshold)
    for day in range(2):
        assert by_worker(model, tmp_path / f"day {day}", data, now=NOW + day * DAY, threshold=threshold) == first
    assert by_page(model, data, threshold=threshold) == first["sr"]
    dates = {element.value for file in first.values() for element in opened(file).iterall() if element.VR == "DA"}
    assert dates == {"19640812", *(("", "19000101") if elements else ("20260102",))}, "of the patient and the study, and none of a clock"


def test_post_processing_is_the_same_too(model, tmp_path):
    recipes.save(tmp_path / "recipe.json", Recipe(views=("identity", "flip"), sources=2, fusion="wbf"))
    first = by_predict(model, tmp_path / "predict", radiograph(7), recipe=tmp_path / "recipe.json")
    assert by_worker(model, tmp_path / "worker", radiograph(7), now=NOW, recipe=tmp_path / "recipe.json") == first
    assert uids(first).isdisjoint(uids(by_predict(model, tmp_path / "plain", radiograph(7))))


def uids(files):
    """Return the UIDs of objects and series, as an archive keeps them."""
    headers = [opened(file) for file in files.values()]
    return {str(header[keyword].value) for header in headers for keyword in ("SOPInstanceUID", "SeriesInstanceUID")}


@pytest.mark.parametrize("other", ["threshold", "model", "radiograph", "software"])
def test_what_makes_other_files_makes_other_uids(model, tmp_path, other, monkeypatch):
    first = by_predict(model, tmp_path / "first", radiograph(7))
    data, threshold = radiograph(7), None
    if other == "threshold":
        threshold = 0.4
    elif other == "radiograph":
        data = radiograph(8)
    elif other == "software":
        monkeypatch.setattr(objects, "SOFTWARE", "pneumodet 99.0")
    else:
        monkeypatch.setattr(tiny_export, "BRIGHT", 150.0)
        model = tiny_export.make(tmp_path / "model")
    second = by_predict(model, tmp_path / "second", data, threshold=threshold)
    assert len(uids(first) | uids(second)) == 8
