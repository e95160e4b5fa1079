"""Each bridge of odapi: what it makes possible works, and stops working when that bridge is taken away."""

import importlib.util
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pneumodet.models.detection import odapi_edits, odapi_wheel

USES = {
    "parts": """
from object_detection.builders import optimizer_builder
from object_detection.metrics import lvis_evaluation
from object_detection.models import ssd_efficientnet_bifpn_feature_extractor as extractor
assert extractor.efficientnet_model.EfficientNet and optimizer_builder.ema_optimizer.ExponentialMovingAverage and lvis_evaluation.lvis_results
""",
    "estimator": "api.inputs; api.model_lib",
    "tensorflow_io": """
import cv2, numpy as np
from object_detection.meta_architectures import deepmac_meta_arch
from pneumodet.core.errors import EnvironmentProblem
try:
    deepmac_meta_arch.tfio.genome
except EnvironmentProblem:
    pass
else:
    raise SystemExit("tensorflow_io was the real one")
image = np.float32(np.random.default_rng(0).uniform(0, 1, (16, 16, 3)) ** 3)  # many dark ones, and a black, a white and a red one
image[0, :3] = [[0, 0, 0], [1, 1, 1], [1, 0, 0]]
lab = deepmac_meta_arch.tfio.experimental.color.rgb_to_lab(image).numpy()
np.testing.assert_allclose(lab[0, :3], [[0, 0, 0], [100, 0, 0], [53.24, 80.09, 67.2]], atol=0.02)
np.testing.assert_allclose(lab, cv2.cvtColor(image, cv2.COLOR_RGB2LAB), atol=0.5)  # which interpolates
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
    "numpy_names": """
import numpy as np
import logging
from object_detection.core import standard_fields as fields
from object_detection.metrics import lvis_tools, tf_example_parser
from object_detection.utils import metrics, object_detection_evaluation as evaluation
pascal = evaluation.PascalDetectionEvaluator([{"id": 1, "name": "pneumonia"}])
boxes = np.array([[10., 20., 60., 70.], [0., 0., 5., 5.]])
truth = {fields.InputDataFields.groundtruth_boxes: boxes[:1], fields.InputDataFields.groundtruth_classes: np.array([1]),
         fields.InputDataFields.groundtruth_difficult: np.array([False])}
found = {fields.DetectionResultFields.detection_boxes: boxes, fields.DetectionResultFields.detection_scores: np.array([0.9, 0.5]),
         fields.DetectionResultFields.detection_classes: np.array([1, 1])}
pascal.add_single_ground_truth_image_info("a", truth)
pascal.add_single_detected_image_info("a", found)
assert pascal.evaluate()["PascalBoxes_Precision/mAP@0.5IOU"] == 1.0
assert np.isnan(metrics.compute_average_precision(None, None))
import tensorflow as tf
example = tf.train.Example()
example.features.feature["score"].float_list.value.extend([0.25, 0.5])
assert tf_example_parser.FloatParser("score").parse(example).tolist() == [0.25, 0.5]
lvis = lvis_tools.lvis_eval.LVISEval.__new__(lvis_tools.lvis_eval.LVISEval)
lvis.params, lvis.eval, lvis.logger = lvis_tools.lvis_eval.Params("bbox"), {}, logging.getLogger("lvis")
lvis.params.cat_ids, lvis.params.img_ids, lvis.params.area_rng, lvis.params.iou_thrs = [1], [1], [[0, 1e9]], [0.5]
hit, ignored = np.array([[1]]), np.array([[False]])
lvis.eval_imgs = [{"dt_scores": [0.9], "dt_matches": hit, "dt_ignore": ignored, "gt_ignore": ignored[0], "dt_ids": [1]}]
lvis.accumulate()
assert lvis.eval["precision"].max() > 0.999
""",
    "one_element_arrays": """
import sys, types, tensorflow as tf
from unittest import mock
beam = types.SimpleNamespace(DoFn=object, metrics=mock.Mock())  # of Apache Beam the script needs no more here
with mock.patch.dict(sys.modules, apache_beam=beam):
    from object_detection.dataset_tools.context_rcnn import generate_embedding_data as script
made = script.GenerateEmbeddingDataFn("", 1, 0)
answer = {"detection_features": tf.ones([1, 2, 3, 3, 4]), "detection_boxes": tf.zeros([1, 2, 4]), "detection_scores": tf.ones([1, 2]),
          "num_detections": tf.constant([2.0])}
class Model: signatures = {"serving_default": lambda images: answer}
made._detect_fn = Model
[(key, example)] = made.process((7, tf.train.Example().SerializeToString()))
assert example.features.feature["image/embedding_count"].int64_list.value[0] == 1
""",
    "empty_boxes": """
import numpy as np
from object_detection.dataset_tools import seq_example_util
boxes = [np.array([[0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8]]), np.zeros([0, 4]), []]
ymin, xmin, ymax, xmax = seq_example_util.boxes_to_box_components(boxes)
assert [part.tolist() for part in xmin] == [np.float32([0.2, 0.6]).tolist(), [], []]
""",
    "canvas_pixels": """
import glob, tempfile, numpy as np, tensorflow as tf
folder = tempfile.mkdtemp()
with tf.summary.create_file_writer(folder).as_default(step=0), tf.Graph().as_default(), tf.compat.v1.Session() as session:
    api.visualization.add_cdf_image_summary(tf.constant([0.1, 0.5, 0.2]), "cdf")
    api.visualization.add_hist_image_summary(tf.constant([0.1, 0.5, 0.2]), tf.constant([0.0, 0.3, 1.0]), "hist")
    summary = tf.compat.v1.Summary.FromString(session.run(tf.compat.v1.summary.merge_all()))
assert len(summary.value) == 2
for value in summary.value:
    chart = tf.io.decode_png(value.image.encoded_image_string).numpy()
    assert chart.shape == (480, 640, 3) and chart.std() > 5
""",
    "losses_of_boxes": """
import types
import tensorflow as tf
from object_detection.meta_architectures import ssd_meta_arch
given = []
class WeightedGIOULocalizationLoss:
    def __call__(self, predicted, target, **more):
        given.extend([predicted, target])
        raise LookupError
none, codes = tf.zeros([0, 1]), tf.zeros([1, 1, 4])
model = types.SimpleNamespace(
    groundtruth_has_field=lambda field: False, groundtruth_lists=lambda field: [], _add_summaries=False, _random_example_sampler=None,
    _assign_targets=lambda *args: (none, none, codes + 2, none, none), _localization_loss=WeightedGIOULocalizationLoss(),
    anchors=types.SimpleNamespace(get=lambda: 5.0), _batch_decode=lambda codes, anchors: (codes + anchors, None))
try:
    ssd_meta_arch.SSDMetaArch.loss(model, {"box_encodings": codes + 1}, None)
except LookupError:
    pass
assert [float(one[0, 0, 0]) for one in given] == [6.0, 7.0], "encodings, not boxes"
""",
    "crops_of_any_batch": """
import tensorflow as tf
from object_detection.utils import spatial_transform_ops as ops
kinds = [tf.TensorSpec([None, 8, 8, 1]), tf.TensorSpec([None, 3, 4]), tf.TensorSpec([None, 3], tf.int32)]
crop = tf.function(lambda one, boxes, levels: ops.multilevel_native_crop_and_resize([one, one + 5], boxes, levels, [2, 2]), kinds)
whole = tf.tile([[[0.0, 0.0, 1.0, 1.0]]], [2, 3, 1])
levels = tf.constant([[0, 1, 0], [1, 1, 0]])
assert crop(tf.zeros([2, 8, 8, 1]), whole, levels)[..., 0, 0, 0].numpy().tolist() == [[0, 5, 0], [5, 5, 0]]
""",
    "mobilenet_fpn": 'api.model_builder._check_feature_extractor_exists("faster_rcnn_mobilenet_v2_fpn_keras")',
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
    "numpy_names": "module 'numpy' has no attribute 'float'",
    "one_element_arrays": "only 0-dimensional arrays can be converted",
    "empty_boxes": "operands could not be broadcast together",
    "canvas_pixels": "has no attribute 'tostring_rgb'",
    "losses_of_boxes": "encodings, not boxes",
    "crops_of_any_batch": "partially known TensorShape",
    "mobilenet_fpn": "faster_rcnn_mobilenet_v2_fpn_keras is not supported",
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


@pytest.mark.parametrize("edit", odapi_edits.EDITS, ids=lambda edit: f"{edit.module.rpartition('.')[2]}: {edit.new}")
def test_an_edit_replaces_one_text_and_moves_no_line(edit):
    from pneumodet.models.detection import odapi

    package, _, rest = edit.module.partition(".")
    with odapi.parts():
        root = importlib.util.find_spec(package).submodule_search_locations[0]
    source = Path(root, *rest.split(".")).with_suffix(".py").read_text()
    assert source.count(edit.old) == 1
    assert edit.new.count("\n") == edit.old.count("\n")


def test_autograph_and_tracebacks_read_the_edited_source():
    from tensorflow.python.autograph.pyct import parser

    from pneumodet.models.detection import odapi

    function = odapi.load().visualization.add_cdf_image_summary
    for text in (inspect.getsource(function), parser.parse_entity(function, ())[1]):
        assert "buffer_rgba" in text and "tostring_rgb" not in text


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
