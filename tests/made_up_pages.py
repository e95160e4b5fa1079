"""Every page that the library writes, with a given text in all places where text of files, names or people can stand."""

import numpy as np
from made_up_metrics import gains, metrics
from PIL import Image

from pneumodet.evaluation.compare import page as comparison
from pneumodet.evaluation.compare import sentences
from pneumodet.evaluation.report import page
from pneumodet.exploration import exploring, radiographs, report
from pneumodet.exploration.baseline import page as baseline
from pneumodet.exploration.baseline.table import NAMES
from pneumodet.inference.predict import gallery
from pneumodet.inference.predict.outputs import Rules, Shown

PICTURE = Image.fromarray(np.zeros((8, 8, 3), np.uint8))
FIGURE = {"value": 0.2, "low": 0.1, "high": 0.3}


def with_text(value, text):
    """Return a structure in which the text is added to every string; keys stay."""
    if isinstance(value, str):
        return f"{value} {text}"
    if isinstance(value, dict):
        return {key: with_text(one, text) for key, one in value.items()}
    return [with_text(one, text) for one in value] if isinstance(value, (list, tuple)) else value


def evaluation(folder, text):
    """report.html, with model_card.md beside it."""
    figures = with_text(metrics() | {"image.roc_auc": 0.8, "model": "m", "split": "val", "detections_file": {"name": "f"}}, text)
    figures |= {"class_name": text, f"coco.{text}.AP": 0.1, f"coco.{text}.AP50": 0.3}
    steps = with_text(gains(), text)
    pictures = [(text, PICTURE, text), (text, None, text)]
    return page.write_report(folder, figures, pictures=pictures, provenance={text: text}, config_text=text, gains=steps)


def exploration(folder, text):
    """explore.html of two exams, of which one has the text as its id, with pictures and files that were not read."""
    quoted = '"' + text.replace('"', '""') + '"'
    (folder / "labels.csv").write_text(
        f"patientId,x,y,width,height,Target\n{quoted},1,1,20,30,1\n{quoted},1,1,20,30,1\nb,,,,,0\n{quoted},,,,,0\n"
    )
    (folder / "headers.csv").write_text(
        f"patientId,PatientAge,PatientSex,ViewPosition,PixelSpacing\n{quoted},148,F,AP,0.1\nb,{quoted},M,PA,0.2\n"
    )
    inputs = exploring.Inputs(folder / "labels.csv", header_csv=folder / "headers.csv")
    figures = exploring.explore(inputs, folder / "out")
    figures["inputs"]["labels"] = text
    figures["classes"]["class_exams"][text] = 1
    figures["rejected"] += [{"exam": text, "reason": text}]
    bad = [{"file": text, "reason": text}]
    figures["files"] = {"found": 2, "sizes_px": {text: 1}, "bits": {"8": 1}, "faulty": bad, "refused": bad}
    picture = radiographs.Picture(text, text, PICTURE, (0.5, 0.5))
    album = report.Album([picture], [picture], PICTURE, text, {text: text})
    (folder / exploring.REPORT).write_text(report.page(figures, album))
    return folder / exploring.REPORT


def baseline_of_metadata(folder, text):
    """baseline.html."""
    columns = list(NAMES)[:2]
    model = {
        "name": text, "roc_auc": FIGURE, "average_precision": FIGURE, "fold_roc_auc": [0.1, 0.2], "brier": 0.1, "brier_of_base_rate": 0.2, "ece": 0.1,
        "importance": dict.fromkeys(columns, FIGURE), "curve": [{"mean_score": 0.1, "rate": 0.2}, {"mean_score": 0.5, "rate": 0.6}],
        "roc": {"false_positive_rate": [0, 1], "sensitivity": [0, 1]},
    }  # fmt: skip
    way = {"columns": text, "split": text, "rows": 5, "majority": 0.7, "models": {"svc": {"accuracy": 0.9, "roc_auc": 0.8}}}
    result = {
        "pneumodet": "1", "versions": {text: text}, "inputs": {text: {"name": text, "sha256": text}}, "exams": 9, "positive_exams": 3, "patients": 8,
        "patients_by": text, "columns": columns, "notes": [text], "folds": 5, "seed": 0, "confidence": 0.95, "models": {"svc": model, "other": model},
        "alone": dict.fromkeys(columns, 0.6), "rule": None, "leak": {"explanation": text, "ways": [way]},
    }  # fmt: skip
    (folder / "baseline.html").write_text(baseline.html(result))
    return folder / "baseline.html"


def comparison_of_runs(folder, text):
    """comparison.html, with comparison.md beside it."""
    figures = {key: FIGURE | {"sentence": text} for key in comparison.FIGURES}
    run = {
        "name": text, "family": "detection", "figures": figures, "operating_point": {"boxes": text, "images": text + text}, "parameters": 5,
        "training_seconds": 4.0, "milliseconds_an_image": 1.0, "roc": {"false_positive_rate": [0, 1], "sensitivity": [0, 1]},
    }  # fmt: skip
    row = {"step": text, "figure": FIGURE, "gain": FIGURE, "chosen": {"score_threshold": 0.1, text: text}}
    combination = {
        "detector": text, "gate": text, "fused": [text], "sentences": [text], "note": text, "objective": "rsna", "rows": [row], "total": FIGURE,
    }  # fmt: skip
    result = {
        "ground_truth": {"name": text, "split": text}, "exams": 5, "patients": 4, "positive_exams": 2, "boxes": 3, "method": text, "baseline": text,
        "runs": [run, run | {"name": f"other {text}"}], "differences": {f"other {text}": figures}, "combination": combination, "notes": [text],
    }  # fmt: skip
    (folder / "comparison.html").write_text(comparison.html(result))
    (folder / "comparison.md").write_text(sentences.markdown(result))
    return folder / "comparison.html"


def gallery_of_prediction(folder, text):
    """gallery.html."""
    shown = [Shown(text, f"{text}.png", (9, 9), 0.9, 0.5, 1), Shown("b", "b.png", (9, 9), 0.0, None, 0)]
    heading = gallery.Heading(text, 2, 1, 1, text, [text])
    return gallery.write(folder, shown, Rules(2, 0.5), heading, truth_boxes={text: 1})


PAGES = {
    "evaluation": evaluation,
    "exploration": exploration,
    "baseline": baseline_of_metadata,
    "comparison": comparison_of_runs,
    "gallery": gallery_of_prediction,
}
"""Name of the template -> a function that writes the page to a folder and returns its path."""
