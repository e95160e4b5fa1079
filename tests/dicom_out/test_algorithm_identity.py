"""Who found it, and the UIDs made of that."""

import hashlib
import uuid

import pytest

from pneumodet.dicom_out import identifiers, library
from pneumodet.dicom_out.identifiers import Algorithm
from pneumodet.errors import DataError, EnvironmentProblem
from pneumodet.inference.exported import Exported


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    monkeypatch.setattr(library, "check", lambda: None)


def exported(folder, artefacts, run="my_first"):
    return Exported(folder, {"pneumonia": 2}, 0.3, {"run": run}, artefacts)


def test_a_model_is_named_by_run_and_hash(tmp_path):
    found = Algorithm.of(exported(tmp_path, {"onnx": {"file": "model.onnx", "sha256": "ab" * 32}}))
    assert (found.name, found.version, found.manufacturer, found.parameters) == ("pneumodet my_first", "ab" * 6, "pneumodet", ())


def test_the_version_does_not_depend_on_the_order_of_the_files(tmp_path):
    one, other = ("onnx", {"file": "model.onnx", "sha256": "ab" * 32}), ("savedmodel", {"file": "saved_model", "sha256": "cd" * 32})
    assert {Algorithm.of(exported(tmp_path, dict(pairs))).version for pairs in ([one, other], [other, one])} == {"cd" * 6}


def test_an_old_export_without_a_hash_is_hashed(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"weights")
    found = Algorithm.of(exported(tmp_path, {"onnx": {"file": "model.onnx"}}))
    assert found.version == hashlib.sha256(b"weights").hexdigest()[:12]


def test_a_run_s_name_is_made_plain(tmp_path):
    artefacts = {"onnx": {"file": "model.onnx", "sha256": "ab" * 32}}
    assert Algorithm.of(exported(tmp_path, artefacts, "modèle\\1\n")).name == "pneumodet mod_le_1_"
    assert Algorithm.of(exported(tmp_path, artefacts, None)).name == "pneumodet"


def test_without_highdicom_it_is_said_before_anything_is_read(tmp_path, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(library.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentProblem, match=r"pip install 'pneumodet\[dicom\]'"):
        Algorithm.of(exported(tmp_path, {"onnx": {"file": "model.onnx", "sha256": "ab" * 32}}))


@pytest.mark.parametrize("field", ["name", "version", "manufacturer"])
@pytest.mark.parametrize("text", ["", "a\\b", "modèle", "two\nlines"])
def test_texts_that_dicom_cannot_hold_are_refused(field, text):
    with pytest.raises(DataError, match=f"algorithm's {field}"):
        Algorithm(**({"name": "n", "version": "v"} | {field: text}))


def test_uids_are_valid_and_depend_on_every_part():
    found = {identifiers.uid(*parts) for parts in (("a", "b"), ("b", "a"), ("ab",), ("a", "b", "c"), ("a",))}
    assert len(found) == 5
    assert identifiers.uid("a", "b") == identifiers.uid("a", "b")
    for one in found:
        prefix, _, number = one.rpartition(".")
        assert prefix == "2.25" and len(one) <= 64 and number == str(int(number))
        assert uuid.UUID(int=int(number)).variant == uuid.RFC_4122


def test_a_uid_stays_what_it_was():
    """Reports that archives hold already were made with it."""
    assert identifiers.uid("instance", "1.2.3") == "2.25.251347448968821172219977474659574977534"
