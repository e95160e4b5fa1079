"""Records that stand for a split."""

from collections import Counter

import pytest

from pneumodet.export import sampling

IMAGES = [{"id": number, "file_name": f"exam{number}", "view_position": "AP" if number % 5 else "PA"} for number in range(100)]
POSITIVE = {number for number in range(100) if number % 4 == 0}


def kinds(exams):
    numbers = [int(exam.removeprefix("exam")) for exam in exams]
    return Counter((number in POSITIVE, "AP" if number % 5 else "PA") for number in numbers)


def test_every_kind_is_there_alike():
    exams = sampling.choose(IMAGES, POSITIVE, 20)
    assert kinds(exams) == {(True, "AP"): 5, (True, "PA"): 5, (False, "AP"): 5, (False, "PA"): 5}
    assert exams == sorted(set(exams), key=lambda exam: int(exam.removeprefix("exam"))), "each once, in the records' order"


def test_where_a_kind_runs_out_the_others_fill_up():
    chosen = kinds(sampling.choose(IMAGES, POSITIVE, 60))
    assert chosen[True, "PA"] == 5, "all there are"
    assert sum(chosen.values()) == 60


@pytest.mark.parametrize("count", [100, 1000])
def test_all_of_them_where_there_are_no_more(count):
    assert sampling.choose(IMAGES, POSITIVE, count) == [image["file_name"] for image in IMAGES]


def test_the_seed_decides():
    assert sampling.choose(IMAGES, POSITIVE, 20) == sampling.choose(IMAGES, POSITIVE, 20, seed=0)
    assert sampling.choose(IMAGES, POSITIVE, 20) != sampling.choose(IMAGES, POSITIVE, 20, seed=1)


def test_views_need_not_be_known():
    images = [{"id": number, "file_name": f"exam{number}"} for number in range(10)]
    assert len(sampling.choose(images, {1, 2}, 4)) == 4
    assert {"exam1", "exam2"} <= set(sampling.choose(images, {1, 2}, 4))


def test_few_radiographs_with_findings_are_a_warning():
    images = [{"id": number, "file_name": f"exam{number}"} for number in range(40)]
    exams = [image["file_name"] for image in images]
    assert sampling.few_positive(images, set(range(10)), exams) is None
    warning = sampling.few_positive(images, set(range(9)), exams)
    assert warning.startswith(
        "tflite-int8 takes the ranges of its values from 40 training radiographs, of which 9 have findings; at least 10 should."
    )
    assert "of which 1 has findings" in sampling.few_positive(images, {3, 99}, exams), "of those that were chosen"
    assert "of which none have findings" in sampling.few_positive(images, set(), exams)
