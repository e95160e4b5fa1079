"""MODEL_CARD.md: names from label maps, runs and metrics are text, and no HTML or mark of Markdown."""

from pneumodet.export import card
from pneumodet.inference import exported

HOSTILE = "<script>alert(1)</script>|[x](y)`"
SHOWN = "&lt;script>alert(1)&lt;/script>\\|\\[x](y)\\`"


def test_hostile_names_are_text():
    about = {
        "run": HOSTILE,
        "checkpoint": HOSTILE,
        "label_map": {HOSTILE: 1},
        "data": {"split_by": HOSTILE},
        "input": {"fixed_hw": [320, 320], "dtype": "uint8", "range": [0, 255], "layout": "NHWC"},
        "calibrator": {"method": HOSTILE},
        "metrics": {},
        "recipe": {"gate": HOSTILE},
        "artefacts": {"onnx": {"file": "model.onnx", "bytes": 1_000_000, "outputs": exported.BOXES}},
        "exported": {"pneumodet": "1", "versions": {}},
    }
    metrics = {"warnings": [HOSTILE], "split": HOSTILE, "images": 5}
    text = card.read_me(about, metrics, None)
    assert text.count(SHOWN) == 7, "run, checkpoint, split, warning, class, split by, calibrator"
    assert text.count("<script>") == 1 and f'- Recipe: `` {{"gate": "{HOSTILE}"}} ``' in text, "a code span shows what stands in it"
