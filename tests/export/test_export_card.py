"""MODEL_CARD.md: names from label maps, runs and metrics are text, and no HTML or mark of Markdown."""

from pneumodet.core.run_record import DataRecord
from pneumodet.export import card
from pneumodet.inference.card import BOXES, Artefact, ModelCard
from pneumodet.inference.postprocess.recipe import Recipe
from pneumodet.inference.probability import Calibrator
from pneumodet.inference.sizes import Size

HOSTILE = "<script>alert(1)</script>|[x](y)`"
SHOWN = "&lt;script>alert(1)&lt;/script>\\|\\[x](y)\\`"


def test_hostile_names_are_text():
    about = ModelCard(
        run=HOSTILE,
        checkpoint=HOSTILE,
        label_map={HOSTILE: 1},
        data=DataRecord(folder="", manifest_sha256="", split_by=HOSTILE),
        size=Size((320, 320)),
        calibrator=Calibrator(HOSTILE, {}),
        metrics={},
        recipe=Recipe(exams_sha256=HOSTILE),
        artefacts={"onnx": Artefact(file="model.onnx", bytes=1_000_000, outputs=BOXES)},
        exported={"pneumodet": "1", "versions": {}},
    )
    metrics = {"warnings": [HOSTILE], "split": HOSTILE, "images": 5}
    text = card.read_me(about, metrics, None)
    assert text.count(SHOWN) == 7, "run, checkpoint, split, warning, class, split by, calibrator"
    assert text.count("<script>") == 1 and f'"exams_sha256": "{HOSTILE}"' in text, "a code span shows what stands in it"
