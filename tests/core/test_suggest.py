"""What may have been meant by a name that is not there."""

import pytest

from pneumodet.core import suggest

NAMES = ("ssd_mobilenet", "retinanet")


@pytest.mark.parametrize(
    ("name", "sentence", "clause"),
    [
        ("ssd_mobilnet", "Did you mean 'ssd_mobilenet'?", "; did you mean 'ssd_mobilenet'?"),
        ("yolo", "Configs: ssd_mobilenet, retinanet.", "."),
    ],
)
def test_the_nearest_name_or_all(name, sentence, clause):
    assert suggest.sentence(name, dict.fromkeys(NAMES), otherwise="Configs") == sentence
    assert suggest.clause(name, iter(NAMES)) == clause


def test_the_nearest_of_several_come_however_unlike():
    assert suggest.several("retina", NAMES, count=2) == ["retinanet", "ssd_mobilenet"]
