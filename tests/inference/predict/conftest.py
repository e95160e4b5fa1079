"""A model and a folder of radiographs that the tests of prediction share; no TensorFlow."""

import pytest
import squares


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """Return the folder of a model that finds bright squares."""
    pytest.importorskip("onnx", reason="the tests' model is made with onnx")
    pytest.importorskip("onnxruntime", reason="the tests' model is run by onnxruntime")
    import tiny_export

    return tiny_export.make(tmp_path_factory.mktemp("model") / "export")


@pytest.fixture(scope="session")
def radiographs(tmp_path_factory):
    """Return a folder of six DICOM files, not to be changed."""
    return squares.write_folder(tmp_path_factory.mktemp("radiographs"))
