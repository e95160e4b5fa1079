"""What became of each exam, in a small SQLite file that outlives a kill and a loss of power.

    journal = Journal(state_dir / "journal.sqlite")
    journal.add("1.2.840.1", study_uid="1.2.840", series_uid="1.2.840.0", now=time.time())
    exam = journal.due(now=time.time())                  # the one whose turn it is, or None
    journal.begin(exam.sop_uid, next_try=…, now=…)       # counted before it is tried: an exam that ends the process counts, too
    journal.move(exam.sop_uid, STORED, now=…)

    seen -> fetched -> predicted -> stored
         and from each of them refused (never tried again) or dead (tried too often)

Every change is on the disk before the call returns; where that fails, the call raises EnvironmentProblem. The file holds UIDs, and reasons
without patient data, but nothing else of an exam.
"""

import contextlib
import dataclasses
import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pneumodet.core.errors import DataError, EnvironmentProblem

SEEN, FETCHED, PREDICTED, STORED, REFUSED, DEAD = "seen", "fetched", "predicted", "stored", "refused", "dead"
STATES = (SEEN, FETCHED, PREDICTED, STORED, REFUSED, DEAD)
OPEN = (SEEN, FETCHED, PREDICTED)
"""States of exams that there is work on."""

VERSION = 3
"""Of the tables; 1 lacked ``failing_since`` and ``digest``, 2 lacked ``digest``, and both get them; another one is refused."""

_ADDED = {"failing_since": "REAL", "digest": "TEXT NOT NULL DEFAULT ''"}
"""Columns that older versions lack."""

# outputs have a table of their own, since every object that a PACS lists is compared with them
_TABLES = """
CREATE TABLE exam (
  sop_uid TEXT PRIMARY KEY, study_uid TEXT NOT NULL, series_uid TEXT NOT NULL,
  state TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '', attempts INTEGER NOT NULL DEFAULT 0, next_try REAL NOT NULL,
  seen_at REAL NOT NULL, changed_at REAL NOT NULL, outputs TEXT NOT NULL DEFAULT '[]', failing_since REAL,
  digest TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE INDEX exam_by_turn ON exam (state, next_try);
CREATE TABLE output (sop_uid TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""

LONGEST_PAUSE_SECONDS = 900.0
"""Before an exam is tried again."""

_IN_OPEN = "('seen', 'fetched', 'predicted')"

_AGAIN = "state = 'seen', reason = '', attempts = 0, failing_since = NULL, next_try = ?, changed_at = ?"


@dataclasses.dataclass(frozen=True)
class Exam:
    """A line of the journal.

    Attributes:
      sop_uid: SOPInstanceUID (0008,0018) of the radiograph.
      study_uid: its StudyInstanceUID; empty where it came by C-STORE and was not opened yet.
      series_uid: its SeriesInstanceUID; likewise.
      state: one of ``STATES``.
      reason: why it was refused, is dead, or has to wait; empty otherwise.
      attempts: how often it was begun.
      next_try: not before this time; s since 1970.
      seen_at: when it was first seen; s since 1970.
      outputs: SOPInstanceUIDs of what was made of it.
      failing_since: when an attempt failed for the first time; s since 1970, None where none has.
      digest: SHA-256 of what came by C-STORE, as hex digits; empty where it came otherwise, or is to be taken again.
    """

    sop_uid: str
    study_uid: str
    series_uid: str
    state: str
    reason: str
    attempts: int
    next_try: float
    seen_at: float
    outputs: tuple[str, ...]
    failing_since: float | None
    digest: str = ""


_COLUMNS = "sop_uid, study_uid, series_uid, state, reason, attempts, next_try, seen_at, outputs, failing_since, digest"


class Journal:
    """The journal's file; several threads may use one object."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it.

        Raises:
          DataError: it cannot be used, is damaged, or is of another version.
        """
        self._path = path
        self._lock = threading.Lock()
        opened = contextlib.ExitStack()
        try:
            # without an isolation level each statement is a transaction of its own; threads are kept apart by the lock
            self._database = opened.enter_context(
                contextlib.closing(sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30))
            )
            # another process may read while the worker writes
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")  # a C-STORE is acknowledged only after it is safe here
            version = self._database.execute("PRAGMA user_version").fetchone()[0]
            (result,) = self._database.execute("PRAGMA quick_check(1)").fetchone()
            if result != "ok":
                raise sqlite3.DatabaseError("its contents are damaged")
            if version == 0:
                self._database.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {VERSION}; COMMIT;")
            elif version < VERSION:
                there = {row[1] for row in self._database.execute("PRAGMA table_info(exam)")}
                added = " ".join(f"ALTER TABLE exam ADD COLUMN {name} {kind};" for name, kind in _ADDED.items() if name not in there)
                self._database.executescript(f"BEGIN IMMEDIATE; {added} PRAGMA user_version = {VERSION}; COMMIT;")
        except sqlite3.Error as error:
            opened.close()
            raise DataError(
                f"The journal {path} cannot be used ({error}). Free or repair its disk; if the file itself is damaged, move it away and start "
                "again: radiographs that wait in the folder are taken up again, and exams in the PACS get no second report."
            ) from error
        if not 0 <= version <= VERSION:
            self.close()
            raise DataError(f"The journal {path} is of version {version}, and this program reads {VERSION}. Choose another --state folder.")

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    @contextlib.contextmanager
    def _used(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._lock:
                yield self._database
        except sqlite3.Error as error:
            raise EnvironmentProblem(
                f"The journal {self._path} cannot be used any more ({error}). Check its disk, and start again."
            ) from error

    def _write(self, statement: str, values: Sequence = ()) -> int:
        with self._used() as database:
            return database.execute(statement, values).rowcount

    def _read(self, statement: str, values: Sequence = ()) -> list[tuple]:
        with self._used() as database:
            return database.execute(statement, values).fetchall()

    def add(self, sop_uid: str, *, study_uid: str = "", series_uid: str = "", state: str = SEEN, reason: str = "", now: float) -> bool:
        """Write down an exam, unless it is there already; return whether it is new."""
        values = (sop_uid, study_uid, series_uid, state, reason, now, now, now)
        return (
            self._write(
                "INSERT OR IGNORE INTO exam (sop_uid, study_uid, series_uid, state, reason, next_try, seen_at, changed_at) VALUES (?,?,?,?,?,?,?,?)",
                values,
            )
            > 0
        )

    def take(self, sop_uid: str, *, digest: str, now: float) -> None:
        """Write down an exam whose file came by C-STORE, from its beginning, whatever became of an earlier one of the same UID."""
        self._write(
            "INSERT INTO exam (sop_uid, study_uid, series_uid, state, next_try, seen_at, changed_at, digest) VALUES (?,'','','fetched',?,?,?,?) "
            "ON CONFLICT (sop_uid) DO UPDATE SET state = 'fetched', reason = '', attempts = 0, failing_since = NULL, outputs = '[]', "
            "next_try = excluded.next_try, seen_at = excluded.seen_at, changed_at = excluded.changed_at, digest = excluded.digest",
            (sop_uid, now, now, now, digest),
        )

    def get(self, sop_uid: str) -> Exam | None:
        """Return an exam's line, or None."""
        rows = self._read(f"SELECT {_COLUMNS} FROM exam WHERE sop_uid = ?", (sop_uid,))
        return _exam(rows[0]) if rows else None

    def due(self, *, now: float) -> Exam | None:
        """Return the exam whose turn it is, or None where none's is.

        Exams that would have to wait longer than ever intended are due at once: the clock was set back since they were written down.
        """
        never = f"state IN {_IN_OPEN} AND next_try > ?"
        latest = now + 2 * LONGEST_PAUSE_SECONDS
        if self._read(f"SELECT 1 FROM exam WHERE {never} LIMIT 1", (latest,)):
            earlier = "next_try = ?, seen_at = MIN(seen_at, ?), failing_since = MIN(failing_since, ?)"
            self._write(f"UPDATE exam SET {earlier} WHERE {never}", (now, now, now, latest))
        rows = self._read(f"SELECT {_COLUMNS} FROM exam WHERE state IN {_IN_OPEN} AND next_try <= ? ORDER BY next_try LIMIT 1", (now,))
        return _exam(rows[0]) if rows else None

    def next_turn(self) -> float | None:
        """Return when the next exam is due, in s since 1970, or None where there is no work."""
        return self._read(f"SELECT MIN(next_try) FROM exam WHERE state IN {_IN_OPEN}")[0][0]

    def begin(self, sop_uid: str, *, next_try: float, now: float) -> None:
        """Count an attempt, and say when the next one is due if this one does not come to an end."""
        self._write("UPDATE exam SET attempts = attempts + 1, next_try = ?, changed_at = ? WHERE sop_uid = ?", (next_try, now, sop_uid))

    def take_back(self, sop_uid: str, *, next_try: float) -> None:
        """Do not count the last attempt: what it failed by is not the exam's own."""
        self._write("UPDATE exam SET attempts = MAX(attempts - 1, 0), next_try = ? WHERE sop_uid = ?", (next_try, sop_uid))

    def explain(self, sop_uid: str, reason: str, *, now: float) -> None:
        """Write down why an exam has to wait, and since when it fails."""
        self._write("UPDATE exam SET reason = ?, failing_since = COALESCE(failing_since, ?) WHERE sop_uid = ?", (reason, now, sop_uid))

    def stored_since(self, moment: float, *, now: float) -> bool:
        """Whether any exam was stored between a moment and now, in s since 1970; a clock that was set back leaves later ones."""
        return bool(self._read("SELECT 1 FROM exam WHERE state = 'stored' AND changed_at BETWEEN ? AND ? LIMIT 1", (moment, now)))

    def move(self, sop_uid: str, state: str, *, now: float, reason: str = "", outputs: Iterable[str] | None = None) -> None:
        """Bring an exam into a state; ``outputs``, where given, are what was made of it."""
        with self._used() as database, database:
            # one transaction: a kill must not leave a predicted exam without its outputs
            database.execute("BEGIN IMMEDIATE")
            database.execute("UPDATE exam SET state = ?, reason = ?, changed_at = ? WHERE sop_uid = ?", (state, reason, now, sop_uid))
            if outputs is not None:
                made = list(outputs)
                database.execute("UPDATE exam SET outputs = ? WHERE sop_uid = ?", (json.dumps(made), sop_uid))
                database.executemany("INSERT OR IGNORE INTO output VALUES (?)", [(uid,) for uid in made])

    def is_output(self, sop_uid: str) -> bool:
        """Whether the worker has made this object itself."""
        return bool(self._read("SELECT 1 FROM output WHERE sop_uid = ?", (sop_uid,)))

    def revive(self, *, now: float) -> int:
        """Give dead exams all their attempts again; return how many."""
        return self._write(f"UPDATE exam SET {_AGAIN} WHERE state = 'dead'", (now, now))

    def retry_refused(self, reason: str = "", *, now: float) -> tuple[int, int]:
        """Forget that exams were refused.

        Args:
          reason: part of why they were; empty for all.
          now: s since 1970.

        Returns:
          How many are tried again, and how many came by C-STORE and were not kept: these are taken when they are sent again.
        """
        # by instr: reasons may have what LIKE takes for a pattern
        which = "state = 'refused' AND instr(reason, ?) > 0"
        tried = self._write(f"UPDATE exam SET {_AGAIN} WHERE {which} AND study_uid <> ''", (now, now, reason))
        return tried, self._write(f"UPDATE exam SET digest = '' WHERE {which}", (reason,))

    def counts(self) -> dict[str, int]:
        """Return how many exams are in each state."""
        return dict.fromkeys(STATES, 0) | dict(self._read("SELECT state, COUNT(*) FROM exam GROUP BY state"))

    def oldest_open(self) -> float | None:
        """Return when the oldest exam that there is work on was seen, in s since 1970, or None."""
        return self._read(f"SELECT MIN(seen_at) FROM exam WHERE state IN {_IN_OPEN}")[0][0]

    def of_state(self, state: str) -> list[Exam]:
        """Return all exams in a state, in the order in which they were seen."""
        return [_exam(row) for row in self._read(f"SELECT {_COLUMNS} FROM exam WHERE state = ? ORDER BY seen_at, sop_uid", (state,))]

    def uids(self) -> list[str]:
        """Return the SOPInstanceUIDs of all exams."""
        return [uid for (uid,) in self._read("SELECT sop_uid FROM exam")]

    def reasons(self, state: str) -> list[tuple[str, int]]:
        """Return (reason, number of exams) of a state, the most frequent first."""
        return self._read("SELECT reason, COUNT(*) FROM exam WHERE state = ? GROUP BY reason ORDER BY 2 DESC, 1", (state,))

    def fact(self, name: str) -> str | None:
        """Return a fact that was noted, or None."""
        rows = self._read("SELECT value FROM fact WHERE name = ?", (name,))
        return rows[0][0] if rows else None

    def note(self, name: str, value: str) -> None:
        """Note a fact, such as the model that is at work."""
        self._write("INSERT OR REPLACE INTO fact VALUES (?, ?)", (name, value))


def _exam(row: tuple[Any, ...]) -> Exam:
    """Return a row of ``_COLUMNS``, which are in the order of ``Exam``'s fields; outputs are JSON in the table."""
    sop_uid, study_uid, series_uid, state, reason, attempts, next_try, seen_at, outputs, failing_since, digest = row
    made = tuple(json.loads(outputs))
    return Exam(sop_uid, study_uid, series_uid, state, reason, attempts, next_try, seen_at, made, failing_since, digest)
