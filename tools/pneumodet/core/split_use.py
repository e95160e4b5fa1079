"""What figures of a run are called: on validation its checkpoint was chosen, on test nothing was.

choice = Choice.of_run(folder, metric="rsna_metric")
choice.compared, choice.best, choice.last                # 10, 0.125, 0.078
facts = choice.facts("val", test_exams=72)               # for metrics.json
figures_on(facts), warning(facts)
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pneumodet.core import metrics_table

CHOSE = "validation, used to choose this checkpoint, the best of {count}"
ONLY = "validation; no other checkpoint was compared on it"
TEST = "test: exams that nothing was chosen on"
TUNED = "test: exams that the recipe was tuned on"
TEST_SEEN = "test: but the model has seen some of these exams or patients, as a warning says"
TEST_UNSURE = "test: exams that nothing was chosen on, as far as is known"
TRAINING = "training: exams that the model learned from"

VALIDATION_SPLIT, TEST_SPLIT, TRAINING_SPLIT = "val", "test", "train"
"""Names in record sets."""

KEY = "figures_on"
"""Of metrics.json: what the exams are to the model, one of the phrases above; None where nothing is known of that."""

NO_LUCK = "these exams do not show how much of it is luck"
"""Of the best figure, where the one without the luck of the choice is no lower: of a checkpoint that is clearly the best, and of nearly any where few exams
are positive."""

# without figures: ``figures_on`` has them, and is shown wherever this is
_WARNING = "These exams chose the checkpoint, the best of {count}, so that its figures on them {are} too good. {next}"
FLAGS = {"once on test: --split test": 'once on test: split="test"', "(make_tfrecords --test-fraction 0.15)": "(test_fraction=0.15)"}
"""How the warning names flags -> what a caller from Python gives in their place."""

_ON_TEST, _OF_RECORDS = FLAGS
_TEST_NEXT = f"For figures to be published, evaluate the model that you choose {_ON_TEST}."
_NO_TEST_NEXT = f"For figures to be published, evaluate on other exams: make the records with a test split {_OF_RECORDS}, or with exams of another source."


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
    """Among which checkpoints training chose, by a figure on its validation exams; None where metrics.csv does not have it.

    Attributes:
      compared: how many checkpoints were evaluated.
      metric: name of the figure; more is better.
      best, best_step: the figure of the best checkpoint, and its step.
      last, last_step: of the last one.
      corrected: the figure without the luck of the choice, as ``selection.cross_fitted``; None where the run did not keep what that needs.
    """

    compared: int = 0
    metric: str | None = None
    best: float | None = None
    best_step: int | None = None
    last: float | None = None
    last_step: int | None = None
    corrected: float | None = None

    @classmethod
    def of_run(cls, folder: Path, metric: str | None) -> "Choice":
        """Return the choice of a run, as its metrics.csv has it.

        Raises:
          DataError: metrics.csv cannot be read.
        """
        from pneumodet.core import selection  # heavy: numpy

        rows = metrics_table.validations(folder)
        if not rows:
            return cls(metric=metric)
        best = next((row for row in reversed(rows) if row.best), None)
        return cls(
            compared=len(rows),
            metric=metric,
            best=best.values.get(metric or "") if best else None,
            best_step=best.step if best else None,
            last=rows[-1].values.get(metric or ""),
            last_step=rows[-1].step,
            corrected=selection.of_runs([folder], metric) if metric and len(rows) > 1 else None,
        )

    @classmethod
    def of_facts(cls, facts: Mapping[str, Any]) -> "Choice":
        """Return what ``facts`` wrote, of metrics.json or an export's card."""
        return cls(
            compared=facts.get("checkpoint_chosen_of") or 0,
            metric=facts.get("checkpoint_metric"),
            best=facts.get("checkpoint_best"),
            best_step=facts.get("checkpoint_best_step"),
            last=facts.get("checkpoint_last"),
            last_step=facts.get("checkpoint_last_step"),
            corrected=facts.get("checkpoint_corrected"),
        )

    def facts(self, split: str | None, *, test_exams: int = 0) -> dict[str, Any]:
        """Return what metrics.json says of a split of the record set that the model was trained with.

        Args:
          split: its name.
          test_exams: of the record set's test split.
        """
        here = split == VALIDATION_SPLIT
        named = {VALIDATION_SPLIT: self.name, TEST_SPLIT: TEST, TRAINING_SPLIT: TRAINING}
        chosen = {
            "checkpoint_metric": self.metric,
            "checkpoint_best": self.best,
            "checkpoint_best_step": self.best_step,
            "checkpoint_last": self.last,
            "checkpoint_last_step": self.last_step,
            "checkpoint_corrected": self.corrected,
        }
        several = here and self.compared > 1
        return {
            KEY: named.get(split or ""),
            "checkpoint_chosen_of": self.compared if several else None,
            **(chosen if several else {}),
            "test_exams": test_exams,
        }

    @property
    def name(self) -> str:
        """What figures on the validation exams are called."""
        return CHOSE.format(count=self.compared) if self.compared > 1 else ONLY

    @property
    def finds_no_luck(self) -> bool:
        """Whether the figure without the luck of the choice is, to the digits that are printed, no lower than that of the best checkpoint."""
        return finds_no_luck(self.best, self.corrected)

    @property
    def values(self) -> str:
        """The figure at both checkpoints and without the luck of the choice, as a sentence goes on.

        " (rsna_metric 0.1250 at step 300; 0.0780 at the last, step 1,000; 0.1130 on patients without a part in the choice)"
        """
        if self.best is None or self.best_step is None or self.last_step is None:
            return ""
        best = f"{self.metric} {self.best:.4f} at step {self.best_step:,}"
        without = "" if self.corrected is None else f"; {self.corrected:.4f} on patients without a part in the choice"
        if self.finds_no_luck:
            without = f"; {NO_LUCK}"
        if self.last_step == self.best_step:
            return f" ({best}, the last{without})"
        last = "undefined" if self.last is None else f"{self.last:.4f}"
        return f" ({best}; {last} at the last, step {self.last_step:,}{without})"


def finds_no_luck(best: float | None, corrected: float | None, *, digits: int = 4) -> bool:
    """Return whether a figure without the luck of the choice is, to so many decimals, no lower than the best one; not where either is unknown."""
    return best is not None and corrected is not None and round(corrected, digits) >= round(best, digits)


def is_test(metrics: Mapping[str, Any]) -> bool:
    """Whether metrics.json, or the facts that go into it, are of the test split of the records that a model was trained with."""
    return metrics.get(KEY) in (TEST, TEST_SEEN, TEST_UNSURE, TUNED)


def figures_on(metrics: Mapping[str, Any]) -> str | None:
    """Return what the exams of metrics.json are to the model, with the figure at the last checkpoint where one was chosen on them."""
    name = metrics.get(KEY)
    if not name:
        return None
    choice = Choice.of_facts(metrics)
    return str(name) + (choice.values if choice.compared > 1 else "")


def warning(metrics: Mapping[str, Any]) -> str | None:
    """Return a sentence where the checkpoint was chosen on the very exams; None where it was not."""
    choice = Choice.of_facts(metrics)
    if choice.compared < 2:
        return None
    return _WARNING.format(
        count=choice.compared,
        are="may be" if choice.finds_no_luck else "are",
        next=_TEST_NEXT if metrics.get("test_exams") else _NO_TEST_NEXT,
    )
