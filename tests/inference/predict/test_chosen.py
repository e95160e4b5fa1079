"""Which radiographs get a picture: the highest scores and a few of the lowest, in whatever order they come, and after a cut, too."""

import numpy as np
from PIL import Image

from pneumodet.inference.predict import outputs
from pneumodet.inference.predict.chosen import Chosen
from pneumodet.inference.predict.outputs import Shown


def scores(count):
    values = np.random.default_rng(3).permutation(count) / count
    return {f"exam{number:04d}": float(value) for number, value in enumerate(values)}


def chosen(given, most):
    """Offer all; return (what was chosen, the exams that have a picture, the most that had one at a time)."""
    one, drawn, highest = Chosen(most), set(), 0
    for exam, score in given:
        wanted, dropped = one.offer(exam, score)
        drawn = (drawn | {exam} if wanted else drawn) - set(dropped)
        highest = max(highest, len(drawn))
    return one, drawn, highest


def test_findings_come_first_and_then_the_surest_negatives():
    given = scores(500)
    one, drawn, highest = chosen(given.items(), 40)
    by_score = sorted(given, key=lambda exam: -given[exam])
    assert one.final(threshold=0.9) == set(by_score[:40]), "50 findings leave no place for others"
    assert one.final(threshold=0.99) == {*by_score[:33], *by_score[-7:]}, "of 5 findings the sheet has 7 places left"
    for threshold in (0.0, 0.5, 0.99, 1.0):
        assert one.final(threshold=threshold) <= drawn, "each one was drawn"
    assert highest <= 40 + outputs.SHEET_TILES


def test_the_order_in_which_they_come_does_not_matter():
    given = scores(200)
    forwards, backwards = (chosen(order, 10)[0] for order in (given.items(), reversed(given.items())))
    assert forwards.final(threshold=0.99) == backwards.final(threshold=0.99)


def test_what_was_not_drawn_before_a_cut_is_not_missed_after_it():
    given = list(scores(300).items())
    before, drawn, _ = chosen(given[:150], 20)
    for exam, score in given[150:]:
        wanted, dropped = before.offer(exam, score)
        drawn = (drawn | {exam} if wanted else drawn) - set(dropped)
    again, _, _ = chosen(given[:150], 20)  # as from the journal
    for exam, score in given[150:]:
        again.offer(exam, score)
    assert again.final(threshold=0.9) == before.final(threshold=0.9) <= drawn


def test_equal_scores_and_one_exam_again():
    one, _, _ = chosen([("b", 0.0), ("a", 0.0), ("a", 0.0), ("c", 0.0)], 2)
    assert one.final(threshold=0.5) == {"a", "b"}
    assert chosen(scores(20).items(), 0)[1] == set()


def test_the_sheet_shows_findings_by_score_and_then_the_lowest_scores(tmp_path, monkeypatch):
    shown = [Shown(f"no{number}", "one.png", (8, 8), number / 100, None, 0) for number in range(30)]
    shown += [Shown(f"yes{number}", "one.png", (8, 8), 0.5 + number / 100, None, 1) for number in range(3)]
    (tmp_path / outputs.IMAGES).mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / outputs.IMAGES / "one.png")
    captions = []
    laid_out = outputs.pictures.contact_sheet
    monkeypatch.setattr(
        outputs.pictures, "contact_sheet", lambda *args, **more: captions.extend(more["captions"]) or laid_out(*args, **more)
    )
    outputs.write_sheet(tmp_path, shown, truth_boxes=None)
    assert [exam for exam, _ in captions] == ["yes2", "yes1", "yes0", *(f"no{number}" for number in range(9))]
    with Image.open(tmp_path / outputs.SHEET) as sheet:
        strip = np.asarray(sheet)[:40].reshape(-1, 3)
    assert (strip == outputs.pictures.DETECTION_RGB).all(axis=1).any(), "it says what a box is"
    assert not (strip == outputs.pictures.TRUTH_RGB).all(axis=1).any()
