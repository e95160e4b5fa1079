"""Who found it, and the UIDs made of that."""

import uuid

import pytest

from pneumodet.core.errors import DataError
from pneumodet.dicom.objects import identifiers
from pneumodet.dicom.objects.identifiers import Algorithm


@pytest.mark.parametrize("field", ["name", "version", "manufacturer"])
@pytest.mark.parametrize("text", ["", "a\\b", "modèle", "two\nlines"])
def test_texts_that_dicom_cannot_hold_are_refused(field, text):
    with pytest.raises(DataError, match=f"algorithm's {field}"):
        Algorithm(**({"name": "n", "version": "v"} | {field: text}))


def test_uids_are_valid_and_depend_on_every_part():
    result = {identifiers.uid(*parts) for parts in (("a", "b"), ("b", "a"), ("ab",), ("a", "b", "c"), ("a",))}
    assert len(result) == 5
    assert identifiers.uid("a", "b") == identifiers.uid("a", "b")
    for one in result:
        prefix, _, number = one.rpartition(".")
        assert prefix == "2.25" and len(one) <= 64 and number == str(int(number))
        assert uuid.UUID(int=int(number)).variant == uuid.RFC_4122


def test_a_uid_stays_what_it_was():
    """Reports that archives hold already were made with it."""
    assert identifiers.uid("instance", "1.2.3") == "2.25.251347448968821172219977474659574977534"
