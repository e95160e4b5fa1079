"""Splits: by patient, the same everywhere, and in place when exams are added."""

import hashlib

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pneumodet.data import splits
from pneumodet.errors import DataError

names = st.sets(st.text(min_size=1, max_size=8), min_size=2, max_size=40)
fractions = st.floats(0.05, 0.95)


@pytest.mark.parametrize(
    ("patient", "seed", "expected"),
    [
        pytest.param("00000013", 0, 0.6269099965510633, id="NIH patient"),
        pytest.param("Ünïcode", 7, 0.7147724587331113, id="other letters"),
        pytest.param("00000013", -1, 0.8892958014499933, id="negative seed"),
    ],
)
def test_position_is_the_same_on_every_machine(patient, seed, expected):
    assert splits.position(patient, seed) == expected
    digits = hashlib.sha256(f"{seed}:{patient}".encode("utf-8")).hexdigest()  # noqa: UP012 - the encoding is the point
    assert splits.position(patient, seed) == (int(digits[:16], 16) >> 11) / 2**53


@settings(max_examples=50, deadline=None)
@given(names, fractions, st.integers(0, 5), st.randoms())
def test_order_and_repetition_do_not_matter(patients, fraction, seed, random):
    shuffled = [*patients, *patients]
    random.shuffle(shuffled)
    sides = splits.assign(patients, val_fraction=fraction, seed=seed)
    assert splits.assign(shuffled, val_fraction=fraction, seed=seed) == sides
    assert sides.keys() == patients
    assert set(sides.values()) == {splits.TRAIN, splits.VAL}  # two patients at least, so that both sides have one


@settings(max_examples=50, deadline=None)
@given(names, names, fractions)
def test_added_patients_move_nobody(patients, more, fraction):
    before = splits.assign(patients, val_fraction=fraction, seed=3)
    by_position = {splits.position(patient, 3) < fraction for patient in patients}
    assume(len(by_position) == 2)  # nobody had to change sides to fill one
    after = splits.assign(patients | more, val_fraction=fraction, seed=3)
    assert {patient: after[patient] for patient in patients} == before


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.5])
def test_the_fraction_is_held(fraction):
    patients = [f"{number:08d}" for number in range(20_000)]
    sides = splits.assign(patients, val_fraction=fraction, seed=0)
    share = sum(side == splits.VAL for side in sides.values()) / len(patients)
    assert share == pytest.approx(fraction, abs=0.012)  # 3.4 standard deviations at 0.5


@pytest.mark.parametrize(
    ("fraction", "expected"),
    [pytest.param(0.0, {splits.TRAIN}, id="no validation"), pytest.param(1.0, {splits.VAL}, id="only validation")],
)
def test_ends_of_the_fraction_leave_a_side_empty(fraction, expected):
    assert set(splits.assign(map(str, range(50)), val_fraction=fraction, seed=0).values()) == expected


@pytest.mark.parametrize("fraction", [1e-9, 1 - 1e-9])
def test_two_patients_are_on_two_sides(fraction):
    sides = splits.assign(["a", "b"], val_fraction=fraction, seed=0)
    assert set(sides.values()) == {splits.TRAIN, splits.VAL}
    assert sides[min("ab", key=lambda name: splits.position(name, 0))] == splits.VAL


def test_the_border_belongs_to_train():
    border = splits.position("00000013", 0)
    patients = ["00000013", *map(str, range(20))]
    assert splits.assign(patients, val_fraction=border, seed=0)["00000013"] == splits.TRAIN


def test_one_patient_and_none():
    assert set(splits.assign(["a"], val_fraction=0.5, seed=0)) == {"a"}
    assert splits.assign([], val_fraction=0.5, seed=0) == {}


def test_another_seed_is_another_split():
    patients = [str(number) for number in range(100)]
    assert splits.assign(patients, val_fraction=0.5, seed=0) != splits.assign(patients, val_fraction=0.5, seed=1)


def test_audit_finds_a_leak_and_names_an_exam_not_the_patient():
    patients = {"exam-1": "DOE", "exam-2": "DOE", "exam-3": "ROE"}
    assert splits.audit({"exam-1": "val", "exam-2": "val", "exam-3": "train"}, patients) == 2
    with pytest.raises(DataError, match="leaks: the patient of exam exam-2 is in val and in train") as caught:
        splits.audit({"exam-1": "val", "exam-2": "train", "exam-3": "train"}, patients)
    assert "DOE" not in str(caught.value)
