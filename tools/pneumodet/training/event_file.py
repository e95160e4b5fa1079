"""TensorBoard's event files: records of ``Event`` protos, appended to one at a time, so that a killed training keeps what it has reported.

    file = EventFile(run / "train")
    file.write(summary, step=100)
    file.restart(101)                        # TensorBoard forgets what it has read of step 101 and later ones

Neither TensorFlow's nor TensorBoard's own writer is used: both put the machine's name into the file's, keep up to two minutes of reports in
memory, and TensorBoard's ends its thread with a traceback when the disk is full.
"""

import io
import time
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary

from pneumodet.core.errors import DataError
from pneumodet.core.files import append
from pneumodet.data import tfrecord

_VERSION = "brain.Event:2"  # from this version on, TensorBoard obeys the start of a session


class EventFile:
    """One file in a folder, created with the first event."""

    def __init__(self, folder: Path) -> None:
        seconds, nanoseconds = divmod(time.time_ns(), 10**9)
        self.path = folder / f"events.out.tfevents.{seconds:010d}.{nanoseconds:09d}.v2"  # TensorBoard reads files in order of name
        self._end = 0

    def write(self, summary: Summary, *, step: int) -> None:
        """Append what was measured at ``step``.

        Raises:
          DataError: the file cannot be written; the event is lost, the file stays whole.
        """
        self._append(Event(wall_time=time.time(), step=step, summary=summary))

    def restart(self, first_step: int) -> None:
        """Say that ``first_step`` comes next, so that earlier events of this and later steps are void, also in older files of the folder.

        TensorBoard's own reader forgets them at once. Its data server (--load_fast) forgets those of a name with that name's next event.

        Raises:
          DataError: as in ``write``.
        """
        self._append(Event(wall_time=time.time(), step=first_step, session_log=SessionLog(status=SessionLog.START)))

    def _append(self, event: Event) -> None:
        data = io.BytesIO()
        records = tfrecord.Writer(data)
        if not self._end:
            records.write(Event(wall_time=time.time(), file_version=_VERSION).SerializeToString())
        records.write(event.SerializeToString())
        try:
            # at the end of what is whole: half an event, of a disk that was full, is cut off by the next one
            self._end = append(self.path, data.getvalue(), at=self._end)
        except OSError as error:
            raise DataError(f"Cannot write {self.path}: {error.strerror or error}. Free some disk space.") from error
