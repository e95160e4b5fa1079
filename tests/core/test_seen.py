"""What a model has seen: which exams are known again, which are not, and what is said of them."""

import dataclasses
import json
import re

import pytest

from pneumodet.core import overlap, run_record, runs, seen
from pneumodet.core.errors import DataError
from pneumodet.core.overlap import Overlap
from pneumodet.core.run_record import RunRecord
from pneumodet.core.seen import Exams, Marks, Seen

KNOWN = {
    "id": ("file_name",),
    "uid": ("sop_instance_uid",),
    "pixels of the record": ("sha256",),
    "pixels of the source": ("source_sha256",),
}


def image(number, **more):
    """Return an exam of which all is known; two of a patient."""
    patient = number // 2
    return {
        "file_name": f"exam-{number}",
        "sop_instance_uid": f"1.2.{number}",
        "sha256": f"{number:064x}",
        "source_sha256": f"{number + 1000:064x}",
        "patient": patient,
        "patient_hash": seen.patient_hash(f"MRN{patient}"),
        **more,
    }


def strange(number, but=()):
    """Return the same exam in a set where all is called otherwise but some fields."""
    other = image(number, file_name=f"other-{number}", sop_instance_uid=f"9.9.{number}", sha256=f"{number + 7777:064x}")
    other |= {"source_sha256": f"{number + 8888:064x}", "patient": 100 + number, "patient_hash": seen.patient_hash(f"OTHER{number}")}
    return other | {name: image(number)[name] for name in but}


def trained(images, **more):
    return Seen(trained=Marks.of(Exams.of(images)), **more)


def overlap_of(known, images):
    return overlap.count({"model": known}, Exams.of(images)).trained


@pytest.mark.parametrize("fields", KNOWN.values(), ids=KNOWN)
def test_an_exam_is_known_again_by_each_of_its_names(fields):
    there = trained([image(number) for number in range(10)])
    if fields == ("file_name",):  # a set of an earlier pneumodet, or of a CSV, has no more
        others = [{"file_name": f"exam-{number}"} for number in (3, 4, 30)]
        assert overlap_of(there, others) == Overlap(exams=2, patients=2, by_id_alone=2)
    else:
        assert overlap_of(there, [strange(number, fields) for number in (3, 4, 30)]) == Overlap(exams=2, patients=2)


def test_a_name_is_no_identity_where_both_have_uids():
    there = trained([image(number) for number in range(4)])
    others = [image(number, sop_instance_uid=f"5.{number}", sha256="", source_sha256="", patient_hash="") for number in range(4)]
    assert not overlap_of(there, others)
    assert overlap_of(there, [one | {"sop_instance_uid": None} for one in others]).by_id_alone == 4
    assert overlap_of(there | trained([{"file_name": "exam-9"}]), others).by_id_alone == 4, "not all that were seen have a UID"


def test_exams_of_patients_who_were_there():
    there = trained([image(number) for number in (0, 2, 4)])
    assert overlap_of(there, [image(number) for number in (0, 1, 3, 7)]) == Overlap(exams=1, patients=1, of_such_patients=2)
    # no exam shows that both sets number their patients alike
    assert overlap_of(there, [image(number) for number in (1, 3, 7)]) == Overlap(of_alike_patients=2)
    # and here one shows that they do not
    assert overlap_of(there, [image(0, patient_hash=seen.patient_hash("MRN2")), image(5)]) == Overlap(
        exams=1, patients=1, of_such_patients=1
    )
    assert overlap_of(there, [image(0, patient_hash=seen.patient_hash("X")), image(5, patient=9)]) == Overlap(exams=1, patients=1)


def test_without_hashes_of_patients_their_other_exams_show_them():
    there = trained([{"file_name": "exam-0"}])
    assert overlap_of(there, [{"file_name": f"exam-{number}", "patient": number // 2} for number in range(4)]) == Overlap(
        exams=1, patients=1, by_id_alone=1, of_such_patients=1
    )


def test_a_patient_map_goes_before_what_the_ground_truth_says():
    there = trained([image(0), image(1), image(2)])
    exams = Exams.of([image(0), image(3)], patients={"exam-0": "MRN0", "exam-3": "MRN1"})
    assert overlap.count({"": there}, exams).trained == Overlap(exams=1, patients=1, of_such_patients=1)


def test_an_ensemble_has_seen_what_its_parts_have():
    first, second = trained([image(number) for number in range(4)]), trained([image(number) for number in range(4, 8)], unrecorded=("old",))
    both = first | second | first
    assert len(both.trained) == 8 and both.unrecorded == ("old",)
    counted = overlap.count({"fold_0": first, "fold_1": second}, Exams.of([image(number) for number in range(2, 10)]))
    assert counted.trained == Overlap(exams=6, patients=3, of=("fold_0", "fold_1"))
    assert counted.sentences()[0].startswith("6 of 8 exams (3 patients) were in training of fold_0, fold_1. ")


SENTENCES = {
    "in training": (
        Seen(trained=Marks.of(Exams.of([image(0), image(1), image(2)]))),
        ["3 of 8 exams (2 patients) were in training, and 1 more is of such patients. The figures are better than on exams that were not."],
    ),
    "chosen and tuned": (
        Seen(chosen=Marks.of(Exams.of([image(0)])), tuned=Marks.of(Exams.of([image(4), image(5)]))),
        [
            "1 of 8 exams (1 patient) was used to choose checkpoint, threshold or calibration, and 1 more is of such patients. The figures are optimistic.",
            "2 of 8 exams (1 patient) were used to tune the recipe. The figures are optimistic.",
        ],
    ),
    "by id alone": (
        Seen(trained=Marks.of(Exams.of([{"file_name": "exam-0"}, {"file_name": "exam-1"}]))),
        [
            "2 of 8 exams (1 patient) were in training. They are known by the id alone, which must mean the same exam in both sets. The figures are better "
            "than on exams that were not."
        ],
    ),
    "not recorded": (
        Seen(unrecorded=("the run old",)),
        ["What the run old has seen is not recorded: whether some of the 8 exams were in training is not known."],
    ),
    "nothing": (Seen(trained=Marks.of(Exams.of([strange(0)]))), []),
}


@pytest.mark.parametrize(("known", "said"), SENTENCES.values(), ids=SENTENCES)
def test_what_is_said(known, said):
    counted = overlap.count({"model": known}, Exams.of([image(number) for number in range(8)]))
    assert counted.sentences() == said
    assert bool(re.match("None of the 8 exams, nor of their patients, was in training", counted.statement())) == (
        not known.unrecorded and not counted.trained
    )
    assert json.loads(json.dumps(counted.to_json()))["trained"]["exams"] == counted.trained.exams


def test_no_id_is_in_what_is_kept_and_it_is_small():
    exams = [image(number) for number in range(1000)]
    text = json.dumps(trained(exams).to_json())
    assert len(text) < 1000 * 50
    for name in ("exam-", "1.2.", "MRN", f"{7:064x}"):
        assert name not in text
    # so that two kinds of ids of the same letters are not taken for one another
    assert seen.hash_of("exam", "7") != seen.hash_of("patient", "7")


def test_it_comes_back_from_run_json(tmp_path):
    known = trained([image(number) for number in range(3)], unrecorded=("the run old",))
    run_record.write(tmp_path / runs.RECORD, RunRecord(seen=known))
    assert runs.seen(tmp_path) == known
    run_record.write(tmp_path / runs.RECORD, dataclasses.replace(runs.read(tmp_path), steps=3))
    assert runs.seen(tmp_path) == known and runs.seen_by_weights(tmp_path / "train" / "ckpt-3") == known
    run_record.write(tmp_path / runs.RECORD, RunRecord())
    assert runs.seen(tmp_path) == Seen(unrecorded=(f"the run {tmp_path.name}",)), "a run of an earlier pneumodet"
    assert runs.seen_by_weights(tmp_path.parent / "elsewhere" / "a.h5") == Seen(unrecorded=("the weights a.h5",))


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"version": 2}, "has the version 2, but this pneumodet knows 1"),
        ({"trained": {"exams": 5}}, r"the field seen\.trained\.exams is 5, must be a text"),
        ({"trained": []}, r"the field seen\.trained is \[\], must be an object"),
        ({"trained": {"exams": "abc"}}, "its field exams must be hashes of 8 bytes in base64"),
        ({"trained": {"exams": "AAAA"}}, "its field exams must be hashes of 8 bytes in base64"),
        ({"trained": {"exams": "?" * 12}}, "its field exams must be hashes of 8 bytes in base64"),
    ],
)
def test_what_is_damaged_is_named(tmp_path, part, message):
    (tmp_path / runs.RECORD).write_text(json.dumps({"version": 1, "seen": part}))
    with pytest.raises(DataError, match=message):
        overlap.count({"": runs.seen(tmp_path)}, Exams.of([image(0)]))
