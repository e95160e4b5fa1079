"""Keyed hashes in place of ids."""

import hashlib
import hmac
import json
import stat

import pydicom
import pytest
from record_making import convert, records

from pneumodet.core.errors import DataError
from pneumodet.data import annotations, cautions, images, manifest, pseudonyms
from pneumodet.dicom import header_facts


def test_the_same_key_gives_the_same_name_and_another_another():
    one, other = pseudonyms.Pseudonyms(b"k" * 32), pseudonyms.Pseudonyms(b"K" * 32)
    assert one("MRN-4711") == pseudonyms.Pseudonyms(b"k" * 32)("MRN-4711") != other("MRN-4711")
    assert one("MRN-4711") == hmac.new(b"k" * 32, b"MRN-4711", hashlib.sha256).hexdigest()[:32]
    assert pseudonyms.Pseudonyms(None)("MRN-4711") == "MRN-4711"


def test_a_missing_key_is_made_once_for_its_owner_only(tmp_path):
    path = tmp_path / "keys" / "study.key"
    key = pseudonyms.read_or_make_key(path)
    assert len(key) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert pseudonyms.read_or_make_key(path) == key != pseudonyms.read_or_make_key(tmp_path / "other")


@pytest.mark.parametrize("text", ["", "abcd", "not hex", "é"])
def test_a_file_that_is_no_key(tmp_path, text):
    (tmp_path / "key").write_text(text)
    with pytest.raises(DataError, match="is no key: it must hold 64 hex digits"):
        pseudonyms.read_or_make_key(tmp_path / "key")


def test_no_id_is_left_anywhere(synthetic, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    exams = annotations.read_rsna_labels(synthetic.labels).exams
    names = {exam: f"MRN{index:03d}" for index, exam in enumerate(exams)}
    for exam, name in names.items():
        dataset = pydicom.dcmread(synthetic.dicom_dir / f"{exam}.dcm")
        dataset.PatientName, dataset.PatientID = "DOE^JANE", name
        dataset.save_as(folder / f"{name}.dcm")
    spoilt = sorted(folder.iterdir())
    spoilt[0].write_bytes(spoilt[0].read_bytes()[:-300])
    (folder / "MRNcopy.dcm").write_bytes(spoilt[1].read_bytes())
    (folder / "MRNtext").write_text("no DICOM")
    labels = tmp_path / "labels.csv"
    text = synthetic.labels.read_text()
    for exam, name in names.items():
        text = text.replace(exam, name)
    labels.write_text(text + "MRN999,,,,,0\nMRN998,1,2,3,4,9\n")
    patients = tmp_path / "patients.csv"
    patients.write_text("patientId,patient\n" + "".join(f"{name},MRN-PATIENT{index // 2}\n" for index, name in enumerate(names.values())))
    arguments = {"dicom_dir": folder, "labels": labels, "patient_map": patients, "quality": "report"}
    key = b"k" * 32
    manifest = convert(synthetic, tmp_path / "out", pseudonym_key=key, **arguments)
    for path in (tmp_path / "out").rglob("*"):
        assert path.is_dir() or b"MRN" not in path.read_bytes(), path.name
        assert path.is_dir() or b"DOE" not in path.read_bytes(), path.name
    assert "MRN" not in json.dumps(manifest)
    assert [text.partition(": ")[2] for text in manifest["skipped"]["label rejected"]] == [
        f"line {len(labels.read_text().splitlines())} of the labels"
    ]
    plain = convert(synthetic, tmp_path / "plain", **arguments)
    alias = pseudonyms.Pseudonyms(key)
    assert sum(map(len, manifest["skipped"].values())) == sum(map(len, plain["skipped"].values())) == 5
    expected = {alias(record.patient_id): record.encoded for record in records(tmp_path / "plain")}
    assert {record.patient_id: record.encoded for record in records(tmp_path / "out")} == expected
    again = convert(synthetic, tmp_path / "again", pseudonym_key=key, split_file=tmp_path / "out" / "split.csv", seed=7, **arguments)
    assert (tmp_path / "again" / "split.csv").read_bytes() == (tmp_path / "out" / "split.csv").read_bytes(), "pseudonyms of the same key"
    assert again["seed"] == 7


def test_neither_order_nor_split_tell_who_it_is(synthetic, tmp_path):
    """Whoever has the list of ids must not find them again by repeating what needs no key."""
    orders = []
    for key in (b"k" * 32, b"K" * 32):
        convert(synthetic, tmp_path / key.decode(), pseudonym_key=key, patient_map=synthetic.patient_map)
        encoded = [record.encoded for record in records(tmp_path / key.decode())]
        orders.append([encoded.index(one) for one in sorted(encoded)])
    plain = tmp_path / "plain"
    convert(synthetic, plain, patient_map=synthetic.patient_map)
    encoded = [record.encoded for record in records(plain)]
    orders.append([encoded.index(one) for one in sorted(encoded)])
    assert len({tuple(order) for order in orders}) == 3


def test_writing_on_the_image_is_counted_and_warned_of(change):
    image = images.encode(change(BurnedInAnnotation="YES"))
    assert header_facts.BURNED_IN_NOTE in image.notes
    counts = {f"{manifest.IMAGE_NOTE}{note}": 3 for note in image.notes}
    with_pseudonyms, without = (cautions.of(manifest.Manifest(label_map={}, pseudonyms=yes, counts=counts)) for yes in (True, False))
    assert [text for text in with_pseudonyms if text not in without][0].startswith("3 images say that they have writing burned in")
    assert header_facts.BURNED_IN_NOTE not in images.encode(change(BurnedInAnnotation="NO")).notes
