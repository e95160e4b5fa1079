"""Prediction as a clinic's laptop has it: without TensorFlow and what comes with it, and without a wait at the start."""

import json
import shutil
import subprocess
import sys

HEAVY = (
    "tensorflow",
    "keras",
    "tf_keras",
    "object_detection",
    "official",
    "tf_slim",
    "matplotlib",
    "scipy",
    "sklearn",
    "tensorboard",
    "optuna",
    "hotcoco",
    "msgspec",
    "pycocotools",
    "google_crc32c",
    "psutil",
    "apache_beam",
    "onnx",
    "highdicom",
)
"""Packages of the full install that the light one does not have."""

REFUSE = f"import sys; sys.modules.update(dict.fromkeys({HEAVY!r}))\n"
"""Python then finds none of them: importing one fails, and ``find_spec`` says that it is not there (Python reference 5.3.1)."""


def run(code, *argv):
    return subprocess.run([sys.executable, "-c", REFUSE + code, *map(str, argv)], capture_output=True, text=True, timeout=300)


def test_predicts_without_the_heavy_packages(model, radiographs, tmp_path):
    (tmp_path / "labels.csv").write_text("patientId,x,y,width,height,Target\nleft,12,24,24,24,1\n")
    flags = [
        "--model",
        model,
        "--input",
        radiographs,
        "--output-dir",
        tmp_path / "out",
        "--labels",
        tmp_path / "labels.csv",
        "--tta",
        "flip",
    ]
    done = run("from pneumodet.cli import predict\nsys.exit(predict.main(sys.argv[1:]))", *flags)
    assert done.returncode == 0, done.stderr
    assert "6 radiographs, 4 with pneumonia" in done.stdout


def test_every_module_of_prediction_comes_without_them():
    """Also those that this run had no need of."""
    code = """
import importlib, pkgutil
import pneumodet.inference, pneumodet.inference.predict
for package in (pneumodet.inference.predict, pneumodet.inference):
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
"""
    done = run(code)
    assert done.returncode == 0, done.stderr


def test_imports_little():
    """What takes time to import, a model's runtime, pydicom, HTTP, comes when it is needed."""
    code = """
from pneumodet.cli import predict
from pneumodet.inference.predict import predicting
import json, time
print(json.dumps([time.process_time(), *sorted(sys.modules)]))
"""
    done = run(code)
    assert done.returncode == 0, done.stderr
    seconds, *loaded = json.loads(done.stdout)
    assert seconds < 1, "of the processor, Python's own start included"
    assert not {"onnxruntime", "ai_edge_litert", "pydicom", "requests", "urllib3"} & set(loaded)


def test_savedmodel_without_tensorflow_says_what_to_do(model, radiographs, tmp_path):
    model_copy = shutil.copytree(model, tmp_path / "model")
    (model_copy / "saved_model").mkdir()
    card = json.loads((model_copy / "model.json").read_text())
    card["artefacts"] = {"savedmodel": {"file": "saved_model", "outputs": "detections"}}
    (model_copy / "model.json").write_text(json.dumps(card))
    flags = ["--model", model_copy, "--input", radiographs, "--output-dir", tmp_path / "out", "--backend", "savedmodel"]
    done = run("from pneumodet.cli import predict\nsys.exit(predict.main(sys.argv[1:]))", *flags)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "needs the package tensorflow" in done.stderr
