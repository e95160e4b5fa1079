"""The one door to the TensorFlow Object Detection API: makes release 0.1 (December 2022) run on TensorFlow 2.20 and 2.21.

    api = odapi.load()                       # imports TensorFlow and the API, about 6 seconds
    model = api.model_builder.build(config.model, is_training=True)

    protos = odapi.protos()                  # the config messages alone, without TensorFlow

No other module imports ``object_detection``. Each bridge below is one entry of ``BRIDGES`` and says what the API expects and
what the installed packages do now. Bridges are put up around the API's own imports; what can be taken down afterwards is, so
that ``keras`` is Keras 3 and ``tensorflow_io`` is itself again for everyone else. Those that change a line of the API's source are in ``odapi_edits``.
"""

import contextlib
import functools
import importlib
import os
import sys
import types
from collections.abc import Callable, Iterator
from importlib import metadata
from typing import Any

from pneumodet.core.errors import EnvironmentProblem
from pneumodet.models.detection import odapi_colors, odapi_edits, odapi_mobilenet_fpn
from pneumodet.models.detection.odapi_wheel import BRIDGED, DISTRIBUTION, PARTS

Config = Any
"""A TrainEvalPipelineConfig. The API's messages are built when they are imported, from descriptors, and come without stubs; ``Message`` of protobuf
itself knows none of their fields. A type checker can only take them as they come."""

Message = Any
"""A part of a ``Config``, such as its model or its anchor generator."""

MODULES = {
    "anchor_generator_builder": "object_detection.builders.anchor_generator_builder",
    "config_util": "object_detection.utils.config_util",
    "exporter": "object_detection.exporter_lib_v2",
    "export_tflite": "object_detection.export_tflite_graph_lib_tf2",
    "fields": "object_detection.core.standard_fields",
    "inputs": "object_detection.inputs",
    "model_builder": "object_detection.builders.model_builder",
    "model_lib": "object_detection.model_lib",
    "model_lib_v2": "object_detection.model_lib_v2",
    "optimizer_builder": "object_detection.builders.optimizer_builder",
    "visualization": "object_detection.utils.visualization_utils",
}
"""Attribute of ``load()``'s result -> module of the API."""

_CENTERNET_MOBILENETS = (
    "object_detection.models.center_net_mobilenet_v2_feature_extractor",
    "object_detection.models.center_net_mobilenet_v2_fpn_feature_extractor",
)


class _StandIn(types.ModuleType):
    """Takes the place of a module that the API imports and of which it uses little or nothing; whatever is not set here raises."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name)
        self.__reason = reason

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):  # import machinery and introspection ask for these
            raise AttributeError(attribute)
        raise EnvironmentProblem(f"{self.__name__}.{attribute} was asked for, but {self.__reason}.")


class _Overlay(types.SimpleNamespace):
    """A module with a few replaced attributes; everything else is the module's own."""

    def __init__(self, module: Any, **replaced: Any) -> None:
        super().__init__(**replaced)
        self._module = module

    def __getattr__(self, name: str) -> Any:
        # by __dict__: self._module would come back here where it is not set, as in a copy that is being made
        return getattr(self.__dict__["_module"], name)


@contextlib.contextmanager
def _sys_modules(prefix: str, replacements: dict[str, Any]) -> Iterator[None]:
    """Let ``prefix`` and its submodules be ``replacements`` in sys.modules for a while, then what they were before."""

    def ours() -> list[str]:
        return [name for name in sys.modules if name == prefix or name.startswith(prefix + ".")]

    # taken out and put back as a whole: a submodule that stayed would be a mix of the stand-in and of the real package
    before = {name: sys.modules.pop(name) for name in ours()}
    sys.modules.update(replacements)
    try:
        yield
    finally:
        for name in ours():
            del sys.modules[name]
        sys.modules.update(before)


@contextlib.contextmanager
def parts() -> Iterator[None]:
    """The API imports a moving average and EfficientNet from ``official`` and results from ``lvis``; ``setup-api`` packs these few modules beside it.

    Where pip installed the API as it is on PyPI, tf-models-official and lvis are there themselves.
    """
    folder = metadata.distribution(DISTRIBUTION).locate_file(PARTS)
    if not os.path.isdir(str(folder)):
        yield
        return
    sys.path.insert(0, str(folder))
    try:
        # out of sys.modules before and after: an installed tf-models-official is itself again for everyone else
        with _sys_modules("official", {}), _sys_modules("lvis", {}):
            yield
    finally:
        sys.path.remove(str(folder))


@contextlib.contextmanager
def legacy_keras() -> Iterator[None]:
    """The API builds its models with Keras 2; since TensorFlow 2.16 ``tf.keras`` is Keras 3 unless TF_USE_LEGACY_KERAS says otherwise.

    ``pneumodet.models.detection`` sets the variable, which works only before TensorFlow is imported.
    """
    import tensorflow as tf
    import tf_keras

    if tf.keras.Model is not tf_keras.Model:
        raise EnvironmentProblem(
            "TensorFlow was imported with Keras 3, but the Object Detection API needs Keras 2. "
            "Import pneumodet.models.detection before TensorFlow, or set TF_USE_LEGACY_KERAS=1."
        )
    yield


@contextlib.contextmanager
def estimator() -> Iterator[None]:
    """``inputs`` and ``model_lib`` import ``tensorflow.compat.v1.estimator``; TensorFlow 2.16 removed Estimators."""
    import tensorflow.compat.v1 as tf1

    if hasattr(tf1, "estimator"):
        yield
        return
    tf1.estimator = _StandIn("tensorflow.compat.v1.estimator", "TensorFlow 2.16 removed Estimators")
    try:
        yield
    finally:
        del tf1.estimator


@contextlib.contextmanager
def tensorflow_io() -> Iterator[None]:
    """``deepmac_meta_arch`` imports tensorflow_io for one colour conversion, that of its colour loss; its last release was built for TensorFlow 2.16."""
    stand_in: Any = _StandIn(
        "tensorflow_io", "its last release does not fit today's TensorFlow, and of what is in it only rgb_to_lab is here"
    )
    stand_in.experimental = types.SimpleNamespace(color=types.SimpleNamespace(rgb_to_lab=odapi_colors.rgb_to_lab))
    with _sys_modules("tensorflow_io", {"tensorflow_io": stand_in}):
        yield


@contextlib.contextmanager
def keras() -> Iterator[None]:
    """Two modules of the API do ``from keras import …`` and mean Keras 2; the package ``keras`` is Keras 3 now.

    One of them calls ``keras.applications.resnet.ResNet``, which Keras 2 has kept in its private module only.
    """
    import tf_keras
    from tf_keras.src.applications import resnet

    applications = _Overlay(tf_keras.applications, resnet=resnet)
    names = {"keras": tf_keras, "keras.applications": applications, "keras.backend": tf_keras.backend}
    with _sys_modules("keras", names):
        yield


@contextlib.contextmanager
def control_flow() -> Iterator[None]:
    """tf-slim's record decoder calls ``control_flow_ops.case``, ``cond`` and ``while_loop``; they moved to modules of their own."""
    import tensorflow.compat.v1 as tf1
    from tf_slim.data import tfexample_decoder

    if not isinstance(tfexample_decoder.control_flow_ops, _Overlay):
        tfexample_decoder.control_flow_ops = _Overlay(
            tfexample_decoder.control_flow_ops, case=tf1.case, cond=tf1.cond, while_loop=tf1.while_loop
        )
    yield


@contextlib.contextmanager
def font_size() -> Iterator[None]:
    """``visualization_utils`` measures text by ``font.getsize``, which Pillow 10 removed in favour of ``getbbox``."""
    yield
    vutils: Any = importlib.import_module(MODULES["visualization"])
    if isinstance(vutils.ImageFont, _Overlay):
        return

    def measured(make: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(make)
        def with_getsize(*args: Any, **kwargs: Any) -> Any:
            font = make(*args, **kwargs)
            font.getsize = lambda text: tuple(font.getbbox(text)[2:])
            return font

        return with_getsize

    vutils.ImageFont = _Overlay(
        vutils.ImageFont, truetype=measured(vutils.ImageFont.truetype), load_default=measured(vutils.ImageFont.load_default)
    )


@contextlib.contextmanager
def no_download_while_building() -> Iterator[None]:
    """CenterNet's MobileNetV2 fetches ImageNet weights while it is built, which fails offline and hangs behind some firewalls.

    Weights come from ``fine_tune_checkpoint``, as for every other model.
    """
    yield
    for name in _CENTERNET_MOBILENETS:
        module: Any = importlib.import_module(name)
        if isinstance(module.mobilenetv2, _Overlay):
            continue
        build = module.mobilenetv2.mobilenet_v2

        def without_weights(*args: Any, _build: Callable[..., Any] = build, **kwargs: Any) -> Any:
            return _build(*args, **{**kwargs, "weights": None})

        module.mobilenetv2 = _Overlay(module.mobilenetv2, mobilenet_v2=without_weights)


@contextlib.contextmanager
def fine_tune_without_save_counter() -> Iterator[None]:
    """``load_fine_tune_checkpoint`` also demands ``save_counter``, which ``Checkpoint.write`` does not store.

    Same steps as upstream's, with ``read`` (no counter) in place of ``restore``; ``train_loop`` finds it under the old name.
    """
    yield
    import tensorflow as tf

    lib: Any = importlib.import_module(MODULES["model_lib_v2"])

    def load_fine_tune_checkpoint(
        model: Any,
        checkpoint_path: str,
        checkpoint_type: str,
        checkpoint_version: Any,
        run_model_on_dummy_input: bool,
        input_dataset: Any,
        unpad_groundtruth_tensors: bool,
    ) -> None:
        del checkpoint_version  # only V2 exists on TensorFlow 2
        if run_model_on_dummy_input:
            lib._ensure_model_is_built(model, input_dataset, unpad_groundtruth_tensors)
        parts = model.restore_from_objects(fine_tune_checkpoint_type=checkpoint_type)
        lib.validate_tf_v2_checkpoint_restore_map(parts)
        tf.train.Checkpoint(**parts).read(checkpoint_path).expect_partial().assert_existing_objects_matched()

    lib.load_fine_tune_checkpoint = load_fine_tune_checkpoint


@contextlib.contextmanager
def mobilenet_fpn() -> Iterator[None]:
    """``model_builder`` knows no Faster R-CNN with a backbone that a laptop trains; with this it builds the one of ``odapi_mobilenet_fpn``."""
    yield
    builder: Any = importlib.import_module(MODULES["model_builder"])
    builder.FASTER_RCNN_KERAS_FEATURE_EXTRACTOR_CLASS_MAP[odapi_mobilenet_fpn.TYPE] = odapi_mobilenet_fpn.extractor(
        importlib.import_module("object_detection.models.faster_rcnn_resnet_v1_fpn_keras_feature_extractor"),
        importlib.import_module("object_detection.models.keras_models.mobilenet_v2"),
    )


BRIDGES: tuple[Callable[[], contextlib.AbstractContextManager[None]], ...] = (
    legacy_keras,
    parts,
    estimator,
    tensorflow_io,
    keras,
    control_flow,
    font_size,
    no_download_while_building,
    fine_tune_without_save_counter,
    odapi_edits.numpy_names,
    odapi_edits.one_element_arrays,
    odapi_edits.empty_boxes,
    odapi_edits.canvas_pixels,
    odapi_edits.losses_of_boxes,
    odapi_edits.crops_of_any_batch,
    mobilenet_fpn,
)
"""Every bridge, in the order in which it is put up. A test takes each one away and sees the API fail."""


@functools.cache
def load() -> types.SimpleNamespace:
    """Import the API with every bridge in place.

    Returns:
      A namespace with the API's modules by the names in ``MODULES``, and ``protos`` as from ``protos()``.

    Raises:
      EnvironmentProblem: a package is missing or does not fit, or TensorFlow was imported with Keras 3 before.
    """
    check_distribution()
    try:
        # all at once around all imports: the API's modules import one another, so that the first import already meets every gap
        with contextlib.ExitStack() as stack:
            for bridge in BRIDGES:
                stack.enter_context(bridge())
            modules = {name: importlib.import_module(path) for name, path in MODULES.items()}
    except ImportError as error:
        raise EnvironmentProblem(
            f"The TensorFlow Object Detection API cannot be imported ({error}). Run 'python tools/doctor.py', which names the package to fix."
        ) from error
    return types.SimpleNamespace(**modules, protos=protos())


@functools.cache
def protos() -> types.SimpleNamespace:
    """Import the API's config messages alone; needs protobuf, but not TensorFlow.

    Returns:
      A namespace with the modules ``pipeline``, ``train``, ``eval``, ``input_reader``, ``model``, ``string_int_label_map``.

    Raises:
      EnvironmentProblem: the API is not installed, or another distribution of it.
    """
    check_distribution()
    names = ("pipeline", "train", "eval", "input_reader", "model", "string_int_label_map")
    try:
        return types.SimpleNamespace(**{name: importlib.import_module(f"object_detection.protos.{name}_pb2") for name in names})
    except (ImportError, TypeError) as error:  # TypeError: messages generated before protoc 3.19
        raise EnvironmentProblem(
            f"The API's config messages cannot be imported ({error}). Run 'python tools/doctor.py', which names the package to fix."
        ) from error


def check_distribution() -> None:
    """Raise EnvironmentProblem unless the distribution that the bridges were made for is installed."""
    fix = "Run 'pneumodet setup-api', which fetches and installs it (4 MB)."
    try:
        version = metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        raise EnvironmentProblem(f"The TensorFlow Object Detection API is not installed. {fix}") from None
    if version not in BRIDGED:
        raise EnvironmentProblem(f"{DISTRIBUTION} {version} is installed, but {BRIDGED[0]} is needed. {fix}")
