"""The worker's numbers in the text format of Prometheus, which knows nothing of a patient.

    body, content_type = exposition(health.snapshot(), counts=book.counts(), oldest_seconds=12.0, accept=request.headers["Accept"])

Needs the package prometheus-client. The registry is made anew for each answer: numbers come from the journal and ``Health``, and are not counted twice.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pneumodet.apps.pacs import journal as journals
from pneumodet.core import installation
from pneumodet.core.errors import EnvironmentProblem

PREFIX = "pneumodet_pacs_"

_GAUGES = {
    "seconds_since_beat": ("beat_age_seconds", "Since the loop turned."),
    "seconds_of_last_exam": ("last_exam_seconds", "That the last exam took."),
    "last_success_at": ("last_success_timestamp_seconds", "When an exam was finished; s since 1970."),
    "last_error_at": ("last_error_timestamp_seconds", "When an exam failed or was refused; s since 1970."),
    "pacs_away_since": ("away_since_timestamp_seconds", "Since when the PACS does not answer; s since 1970."),
}
"""Fact of ``Health`` -> name and help of a gauge, which is left out where the fact is not known."""


def exposition(facts: Mapping[str, Any], *, counts: Mapping[str, int], oldest_seconds: float | None, accept: str) -> tuple[bytes, str]:
    """Return (body, Content-Type).

    Args:
      facts: of ``Health.snapshot``.
      counts: state -> exams.
      oldest_seconds: since when the oldest exam waits that there is work on; None where there is none.
      accept: media types that are wanted: OpenMetrics, or else the older text format.

    Raises:
      EnvironmentProblem: prometheus-client is not installed.
    """
    try:
        from prometheus_client import CollectorRegistry
        from prometheus_client.exposition import choose_encoder
    except ImportError as error:
        raise EnvironmentProblem(f"/metrics needs the package prometheus-client. Run: {installation.command('pacs')}") from error
    registry = CollectorRegistry()
    registry.register(_Collector(facts, counts, oldest_seconds))
    encode, content_type = choose_encoder(accept)
    body: bytes = encode(registry)
    return body, content_type


class _Collector:
    def __init__(self, facts: Mapping[str, Any], counts: Mapping[str, int], oldest_seconds: float | None) -> None:
        self._facts, self._counts, self._oldest = facts, counts, oldest_seconds

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        exams = GaugeMetricFamily(f"{PREFIX}exams", "Exams in the journal, by state.", labels=["state"])
        for state, count in self._counts.items():
            exams.add_metric([state], count)
        yield exams
        queue = sum(self._counts[state] for state in journals.OPEN)
        yield GaugeMetricFamily(f"{PREFIX}queue", "Exams that there is work on.", value=queue)
        yield GaugeMetricFamily(f"{PREFIX}queue_oldest_seconds", "Since when the oldest of them waits.", value=self._oldest or 0.0)
        away = self._facts["pacs_away_since"] is not None
        yield GaugeMetricFamily(f"{PREFIX}away", "1 while the PACS does not answer.", value=away)
        stored = self._facts["stored_since_start"]
        yield CounterMetricFamily(f"{PREFIX}stored", "Exams finished since the worker started.", value=stored)
        turned_away = CounterMetricFamily(
            f"{PREFIX}callers_turned_away", "DICOM callers that were not heard, by reason.", labels=["reason"]
        )
        for reason, count in self._facts["callers_turned_away"].items():
            turned_away.add_metric([reason], count)
        yield turned_away
        for fact, (name, text) in _GAUGES.items():
            if self._facts[fact] is not None:
                yield GaugeMetricFamily(PREFIX + name, text, value=self._facts[fact])
