"""DIMSE messages of an association that somebody else has asked for, between which notifications of ours go (N-EVENT-REPORT, PS3.7 10.1.1).

    association.dimse = Messages(association)                       # before its thread starts
    status = association.dimse.notify(information, 1, sop_class, instance)      # from another thread

pynetdicom's own ``send_n_event_report`` stops the association's thread from another one, by flags that both set: it may wait for ever. It also takes a
request that comes meanwhile, which the standard allows, for its answer, and aborts. Here the association's own thread sends, between two messages of the
caller's, and keeps answers apart from requests.

Imports pynetdicom, so that this module is imported only where somebody listens.
"""

import queue
import time
from io import BytesIO
from typing import Any

from pynetdicom import dsutils
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_primitives import N_EVENT_REPORT

TURN_SECONDS = 0.1
"""Between two checks whether an association has ended."""


class Messages(DIMSEServiceProvider):
    """Takes the place of pynetdicom's own; the socket of the association is one of ``listener``'s."""

    def __init__(self, association: Any) -> None:
        """Begin without notifications."""
        super().__init__(association)
        self._to_send: queue.SimpleQueue[tuple[Any, int, queue.SimpleQueue[int | None]]] = queue.SimpleQueue()
        self._unanswered: queue.SimpleQueue[int | None] | None = None  # of the association's thread

    def notify(self, information: Any, event_type: int, sop_class: str, instance: str) -> int | None:
        """Have a notification sent, and wait for its answer; for every thread but the association's own.

        Where none comes within ``dimse_timeout``, the connection is closed.

        Args:
          information: dataset of the event.
          event_type: as the SOP class defines it.
          sop_class: of the caller's presentation context.
          instance: SOP instance that it is about.

        Returns:
          The status of the answer. None where there was none, no presentation context was accepted for it, or the association has ended.
        """
        context = next((one for one in self.assoc.accepted_contexts if one.abstract_syntax == sop_class), None)
        if context is None:
            return None
        syntax = context.transfer_syntax[0]
        data = dsutils.encode(information, syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated)
        if data is None:
            return None
        request = N_EVENT_REPORT()
        request.MessageID, request.EventTypeID = 1, event_type
        request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = sop_class, instance
        request.EventInformation = BytesIO(data)
        answer: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._to_send.put((request, context.context_id, answer))
        return self._awaited(answer)

    def _awaited(self, answer: "queue.SimpleQueue[int | None]") -> int | None:
        end = time.monotonic() + (self.dimse_timeout or 0.0)
        while True:
            # asked before the answer is: one may come just before the end
            established, late = self.assoc.is_established, time.monotonic() >= end
            try:
                return answer.get(timeout=TURN_SECONDS if established and not late else 0.0)
            except queue.Empty:
                if not established:
                    return None
            if late:
                self.dul.socket.caller.shut()
                return None

    def get_msg(self, block: bool = False) -> Any:
        """Return the next request as (context, message), or (None, None); the association's thread calls it every moment.

        A notification is sent here, one at a time (PS3.7 D.3.3.3), and an answer goes to who waits for it.
        """
        if self._unanswered is None and not self._to_send.empty():
            request, context_id, self._unanswered = self._to_send.get()
            self.send_msg(request, context_id)
        context_id, message = super().get_msg(block)
        if not isinstance(message, N_EVENT_REPORT) or message.MessageIDBeingRespondedTo is None:
            return context_id, message
        if self._unanswered is not None:
            self._unanswered.put(message.Status)
            self._unanswered = None
        return None, None
