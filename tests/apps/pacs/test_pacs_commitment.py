"""Storage commitment: who sent something is told what of it is safe, and what is not."""

import contextlib
import queue
import threading

import pytest
from dicom_sender import free_port, send
from fake_pacs import radiograph
from pydicom.dataset import Dataset

from pneumodet.apps.pacs import commitment, dimse, receiver
from pneumodet.apps.pacs import journal as journals
from pneumodet.apps.pacs.spool import SOURCE
from pneumodet.dicom.net.access import Access
from pneumodet.inference import admission

pynetdicom = pytest.importorskip("pynetdicom")

CR = admission.CR_IMAGE


@contextlib.contextmanager
def receiving(book, *commitment_to):
    peer = dimse.Peer("PNEUMODET", "127.0.0.1", free_port())
    more = {"max_bytes": 1 << 20, "profile": admission.WORKER, "commitment_to": commitment_to}
    with receiver.receiving(peer, book, book.folder, Access(), **more):
        yield peer


def request(uids, transaction="1.2.99"):
    asked = Dataset()
    asked.TransactionUID = transaction
    asked.ReferencedSOPSequence = []
    for uid in uids:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CR, uid
        asked.ReferencedSOPSequence.append(item)
    return asked


class Sender:
    """A modality that asks, and gets answers."""

    def __init__(self, *, may_answer=None):
        self.answers, self.may_answer, self.ended = queue.SimpleQueue(), may_answer, threading.Event()

    def heard(self, event):
        self.answers.put((event.event_type, event.event_information, threading.current_thread()))
        if self.may_answer is not None:
            assert self.may_answer.wait(20)
        return 0x0000, None

    @contextlib.contextmanager
    def calling(self, peer, title="MODALITY"):
        entity = pynetdicom.AE(ae_title=title)
        entity.add_requested_context(commitment.PUSH_MODEL)
        ended = (pynetdicom.evt.EVT_ABORTED, lambda event: self.ended.set())
        handlers = [(pynetdicom.evt.EVT_N_EVENT_REPORT, self.heard), ended]
        association = entity.associate(peer.host, peer.port, ae_title=peer.title, evt_handlers=handlers)
        assert association.is_established
        yield association
        association.release()

    @contextlib.contextmanager
    def listening(self, title="MODALITY"):
        peer = dimse.Peer(title, "127.0.0.1", free_port())
        entity = pynetdicom.AE(ae_title=title)
        entity.add_supported_context(commitment.PUSH_MODEL, scu_role=True, scp_role=True)
        handlers = [(pynetdicom.evt.EVT_N_EVENT_REPORT, self.heard)]
        server = entity.start_server((peer.host, peer.port), block=False, evt_handlers=handlers)
        try:
            yield peer
        finally:
            server.shutdown()

    def ask(self, association, asked, *, action=1, instance=commitment.INSTANCE):
        return association.send_n_action(asked, action, commitment.PUSH_MODEL, instance)[0].Status

    def answer(self):
        kind, said, thread = self.answers.get(timeout=20)
        if self.may_answer is None:
            # an end of pynetdicom's that sends something before this thread is over may wait for ever
            thread.join(20)
            assert not thread.is_alive()
        safe = [one.ReferencedSOPInstanceUID for one in said.get("ReferencedSOPSequence", [])]
        failed = {one.ReferencedSOPInstanceUID: one.FailureReason for one in said.get("FailedSOPSequence", [])}
        return kind, said.TransactionUID, safe, failed


def test_what_was_taken_is_confirmed_over_the_same_association(book):
    sender = Sender()
    with receiving(book) as peer:
        for number in (1, 2):
            assert send(peer, radiograph(number)) == dimse.SUCCESS
        uids = [exam.sop_uid for exam in book.of_state(journals.FETCHED)]
        with sender.calling(peer) as association:
            assert sender.ask(association, request(uids)) == dimse.SUCCESS
            assert sender.answer() == (commitment.ALL_SAFE, "1.2.99", uids, {})
            assert sender.ask(association, request([*uids, "1.2.3"], "1.2.98")) == dimse.SUCCESS
            assert sender.answer() == (commitment.SOME_FAILED, "1.2.98", uids, {"1.2.3": commitment.NO_SUCH_OBJECT})


def test_a_request_that_comes_before_the_answer_to_a_report(book):
    sender = Sender(may_answer=threading.Event())
    with receiving(book) as peer, sender.calling(peer) as association:
        assert sender.ask(association, request(["1.2.3"])) == dimse.SUCCESS
        first = sender.answers.get(timeout=20)
        assert sender.ask(association, request(["1.2.4"], "1.2.98")) == dimse.SUCCESS, "it is served, and taken for no answer"
        sender.may_answer.set()
        second = sender.answers.get(timeout=20)
        for _, _, thread in (first, second):
            thread.join(20)
            assert not thread.is_alive()
        assert [one[1].TransactionUID for one in (first, second)] == ["1.2.99", "1.2.98"]


def test_who_never_answers_a_report_is_cut_off_and_others_are_answered(book, monkeypatch):
    from pneumodet.apps.pacs import messages  # imports pynetdicom

    monkeypatch.setattr(messages.Messages, "dimse_timeout", 1.0)
    mute, other = Sender(may_answer=threading.Event()), Sender()
    with receiving(book) as peer:
        with mute.calling(peer) as association:
            assert mute.ask(association, request(["1.2.3"])) == dimse.SUCCESS
            assert mute.ended.wait(20)
            mute.may_answer.set()
        monkeypatch.undo()
        with other.calling(peer) as association:
            assert other.ask(association, request(["1.2.4"], "1.2.98")) == dimse.SUCCESS
            assert other.answer()[1] == "1.2.98"


def test_answers_go_to_where_the_caller_listens(book):
    sender = Sender()
    with sender.listening() as own, receiving(book, own) as peer:
        assert send(peer, radiograph()) == dimse.SUCCESS
        uid = book.of_state(journals.FETCHED)[0].sop_uid
        with sender.calling(peer) as association:
            assert sender.ask(association, request([uid])) == dimse.SUCCESS
        assert sender.answer() == (commitment.ALL_SAFE, "1.2.99", [uid], {})


@pytest.mark.parametrize(
    ("state", "outcome"),
    [
        (journals.FETCHED, None),
        (journals.PREDICTED, None),
        (journals.STORED, None),
        (journals.DEAD, None),
        (journals.REFUSED, commitment.PROCESSING_FAILURE),
        (journals.SEEN, commitment.NO_SUCH_OBJECT),
    ],
)
def test_only_what_is_kept_or_done_is_safe(book, state, outcome):
    one = commitment.Commitments(book, book.folder, own_title="PNEUMODET", access=Access(), peers={})
    book.take("1.2", digest="d", now=1.0)
    book.folder.write("1.2", SOURCE, b"radiograph")
    book.move("1.2", state, now=1.0)
    assert one.failure("1.2") == outcome
    book.folder.remove("1.2", [SOURCE])
    lost = commitment.NO_SUCH_OBJECT if state in (journals.FETCHED, journals.DEAD) else outcome
    assert one.failure("1.2") == lost
    book.add("1.3", study_uid="1", series_uid="1.0", state=state, now=1.0)
    assert one.failure("1.3") == commitment.NO_SUCH_OBJECT, "it is the PACS that has it"


def test_requests_that_are_none(book, monkeypatch):
    monkeypatch.setattr(commitment, "MAX_REQUEST_BYTES", 1000)
    sender = Sender()
    with receiving(book) as peer, sender.calling(peer) as association:
        assert sender.ask(association, request(["1.2"]), action=2) == commitment.NO_SUCH_ACTION
        assert sender.ask(association, request(["1.2"]), instance="1.2.3") == commitment.NO_SUCH_INSTANCE
        assert sender.ask(association, request([])) == commitment.INVALID_VALUE
        without = request(["1.2"])
        del without.TransactionUID
        assert sender.ask(association, without) == commitment.INVALID_VALUE
        assert sender.ask(association, request(["1.2"] * 30)) == commitment.INVALID_VALUE
    assert sender.answers.empty()
