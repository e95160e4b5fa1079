"""How many of some exams, and of their patients, a model has seen, and the sentences that say it.

counted = count({"my_first": seen}, Exams.of(instances["images"]))
counted.sentences()                     # ["46 of 67 exams (41 patients) were in training. …"]
counted.statement()                     # the same, or "None of the 67 exams …"
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from pneumodet.core.formatting import counted, listed
from pneumodet.core.seen import Exams, Marks, Seen, united

_MOST_NAMED = 4

ROLES = {
    "trained": ("was in training", "were in training", "The figures are better than on exams that were not."),
    "chosen": (
        "was used to choose checkpoint, threshold or calibration",
        "were used to choose checkpoint, threshold or calibration",
        "The figures are optimistic.",
    ),
    "tuned": ("was used to tune the recipe", "were used to tune the recipe", "The figures are optimistic."),
}
"""Field of ``Seen`` -> what is said of one exam, of several, and of figures on them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Overlap:
    """How many of some exams are among those that a model has seen in one role.

    Attributes:
      exams: that are.
      patients: of these exams.
      by_id_alone: of them, those of which neither UID nor pixels are known to be the same.
      of_such_patients: further exams, whose patient has an exam there.
      of_alike_patients: exams whose patient has the id of one there, where no exam shows whether both sets mean the same patients by their ids.
      of: names of the parts of a model that have seen any of both, where it has several.
    """

    exams: int = 0
    patients: int = 0
    by_id_alone: int = 0
    of_such_patients: int = 0
    of_alike_patients: int = 0
    of: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.exams or self.of_such_patients)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Counted:
    """What a model has seen of the exams that it is evaluated on.

    Attributes:
      exams: that it is evaluated on.
      trained, chosen, tuned: as in ``Seen``.
      unrecorded: parts of the model of which nothing is recorded.
    """

    exams: int
    trained: Overlap = Overlap()
    chosen: Overlap = Overlap()
    tuned: Overlap = Overlap()
    unrecorded: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return what metrics.json holds, with ``statement`` as text."""
        return {**dataclasses.asdict(self), "unrecorded": list(self.unrecorded), "statement": self.statement()}

    def sentences(self, *roles: str, what: str = "exam", lead: str = "") -> list[str]:
        """Return a sentence for each role that has an overlap, and one for what is not recorded; nothing where neither is.

        Args:
          roles: those of ROLES that are asked for; all without.
          what: what an exam is called.
          lead: what sentences on an overlap begin with; that on what is not recorded names what it is about.
        """
        lines = [self._of(role, what) for role in roles or ROLES if getattr(self, role)]
        if "trained" in (roles or ROLES) and not self.trained and self.trained.of_alike_patients:
            lines.append(self._alike(what))
        lines = [f"{lead}{line[0].lower()}{line[1:]}" for line in lines] if lead else lines
        return lines + ([self._unrecorded(what)] if self.unrecorded else [])

    def statement(self, what: str = "exam") -> str:
        """Return what is known of training as one sentence, also where there is no overlap."""
        if self.trained:
            return self._of("trained", what)
        if self.unrecorded:
            return self._unrecorded(what)
        if self.trained.of_alike_patients:
            return self._alike(what)
        return f"None of the {counted(self.exams, what)}, nor of their patients, was in training, as far as they can be known again."

    def _of(self, role: str, what: str) -> str:
        one, (was, were, so) = getattr(self, role), ROLES[role]
        of = f" of {listed(one.of, _MOST_NAMED)}" if one.of else ""
        total = counted(self.exams, what)
        if not one.exams:
            single = one.of_such_patients == 1
            return f"{one.of_such_patients:,} of {total} {'is of a patient' if single else 'are of patients'} who {was if single else were}{of}. {so}"
        text = f"{one.exams:,} of {total} ({counted(one.patients, 'patient')}) {was if one.exams == 1 else were}{of}"
        if one.of_such_patients:
            text += f", and {one.of_such_patients:,} more {'is' if one.of_such_patients == 1 else 'are'} of such patients"
        if one.by_id_alone:
            some = "They are" if one.by_id_alone == one.exams else f"{one.by_id_alone:,} of them {'is' if one.by_id_alone == 1 else 'are'}"
            so = f"{some} known by the id alone, which must mean the same exam in both sets. {so}"
        return f"{text}. {so}"

    def _alike(self, what: str) -> str:
        number = self.trained.of_alike_patients
        return (
            f"None of the {counted(self.exams, what)} was in training, as far as they can be known again; {number:,} {'has' if number == 1 else 'have'} the "
            "patient id of an exam that was. If both sets mean the same patients by their ids, the figures are better than on patients that were not."
        )

    def _unrecorded(self, what: str) -> str:
        return (
            f"What {listed(self.unrecorded, _MOST_NAMED)} has seen is not recorded: whether some of the {counted(self.exams, what)} were in "
            "training is not known."
        )


def count(parts: Mapping[str, Seen], exams: Exams) -> Counted:
    """Count which exams a model has seen.

    Args:
      parts: name -> what it has seen, of each part of the model: runs that are fused, a recipe.
      exams: that it is evaluated on.

    Raises:
      DataError: what a part has seen is damaged.
    """
    whole = united(parts.values())
    alike = _same_patients(whole.trained | whole.chosen | whole.tuned, exams)
    overlaps = {}
    for role in ROLES:
        overlap = _overlap(getattr(whole, role), exams, alike)
        if overlap and len(parts) > 1 and role != "tuned":  # there is one recipe
            of = tuple(name for name, part in parts.items() if _overlap(getattr(part, role), exams, alike))
            overlap = dataclasses.replace(overlap, of=of)
        overlaps[role] = overlap
    return Counted(exams=len(exams), unrecorded=whole.unrecorded, **overlaps)


def _there(marks: Marks, exams: Exams) -> tuple[list[bool], list[bool]]:
    """Return which exams are there, and which of them are known by their id alone."""
    sets = marks.sets
    # where every exam there has a UID, one with another UID is another exam, whatever it is called
    all_have_uids = len(sets["uids"]) >= len(sets["exams"])
    certain = [uid in sets["uids"] or not sets["images"].isdisjoint(of_exam) for uid, of_exam in zip(exams.uids, exams.images, strict=True)]
    by_id = [
        not sure and name in sets["exams"] and not (all_have_uids and uid is not None)
        for sure, name, uid in zip(certain, exams.ids, exams.uids, strict=True)
    ]
    return [sure or named for sure, named in zip(certain, by_id, strict=True)], by_id


def _same_patients(marks: Marks, exams: Exams) -> bool | None:
    """Return whether the same patient has the same id on either hand, as exams show that both have; None where none does.

    Patients of many sets are numbered from 1: equal ids alone show nothing.
    """
    there, _ = _there(marks, exams)
    shown = [patient in marks.sets["patients"] for patient, one in zip(exams.patients, there, strict=True) if one and patient is not None]
    return any(shown) if shown and marks.patients else None


def _overlap(marks: Marks, exams: Exams, same_patients: bool | None) -> Overlap:
    if not marks or not len(exams):
        return Overlap()
    there, by_id = _there(marks, exams)
    groups = {group for group, is_there in zip(exams.groups, there, strict=True) if is_there}
    named = [patient in marks.sets["patients"] for patient in exams.patients]
    others = [
        not is_there and (group in groups or bool(same_patients and known))
        for is_there, group, known in zip(there, exams.groups, named, strict=True)
    ]
    return Overlap(
        exams=sum(there),
        patients=len(groups),
        by_id_alone=sum(by_id),
        of_such_patients=sum(others),
        of_alike_patients=sum(named) if same_patients is None else 0,
    )
