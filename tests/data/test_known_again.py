"""The same exams in record sets that are made in another way: the ground truth has by what they, and their patients, are known again."""

import io
import itertools
import json

import numpy as np
import pytest
from PIL import Image
from record_making import convert

from pneumodet.core.overlap import Overlap, count
from pneumodet.core.seen import PATIENT, SOURCE, Exams, Marks, Seen
from pneumodet.data import annotations, image_files
from pneumodet.data.encoding import Options

KEY = b"k" * 32
WAYS = {
    "as they are": {},
    "of another size": {"max_side": 64},
    "pseudonymized": {"pseudonym_key": KEY},
    "of another size, pseudonymized": {"max_side": 96, "pseudonym_key": KEY},
    "of other gray values, pseudonymized with another key": {"normalize": "clahe", "pseudonym_key": b"x" * 32},
}


@pytest.fixture(scope="module")
def images(synthetic, tmp_path_factory):
    """Return way -> the images of the ground truth of all splits; every set is split by its patient map."""
    found = {}
    for way, arguments in WAYS.items():
        folder = tmp_path_factory.mktemp("ways") / "out"
        convert(synthetic, folder, patient_map=synthetic.patient_map, **arguments)
        found[way] = [image for path in sorted(folder.glob("instances_*.json")) for image in json.loads(path.read_text())["images"]]
    return found


@pytest.mark.parametrize(("one", "other"), itertools.permutations(WAYS, 2))
def test_exams_are_known_again(images, synthetic, one, other):
    known = Seen(trained=Marks.of(Exams.of(images[one][:5])))
    counted = count({"": known}, Exams.of(images[other])).trained
    assert counted.exams == 5 and not counted.by_id_alone
    patients = annotations.read_patient_map(synthetic.patient_map)
    if "pseudonymized" not in one and "pseudonymized" not in other:
        seen = {patients[image["file_name"]] for image in images[one][:5]}
        expected = [image for image in images[other] if patients[image["file_name"]] in seen]
        assert counted == Overlap(exams=5, patients=len(seen), of_such_patients=len(expected) - 5)


def test_what_the_ground_truth_holds(images, synthetic):
    plain, small, hidden = images["as they are"], images["of another size"], images["of another size, pseudonymized"]
    assert all(SOURCE not in image for image in plain), "records that are copied are the source's own"
    assert {image[SOURCE] for image in small} == {image[SOURCE] for image in hidden} == {image["sha256"] for image in plain}
    assert len({image[PATIENT] for image in plain}) == len(set(annotations.read_patient_map(synthetic.patient_map).values()))
    assert not {image[PATIENT] for image in plain} & {image[PATIENT] for image in hidden}, (
        "hashes of pseudonyms, which need the study's key"
    )


def test_no_hash_of_a_patient_where_none_is_known(synthetic, tmp_path):
    convert(synthetic, tmp_path / "out")
    assert not any(PATIENT in image for image in json.loads((tmp_path / "out" / "instances_train.json").read_text())["images"])


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF"])
def test_an_image_file_is_the_same_at_any_size(form):
    buffer = io.BytesIO()
    Image.fromarray(np.arange(48 * 40, dtype=np.uint32).astype(np.uint8).reshape(48, 40)).save(buffer, form)
    data = buffer.getvalue()
    one, other = (image_files.encode_bytes(data, "a file", options).source_sha256 for options in (Options(), Options(max_side=20)))
    assert one == other and len(one) == 64
