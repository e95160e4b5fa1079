"""Splits: by patient, the same everywhere, and in place when exams are added."""

import hashlib

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pneumodet.core.errors import ConfigError, DataError
from pneumodet.data import splits
from pneumodet.data.splits import Shares

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
    split_of = splits.assign(patients, Shares(val=fraction), seed=seed)
    assert splits.assign(shuffled, Shares(val=fraction), seed=seed) == split_of
    assert split_of.keys() == patients
    assert set(split_of.values()) == {splits.TRAIN, splits.VAL}  # two patients at least, so that both splits have one


@settings(max_examples=50, deadline=None)
@given(names, names, fractions)
def test_added_patients_move_nobody(patients, more, fraction):
    before = splits.assign(patients, Shares(val=fraction), seed=3)
    by_position = {splits.position(patient, 3) < fraction for patient in patients}
    assume(len(by_position) == 2)  # nobody had to move to fill one
    after = splits.assign(patients | more, Shares(val=fraction), seed=3)
    assert {patient: after[patient] for patient in patients} == before


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.5])
def test_the_fraction_is_held(fraction):
    patients = [f"{number:08d}" for number in range(20_000)]
    split_of = splits.assign(patients, Shares(val=fraction), seed=0)
    share = sum(split == splits.VAL for split in split_of.values()) / len(patients)
    assert share == pytest.approx(fraction, abs=0.012)  # 3.4 standard deviations at 0.5


@pytest.mark.parametrize(
    ("fraction", "expected"),
    [pytest.param(0.0, {splits.TRAIN}, id="no validation"), pytest.param(1.0, {splits.VAL}, id="only validation")],
)
def test_ends_of_the_fraction_leave_a_side_empty(fraction, expected):
    assert set(splits.assign(map(str, range(50)), Shares(val=fraction), seed=0).values()) == expected


@pytest.mark.parametrize("fraction", [1e-9, 1 - 1e-9])
def test_two_patients_are_on_two_sides(fraction):
    split_of = splits.assign(["a", "b"], Shares(val=fraction), seed=0)
    assert set(split_of.values()) == {splits.TRAIN, splits.VAL}
    assert split_of[min("ab", key=lambda name: splits.position(name, 0))] == splits.VAL


def test_the_border_belongs_to_train():
    border = splits.position("00000013", 0)
    patients = ["00000013", *map(str, range(20))]
    assert splits.assign(patients, Shares(val=border), seed=0)["00000013"] == splits.TRAIN


def test_one_patient_and_none():
    assert set(splits.assign(["a"], Shares(val=0.5), seed=0)) == {"a"}
    assert splits.assign([], Shares(val=0.5), seed=0) == {}


def test_another_seed_is_another_split():
    patients = [str(number) for number in range(100)]
    assert splits.assign(patients, Shares(val=0.5), seed=0) != splits.assign(patients, Shares(val=0.5), seed=1)


@settings(max_examples=50, deadline=None)
@given(names, names, st.floats(0.05, 0.45), st.floats(0.05, 0.45), st.floats(0.05, 0.45), st.integers(0, 3))
def test_who_is_in_test_depends_on_no_other_share_and_on_nobody_else(patients, more, val, other_val, test, seed):
    def of_test(split_of):
        return {patient for patient, split in split_of.items() if split == splits.TEST}

    by_position = {patient for patient in patients if splits.position(patient, seed) >= 1 - test}
    assume(len(patients - by_position) >= 2)  # else train or val would be empty without them
    first = splits.assign(patients, Shares(val, test), seed=seed)
    assert of_test(first) == by_position == of_test(splits.assign(patients, Shares(other_val, test), seed=seed))
    assert of_test(splits.assign(patients | more, Shares(val, test), seed=seed)) & patients == by_position
    assert of_test(splits.folds(patients, 3, seed=seed, test=test)) == by_position
    of_val = {patient for patient in patients if splits.position(patient, seed) < val}
    if of_val and patients - by_position - of_val:  # nobody had to move to fill one
        assert {patient for patient, split in first.items() if split == splits.VAL} == of_val, "a test split takes nobody from val"


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("shares", [Shares(0.15, 0.15), Shares(0.01, 0.98), Shares(0.98, 0.01)])
def test_train_and_val_come_before_test_where_patients_are_few(seed, count, shares):
    split_of = splits.assign(map(str, range(count)), shares, seed=seed)
    assert {splits.TRAIN, splits.VAL} <= set(split_of.values())


def test_shares_of_one_together_leave_no_train():
    patients = [str(number) for number in range(60)]
    assert set(splits.assign(patients, Shares(0.4, 0.6), seed=0).values()) == {splits.VAL, splits.TEST}
    assert set(splits.assign(patients, Shares(0, 1), seed=0).values()) == {splits.TEST}


def test_shares_are_held_with_folds_and_strata():
    patients = [f"{number:08d}" for number in range(20_000)]
    of_folds = splits.folds(patients, 4, seed=0, test=0.2)
    counts = [list(of_folds.values()).count(name) for name in ("test", "fold-0", "fold-1", "fold-2", "fold-3")]
    assert all(abs(count - 4000) < 200 for count in counts)
    strata = {patient: str(number % 10 == 0) for number, patient in enumerate(patients)}
    one, other = (splits.stratified(strata, Shares(val, 0.15), seed=0) for val in (0.15, 0.5))
    for stratum in ("True", "False"):
        members = [patient for patient in patients if strata[patient] == stratum]
        for split in (splits.VAL, splits.TEST):
            assert abs(sum(one[patient] == split for patient in members) - 0.15 * len(members)) <= 2
    in_folds = splits.stratified(strata, Shares(test=0.15), seed=0, number_of_folds=3)
    in_test = [{patient for patient in patients if made[patient] == splits.TEST} for made in (one, other, in_folds)]
    assert in_test[0] == in_test[1] == in_test[2]


def test_a_data_set_s_own_split_keeps_a_patient_s_exams_together():
    patients = {"e1": "p", "e2": "p", "e3": "q", "e4": "r", "e5": "r"}
    own = {"e1": "train", "e2": "test", "e3": "train", "e4": "val", "e5": "train", "stranger": "test"}
    assert splits.own_of_patients(own, patients) == ({"p": "test", "q": "train", "r": "val"}, ["e1", "e5"])
    assert [splits.own_name(name) for name in ("Training", "valid", "validate", "test", "images")] == ["train", "val", "val", "test", None]


def test_audit_finds_a_leak_and_names_an_exam_not_the_patient():
    patients = {"exam-1": "DOE", "exam-2": "DOE", "exam-3": "ROE"}
    assert splits.audit({"exam-1": "val", "exam-2": "val", "exam-3": "train"}, patients) == splits.Audit(patients=2, with_several_exams=1)
    with pytest.raises(DataError, match="leaks: the patient of exam exam-2 is in val and in train") as caught:
        splits.audit({"exam-1": "val", "exam-2": "train", "exam-3": "train"}, patients)
    assert "DOE" not in str(caught.value)


@settings(max_examples=50, deadline=None)
@given(names, names, st.integers(2, 4))
def test_added_patients_move_nobody_out_of_a_fold(patients, more, number):
    before = splits.folds(patients, number, seed=3)
    after = splits.folds(patients | more, number, seed=3)
    assert {patient: after[patient] for patient in patients} == before


def test_folds_are_of_equal_size_and_none_is_empty():
    patients = [f"{number:08d}" for number in range(20_000)]
    folds = splits.folds(patients, 5, seed=0)
    counts = {fold: list(folds.values()).count(fold) for fold in set(folds.values())}
    assert sorted(counts) == [f"fold-{number}" for number in range(5)]
    assert all(abs(count - 4000) < 200 for count in counts.values())  # 3.5 standard deviations
    splits.check_folds(folds, 5)
    with pytest.raises(DataError, match="fold-3 is empty: 3 exams are too few for 5 folds"):
        splits.check_folds(splits.stratified(dict.fromkeys("abc", "x"), Shares(), seed=0, number_of_folds=5), 5)


strata = st.dictionaries(st.text(min_size=1, max_size=6), st.sampled_from(["a", "b", "c"]), min_size=1, max_size=60)


@settings(max_examples=100, deadline=None)
@given(strata, st.floats(0, 1), st.integers(0, 3))
def test_every_stratum_has_its_share_to_within_one_patient(strata, fraction, seed):
    split_of = splits.stratified(strata, Shares(val=fraction), seed=seed)
    for stratum in [*set(strata.values()), None]:
        members = [patient for patient, one in strata.items() if stratum in (one, None)]
        assert abs(sum(split_of[patient] == splits.VAL for patient in members) - fraction * len(members)) <= 1 + 1e-9
    shuffled = dict(sorted(strata.items(), reverse=True))
    assert splits.stratified(shuffled, Shares(val=fraction), seed=seed) == split_of


@settings(max_examples=50, deadline=None)
@given(strata, st.integers(2, 4))
def test_every_stratum_is_dealt_to_all_folds(strata, number):
    assume(len(strata) >= number)
    folds = splits.stratified(strata, Shares(), seed=0, number_of_folds=number)
    for stratum in set(strata.values()):
        members = [patient for patient, one in strata.items() if one == stratum]
        counts = [sum(folds[patient] == splits.fold_name(index) for patient in members) for index in range(number)]
        assert max(counts) - min(counts) <= 1


def test_split_file_round_trip(tmp_path):
    path = tmp_path / "split.csv"
    split_of = {"b, c": "val", 'a"': "train", "ü": "test"}
    path.write_text(splits.to_csv(split_of), encoding="utf-8")
    assert splits.read_split_file(path) == split_of


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        pytest.param("a,train\na,val", "line 3: exam a is in train and in val", id="two splits"),
        pytest.param("a,", "line 2: patientId is 'a' and split ''", id="no split"),
        pytest.param(",val", "line 2: patientId is '' and split 'val'", id="no exam"),
        pytest.param("a,../x", "line 2: .* split '../x'", id="a path"),
        pytest.param("a,Train", "line 2: .* split 'Train'", id="a capital letter"),
    ],
)
def test_split_files_that_are_wrong(tmp_path, rows, message):
    (tmp_path / "split.csv").write_text(f"patientId,split\n{rows}\n")
    with pytest.raises(DataError, match=message):
        splits.read_split_file(tmp_path / "split.csv")


def test_split_file_without_its_column(tmp_path):
    (tmp_path / "split.csv").write_text("patientId,fold\na,1\n")
    with pytest.raises(DataError, match="has no column 'split'"):
        splits.read_split_file(tmp_path / "split.csv")


def test_what_a_split_file_gives_is_the_patients():
    patients = {"e1": "p", "e2": "p", "e3": "q"}
    assert splits.given({"e1": "val", "stranger": "train"}, patients) == {"p": "val"}
    with pytest.raises(DataError, match="patient of exam e2 is in val and in train"):
        splits.given({"e1": "val", "e2": "train"}, patients)


def test_patients_by_regular_expression():
    exams = ["00000013_005", "00000013_010", "00000014_000", "other"]
    expected = dict(zip(exams[:3], ["00000013", "00000013", "00000014"], strict=True))
    assert splits.patients_by_regex(exams, r"^(\d{8})_\d+$") == expected
    assert splits.patients_by_regex(exams, r"^\d{8}") == expected
    assert splits.patients_by_regex(["ab"], r"(x)?b") == {}
    with pytest.raises(ConfigError, match=r"regular expression '\(' is wrong"):
        splits.patients_by_regex(exams, "(")


@pytest.mark.slow
@pytest.mark.real_data
def test_all_of_rsna_in_seconds_without_a_leak(shared_data, tmp_path):
    import csv
    import gzip

    from pneumodet.data import annotations

    folder = shared_data / "rsna_csv"
    labels = annotations.read_rsna_labels(folder / "stage_2_train_labels.csv", class_info=folder / "stage_2_detailed_class_info.csv")
    with gzip.open(folder / "rsna_to_nih.csv.gz", "rt") as file:
        (tmp_path / "map.csv").write_text(file.read())
    patients = annotations.read_patient_map(tmp_path / "map.csv")
    with open(tmp_path / "map.csv", newline="") as file:
        nih = {row["patientId"]: row["nih_patient"] for row in csv.DictReader(file)}
    assert len(labels.exams) == 26_684
    exam_patients = {exam: patients[exam] for exam in labels.exams}
    assert exam_patients == {exam: nih[exam] for exam in labels.exams}
    split_of = splits.assign(exam_patients.values(), Shares(val=0.2), seed=0)
    audit = splits.audit({exam: split_of[patient] for exam, patient in exam_patients.items()}, exam_patients)
    assert audit.with_several_exams > 4000
    strata = {patient: str(labels.exams[exam].rsna_class) for exam, patient in exam_patients.items()}
    balanced = splits.stratified(strata, Shares(val=0.2), seed=0)
    for stratum in set(strata.values()):
        members = [patient for patient, one in strata.items() if one == stratum]
        assert sum(balanced[patient] == splits.VAL for patient in members) == pytest.approx(0.2 * len(members), abs=1)
