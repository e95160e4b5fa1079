"""All detections in order of confidence, and how many of them come before a place, counted with weights of cases.

    ranking = ranked(cases)
    ranking.place                              # (D,) int64: where each detection stands, 0 is the most confident of all
    before = ranking.counter(places)           # prepared once …
    before(weights)                            # … and asked for many resamples at once: (len(places), B)

AP and FROC change at true positives only. What they need of millions of false ones is how many stand before each true one, and under a
resample of cases that is one product of a sparse matrix (gap between true positives x case) with the weights.
"""

from typing import TYPE_CHECKING

import numpy as np

from pneumodet.data.cases import Cases, once

if TYPE_CHECKING:
    from scipy import sparse

_FEW = 0.1
"""Share of weights other than 1 up to which it is faster to count these only."""


class Ranking:
    """The D detections of C cases by falling score; equal scores stay in the order of cases.

    Attributes:
      order: (D,) int64 detections, the most confident first.
      place: (D,) int64, its inverse.
      end: (D,) int64: the place behind the last detection of the same score as the detection in this place of ``order``.
    """

    def __init__(self, cases: Cases) -> None:
        self._box_case, self._count = cases.box_case, len(cases)
        self.order = np.argsort(-cases.scores, kind="stable")
        self.place = np.empty_like(self.order)
        self.place[self.order] = np.arange(len(self.order))
        scores = cases.scores[self.order]
        last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True)) if len(scores) else np.zeros(0, np.int64)
        self.end = np.repeat(last + 1, np.diff(last, prepend=-1))

    def counter(self, places: np.ndarray) -> "Counter":
        """Prepare counting what stands before each of (P,) int64 places in [0, D]."""
        from scipy import sparse  # here, because only evaluation needs it

        unique, inverse = np.unique(places, return_inverse=True)
        # what stands behind the last place is never counted
        until = unique[-1] if len(unique) else 0
        # detections between two places count alike, so that a row of the matrix is a gap, and sums over gaps are the counts; a case may be in a row twice
        starts = np.append(0, unique).astype(np.int64)
        counts = sparse.csr_matrix((np.ones(until), self._box_case[self.order[:until]], starts), shape=(len(unique), self._count))
        return Counter(counts.T.tocsr(), inverse)


class Counter:
    """The detections of C cases before P places, for many weightings of the cases.

    Args of the constructor:
      by_case: (C, G) sparse counts of the detections in each gap between two neighbouring places.
      gap: (P,) int64, the gap that ends at each place.
    """

    def __init__(self, by_case: "sparse.csr_matrix", gap: np.ndarray) -> None:
        self._by_case, self._gap, self._counts = by_case, gap, by_case.T.tocsr()
        self._everything = np.bincount(by_case.indices, weights=by_case.data, minlength=by_case.shape[1])

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        """Return (P, B): the summed weights, of (C, B) float64, of the detections that stand before each place."""
        from scipy import sparse

        changes = weights != 1
        # where a few cases are left out, these are counted and not all the others
        if np.count_nonzero(changes) >= _FEW * changes.size:
            return np.asarray(np.cumsum(self._counts @ weights, axis=0)[self._gap])
        case, column = np.nonzero(changes)
        changed = sparse.csr_matrix((weights[case, column] - 1, (column, case)), shape=weights.T.shape)
        here = self._everything[:, None] + (changed @ self._by_case).toarray().T
        return np.asarray(np.cumsum(here, axis=0)[self._gap])

    def take(self, rows: np.ndarray, places: np.ndarray) -> "Counter":
        """Return the same of the cases of (R,) int64 indices and of some places, of rising (Q,) int64 indices."""
        from scipy import sparse

        ends, gap = np.unique(self._gap[places], return_inverse=True)
        # gaps up to the next place that is left become one
        part = self._by_case[rows][:, : ends[-1] + 1 if len(ends) else 0]
        columns = np.searchsorted(ends, np.arange(part.shape[1]))[part.indices]
        return Counter(sparse.csr_matrix((part.data, columns, part.indptr), shape=(len(rows), len(ends))), gap)


@once
def ranked(cases: Cases) -> Ranking:
    """Return the ranking of cases; several figures need it."""
    return Ranking(cases)
