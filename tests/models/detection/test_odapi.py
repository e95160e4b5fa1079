"""Each bridge of odapi: what it makes possible works, and stops working when that bridge is taken away."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from pneumodet.models.detection import odapi_wheel

USES = {
    "parts": """
from object_detection.builders import optimizer_builder
from object_detection.metrics import lvis_evaluation
from object_detection.models import ssd_efficientnet_bifpn_feature_extractor as extractor
assert extractor.efficientnet_model.EfficientNet and optimizer_builder.ema_optimizer.ExponentialMovingAverage and lvis_evaluation.lvis_results
""",
    "estimator": "api.inputs; api.model_lib",
    "tensorflow_io": """
from object_detection.meta_architectures import deepmac_meta_arch
from pneumodet.core.errors import EnvironmentProblem
try:
    deepmac_meta_arch.tfio.experimental
except EnvironmentProblem:
    pass
else:
    raise SystemExit("tensorflow_io was the real one")
""",
    "keras": """
from object_detection.models.keras_models import resnet_v1
import tf_keras
assert isinstance(resnet_v1.resnet_v1_18(weights=None, include_top=False), tf_keras.Model)
""",
    "control_flow": """
import tensorflow as tf
from object_detection.data_decoders import tf_example_decoder
image = tf.io.encode_jpeg(tf.zeros([8, 9, 1], tf.uint8)).numpy()
feature = {"image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image])),
           "image/format": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"jpeg"]))}
example = tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()
assert tf_example_decoder.TfExampleDecoder().decode(tf.constant(example))["image"].shape == (8, 9, 3)
""",
    "font_size": """
import numpy as np
picture = np.zeros([80, 80, 3], np.uint8)
api.visualization.draw_bounding_box_on_image_array(picture, 0.3, 0.2, 0.8, 0.9, display_str_list=["pneumonia: 90%"])
assert picture.any()
""",
    "no_download_while_building": """
import tf_keras
def refuse(*args, **kwargs):
    raise RuntimeError("a download was tried")
tf_keras.utils.get_file = refuse
tf_keras.src.utils.data_utils.get_file = refuse
from tf_keras.src.applications import mobilenet_v2
mobilenet_v2.data_utils.get_file = refuse
from object_detection.models import center_net_mobilenet_v2_fpn_feature_extractor as extractor
extractor.mobilenet_v2_fpn((0., 0., 0.), (1., 1., 1.), False)
""",
    "fine_tune_without_save_counter": """
import tempfile, tensorflow as tf
class Model:
    def __init__(self, value): self.part = tf.Module(); self.part.v = tf.Variable(value)
    def restore_from_objects(self, fine_tune_checkpoint_type): return {"model": self.part}
path = tf.train.Checkpoint(model=Model(3.0).part).write(tempfile.mkdtemp() + "/ckpt")
model = Model(0.0)
api.model_lib_v2.load_fine_tune_checkpoint(model, path, "full", None, False, None, True)
assert model.part.v.numpy() == 3.0
""",
}

ERRORS = {
    "parts": "No module named 'official'",
    "estimator": "cannot import name 'estimator'",
    "tensorflow_io": "tensorflow_io|tensorflow-io|was the real one",
    "keras": "has no attribute 'ResNet'|AssertionError",
    "control_flow": "has no attribute 'case'|has no attribute 'cond'",
    "font_size": "has no attribute 'getsize'",
    "no_download_while_building": "a download was tried|fetch failure",
    "fine_tune_without_save_counter": "save_counter|Unresolved object",
}


ALONE = {
    "with no_download_while_building": f"api = odapi.load()\n{USES['no_download_while_building']}",  # it changes tf_keras
    "afterwards": """
import keras
before = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "keras"}
assert odapi.load() is odapi.load()
import keras.applications
assert sys.modules["keras"] is keras and keras.__version__.startswith("3.")
assert all(sys.modules[name] is module for name, module in before.items())
assert "tensorflow_io" not in sys.modules
import tensorflow.compat.v1 as tf1
assert not hasattr(tf1, "estimator")
""",
    **{
        f"without {name}": f"""
odapi.BRIDGES = tuple(bridge for bridge in odapi.BRIDGES if bridge.__name__ != {name!r})
api = odapi.load()
{use}"""
        for name, use in USES.items()
    },
}
"""What imports the API in a way of its own, each in a process of its own."""

FORKS = """
import json, os, sys, traceback
from pneumodet.models.detection import odapi
import tensorflow  # imported, but not used: its threads are not there yet
assert "object_detection" not in sys.modules
answers = {}
for name, code in json.load(sys.stdin).items():
    reader, writer = os.pipe()
    if not os.fork():
        try:
            exec(code, {"odapi": odapi, "sys": sys})
        except BaseException:
            os.write(writer, traceback.format_exc()[-30000:].encode())
        os._exit(0)
    os.close(writer)
    with open(reader, encoding="utf-8") as file:
        answers[name] = file.read()
    os.wait()
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def raised():
    """Return name of ``ALONE`` -> the traceback with which it ended, or "" where there was none; TensorFlow is imported once for all."""
    done = subprocess.run([sys.executable, "-c", FORKS], input=json.dumps(ALONE), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_every_bridge_is_tested():
    from pneumodet.models.detection import odapi

    assert {bridge.__name__ for bridge in odapi.BRIDGES} == USES.keys() | {"legacy_keras"}
    assert USES.keys() == ERRORS.keys()


@pytest.mark.parametrize("name", [name for name in USES if f"with {name}" not in ALONE])
def test_with_the_bridge(name):
    from pneumodet.models.detection import odapi

    exec(USES[name], {"api": odapi.load()})


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in USES if f"with {name}" in ALONE])
def test_with_the_bridge_alone(name, raised):
    assert raised[f"with {name}"] == ""


@pytest.mark.slow
@pytest.mark.parametrize("name", USES)
def test_without_the_bridge(name, raised):
    if name == "parts" and importlib.util.find_spec("official"):
        pytest.skip("tf-models-official is installed, in which the API finds what it imports")
    error = raised[f"without {name}"]
    assert error, "the API works without this bridge: remove it"
    assert any(part in error for part in ERRORS[name].split("|")), error[-2000:]


@pytest.mark.slow
def test_keras_3_is_refused():
    """Without the bridge the API would fail much later, in the middle of building a model."""
    code = "import tensorflow as tf; tf.keras; from pneumodet.models.detection import odapi; odapi.load()"
    env = {**os.environ, "TF_USE_LEGACY_KERAS": "0"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=env)
    assert "EnvironmentProblem: TensorFlow was imported with Keras 3" in done.stderr


@pytest.mark.slow
def test_keras_and_tensorflow_io_are_themselves_afterwards(raised):
    assert raised["afterwards"] == ""


def test_protos_need_no_tensorflow():
    code = "import sys; from pneumodet.models.detection import odapi; odapi.protos(); assert 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_wrong_release_is_named(monkeypatch):
    from pneumodet.core.errors import EnvironmentProblem
    from pneumodet.models.detection import odapi

    monkeypatch.setattr(odapi.metadata, "version", lambda name: "0.2")
    with pytest.raises(EnvironmentProblem, match=r"0\.2 is installed, but 0\.1\+pneumodet\.1 is needed\. Run 'pneumodet setup-api'"):
        odapi.check_distribution()


@pytest.mark.parametrize("version", ["0.1", odapi_wheel.VERSION])
def test_the_release_of_the_index_and_the_rebuilt_one_are_taken(monkeypatch, version):
    from pneumodet.models.detection import odapi

    monkeypatch.setattr(odapi.metadata, "version", lambda name: version)
    odapi.check_distribution()
