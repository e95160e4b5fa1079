"""A radiograph in, reports out: the same UIDs every time, and a reason where there are none."""

import random
import zlib
from io import BytesIO

import numpy as np
import pydicom
import pytest
from fake_pacs import radiograph

from pneumodet.core.errors import CheckpointError, ConfigError
from pneumodet.dicom.net.errors import Refused
from pneumodet.inference.admission import SECONDARY_CAPTURE, WORKER, worker_profile
from pneumodet.inference.postprocess import recipe as recipes

pytest.importorskip("highdicom", reason="needs highdicom, which writes the reports")
tiny_export = pytest.importorskip("tiny_export", reason="needs onnx, which writes the model")

from pneumodet.apps.pacs.analysis import ModelAnalyst  # noqa: E402

MUTANTS = 400

UID = "1.2.826.0.1.3680043.10.999.3.1"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_export.make(tmp_path_factory.mktemp("model") / "model")


def analyst_of(model, **more):
    return ModelAnalyst(model, **{"profile": WORKER, "threads": 1} | more)


@pytest.fixture(scope="module")
def analyst(model):
    return analyst_of(model)


def opened(reports):
    return {report.kind: pydicom.dcmread(BytesIO(report.data)) for report in reports}


def boxes_of(state):
    """Return the boxes of a presentation state as xyxy px."""
    rectangles = []
    for one in state.GraphicAnnotationSequence[0].GraphicObjectSequence:
        points = np.array(one.GraphicData).reshape(-1, 2)
        rectangles.append([*points.min(axis=0), *points.max(axis=0)])
    return np.array(rectangles)


def test_what_the_model_finds_is_reported_where_it_is(analyst):
    reports = analyst.reports(radiograph(side=128), UID)
    made = opened(reports)
    assert list(made) == ["sr", "gsps"]
    np.testing.assert_allclose(boxes_of(made["gsps"])[0], [32, 32, 64, 64], atol=8)
    assert (made["sr"].ContentDate, made["sr"].ContentTime) == ("20260102", "101112"), "those of the study"
    source = pydicom.dcmread(BytesIO(radiograph()))
    for report in reports:
        assert (report.sop_uid, report.study_uid) == (made[report.kind].SOPInstanceUID, source.StudyInstanceUID)
        assert analyst.reopened(report.kind, report.data) == report
        assert made[report.kind].PatientID == "SECRET-ID"


def test_nothing_found_is_reported_without_a_presentation_state(analyst):
    (report,) = analyst.reports(radiograph(bright=False), UID)
    assert report.kind == "sr"


def test_reports_are_the_same_every_time_and_others_of_another_radiograph(analyst, model):
    first = analyst.reports(radiograph(), UID)
    assert analyst_of(model).reports(radiograph(), UID) == first
    other = radiograph(2)
    assert {one.sop_uid for one in analyst.reports(other, UID[:-1] + "2")}.isdisjoint(one.sop_uid for one in first)


def test_threshold_and_recipe_make_other_reports(analyst, model, tmp_path):
    recipes.save(tmp_path / "recipe.json", recipes.Recipe(box_scale=0.5, nms="hard", nms_iou=0.1, score_threshold=0.6))
    others = [analyst_of(model, score_threshold=0.55), analyst_of(model, recipe=tmp_path / "recipe.json")]
    made = [one.reports(radiograph(side=128), UID) for one in (analyst, *others)]
    assert len({reports[0].sop_uid for reports in made}) == len({one.name for one in (analyst, *others)}) == 3
    plain, _, shrunk = (boxes_of(opened(reports)["gsps"])[0] for reports in made)
    np.testing.assert_allclose(shrunk[2:] - shrunk[:2], (plain[2:] - plain[:2]) / 2, atol=0.1)


def test_models_and_recipes_that_cannot_be_used(model, tmp_path):
    with pytest.raises(CheckpointError, match="is not an exported model"):
        analyst_of(tmp_path)
    with pytest.raises(ConfigError, match="has no score threshold"):
        analyst_of(tiny_export.make(tmp_path / "model", score_threshold=None))
    recipes.save(tmp_path / "recipe.json", recipes.Recipe(gate="drop", gate_threshold=0.2))
    with pytest.raises(ConfigError, match="needs image-level scores"):
        analyst_of(model, recipe=tmp_path / "recipe.json")


def deflated_bomb():
    """A file that unfolds to 320 MB."""
    head = radiograph()
    dataset = pydicom.dcmread(BytesIO(head))
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    meta = BytesIO()
    meta.write(b"\0" * 128 + b"DICM")
    pydicom.filewriter.write_file_meta_info(meta, dataset.file_meta)
    packer = zlib.compressobj(wbits=-15)
    zeros = packer.compress(b"\0" * (1 << 24)) + packer.flush(zlib.Z_FULL_FLUSH)  # stands alone, so that it can be repeated
    return meta.getvalue() + zeros * 20 + packer.flush()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"", "it is not a DICOM file", id="empty"),
        pytest.param(b"<html>not found</html>", "it is not a DICOM file", id="html"),
        pytest.param(radiograph()[:700], "cut off|damaged", id="cut-in-the-header"),
        pytest.param(radiograph()[:-100], "cut off", id="cut-in-the-pixels"),
        pytest.param(radiograph(PixelData=None), "no pixel data|not gray", id="no-pixels"),
        pytest.param(radiograph(SOPInstanceUID="1.2.3"), "another object than its name says", id="other"),
        pytest.param(radiograph(SOPClassUID=SECONDARY_CAPTURE), "--secondary-capture allows it", id="secondary-capture"),
        pytest.param(radiograph(SeriesInstanceUID=None), "no SeriesInstanceUID", id="no-series"),
        pytest.param(radiograph(Rows=60000, Columns=60000), "60000", id="huge"),
    ],
)
def test_what_cannot_be_reported_is_refused_without_quoting_it(analyst, data, reason):
    with pytest.raises(Refused, match=reason) as caught:
        analyst.reports(data, UID)
    assert "Mustermann" not in str(caught.value)
    assert "SECRET" not in str(caught.value)


def test_a_deflated_bomb_is_refused(analyst):
    with pytest.raises(Refused, match="deflated part"):
        analyst.reports(deflated_bomb(), UID)


def test_a_secondary_capture_is_reported_where_it_is_allowed(model):
    lenient = analyst_of(model, profile=worker_profile(secondary_capture=True, unnamed_body_part=True))
    assert lenient.reports(radiograph(SOPClassUID=SECONDARY_CAPTURE), UID)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_mutated_files_are_reported_or_refused(analyst):
    """Never another error, and never a reason that quotes the patient."""
    chance = random.Random(0)
    whole = radiograph()
    refused = 0
    for _ in range(MUTANTS):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 12)):
            place = chance.randrange(132, 1200)
            data[place] = chance.choice((0, 0xFF, chance.randrange(256)))
        if chance.random() < 0.2:
            del data[chance.randrange(len(data)) :]
        try:
            analyst.reports(bytes(data), UID)
        except Refused as error:
            refused += 1
            assert "Muster" not in str(error)
            assert "SECRET" not in str(error)
    assert MUTANTS / 10 < refused < MUTANTS


@pytest.mark.slow
@pytest.mark.real_data
def test_real_radiographs_and_odd_files(analyst, model, shared_data):
    """RSNA's files are secondary captures; the odd ones are reported or refused, and nothing else happens."""
    lenient = analyst_of(model, profile=worker_profile(secondary_capture=True, unnamed_body_part=True))
    reported = 0
    folders = ("edge_cases", "rsna_original", "rsna_sample")
    for path in [path for folder in folders for path in sorted((shared_data / folder).rglob("*.dcm"))[:6]]:
        data = path.read_bytes()
        try:
            uid = str(pydicom.dcmread(BytesIO(data), stop_before_pixels=True).get("SOPInstanceUID"))
        except Exception:
            uid = UID
        for one in (analyst, lenient):
            try:
                reported += len(one.reports(data, uid)) > 0
            except Refused as refused:
                assert "\n" not in str(refused)
    assert reported
