"""Watch a PACS for new chest radiographs, predict them, and store structured reports and presentation states back."""

import argparse
import contextlib
import logging
import os
import sys
import time
import warnings
from collections.abc import Sequence

from pneumodet.cli import console
from pneumodet.core import logs
from pneumodet.core.errors import ConfigError, DataError
from pneumodet.inference import BACKENDS

EPILOG = """examples:
  python tools/pacs_worker.py --model workspace/my_first/export --state workspace/pacs --dicomweb https://pacs.example/dicom-web
  python tools/pacs_worker.py --model … --state … --listen PNEUMODET@0.0.0.0:11112 --send ORTHANC@10.0.0.5:4242
  python tools/pacs_worker.py --state workspace/pacs --status

Credentials and certificates come from the environment only: PNEUMODET_PACS_USER, _PASSWORD or _TOKEN, _CA, _CERTIFICATE, _KEY; see docs/guide/pacs.md.
For research; not a medical device."""

MEGABYTE = 1 << 20

OFF = "off"

NO_ARCHIVE = "Nothing says where reports go to. Give --dicomweb URL, or --send TITLE@HOST:PORT."


def build_parser() -> console.Parser:
    """Return the command's parser."""
    parser = console.Parser("pacs_worker", __doc__, EPILOG)
    parser.add_argument(
        "--state", type=console.path, required=True, help="folder of the journal and of what is on its way; holds patient data"
    )
    parser.add_argument("--model", type=console.model, help="folder made by python tools/export.py, or the name of its run")
    console.add_trust(parser)
    where = parser.add_argument_group("where radiographs come from and reports go to")
    where.add_argument("--dicomweb", metavar="URL", help="service that is watched, and gets the reports unless --send names another")
    where.add_argument("--listen", metavar="TITLE@HOST:PORT", help="take radiographs by C-STORE instead of watching")
    where.add_argument(
        "--caller", metavar="TITLE", action="append", default=[], help="application entity that may send; again for each (default: all)"
    )
    where.add_argument(
        "--commitment-to",
        metavar="TITLE@HOST:PORT",
        action="append",
        default=[],
        help="where a sender listens for answers about storage commitment; again for each (default: over the association on which it asked)",
    )
    where.add_argument("--send", metavar="TITLE@HOST:PORT", help="send the reports there by C-STORE")
    what = parser.add_argument_group("what is predicted")
    what.add_argument(
        "--days", type=console.whole_number, default=2, help="query studies of today and so many days before (default %(default)s)"
    )
    what.add_argument("--all-days", action="store_true", help="query every study that the service has")
    what.add_argument(
        "--secondary-capture", action="store_true", help="predict secondary captures of modality CR or DX, too, as RSNA's files are"
    )
    what.add_argument("--unnamed-body-part", action="store_true", help="predict radiographs that do not say what they are of, too")
    what.add_argument(
        "--body-part",
        metavar="TEXT",
        action="append",
        default=[],
        help="what your site writes in BodyPartExamined for the chest, where --status shows it among the refused; again for each",
    )
    what.add_argument(
        "--view",
        metavar="TEXT",
        action="append",
        default=[],
        help="what your site writes in ViewPosition for a frontal view; again for each",
    )
    what.add_argument("--max-megabytes", type=console.positive_int, default=128, help="refuse larger objects (default %(default)s)")
    how = parser.add_argument_group("how")
    how.add_argument("--backend", choices=BACKENDS, default="auto", help="what runs the model")
    how.add_argument("--threads", type=console.positive_int, help="of the model (default: all cores)")
    how.add_argument("--score-threshold", type=console.fraction, help="of reported boxes (default: the one in the model)")
    how.add_argument(
        "--recipe", type=console.existing_file, help="post-processing (and views) chosen by python tools/postprocess.py, without a gate"
    )
    how.add_argument("--poll-seconds", type=console.positive_float, default=10.0, help="between two queries (default %(default)s)")
    how.add_argument(
        "--health", metavar="HOST:PORT", default="127.0.0.1:8105", help=f"/healthz and /metrics, or '{OFF}' (default %(default)s)"
    )
    how.add_argument("--once", action="store_true", help="do what can be done now, and end")
    parser.add_argument("--status", action="store_true", help="print what became of the exams, and which failed for good, and end")
    parser.add_argument("--retry-dead", action="store_true", help="give exams that failed for good all their attempts again, and end")
    parser.add_argument(
        "--retry-refused",
        metavar="REASON",
        nargs="?",
        const="",
        help="try exams again that were refused, all or those whose reason (--status) has this text, and end",
    )
    return parser


def run(args: argparse.Namespace) -> int:
    """Work until stopped, or print the status; return the exit code."""
    # without a lock on the folder, so that it can be asked while a worker runs
    if args.status:
        _print_status(args)
        return 0
    from pneumodet.apps.pacs.journal import Journal
    from pneumodet.apps.pacs.spool import Folder

    if args.retry_dead:
        with contextlib.closing(_existing_journal(args)) as journal:
            console.out(f"{journal.revive(now=time.time())} exams are tried again")
        return 0
    if args.retry_refused is not None:
        with contextlib.closing(_existing_journal(args)) as journal:
            tried, gone = journal.retry_refused(args.retry_refused, now=time.time())
        console.out(f"{tried} exams are tried again; {gone} came by C-STORE, and are taken when they are sent again")
        return 0
    if args.model is None:
        raise ConfigError("--model is missing: the folder made by python tools/export.py.")
    _check_places(args)
    # one worker a folder: two would work on the same exams
    with Folder(args.state).held() as folder, contextlib.closing(Journal(folder.journal)) as journal:
        return _work(args, folder, journal)


def _check_places(args: argparse.Namespace) -> None:
    if not args.listen and not args.dicomweb:
        raise ConfigError("Nothing says where radiographs come from. Give --dicomweb URL, or --listen TITLE@HOST:PORT.")
    if not args.dicomweb and not args.send:
        raise ConfigError(NO_ARCHIVE)
    if args.listen and args.dicomweb and args.send:
        raise ConfigError("With --listen, reports go to --dicomweb or to --send, not to both. Leave one of them out.")
    if args.once and args.listen:
        raise ConfigError("--once ends before anybody can send something. Leave it or --listen out.")
    if args.commitment_to and not args.listen:
        raise ConfigError("--commitment-to is for those who send, but nobody can without --listen.")
    if args.caller and not args.listen:
        raise ConfigError("--caller says who may send, but nobody can without --listen.")


def _work(args: argparse.Namespace, folder, journal) -> int:
    from pneumodet.apps.pacs import analysis, dimse, health, interfaces, receiver, watch, worker
    from pneumodet.core.signals import caught
    from pneumodet.dicom.net import access, dicomweb, transport
    from pneumodet.inference import admission

    _set_up_logging()
    ours = access.read(os.environ)
    profile = admission.worker_profile(
        secondary_capture=args.secondary_capture, unnamed_body_part=args.unnamed_body_part, body_parts=args.body_part, views=args.view
    )
    max_bytes = args.max_megabytes * MEGABYTE
    # all addresses are read before anything is opened, so that a mistake in one costs nothing
    own = dimse.peer(args.listen) if args.listen else None
    commitment_to = [dimse.peer(one) for one in args.commitment_to]
    pacs = dicomweb.DicomwebClient(args.dicomweb, ours, limits=transport.Limits(object_bytes=max_bytes)) if args.dicomweb else None
    archive: interfaces.Archive | None = pacs
    if args.send:
        archive = dimse.Archive(dimse.peer(args.send), ours, own_title=own.title if own else "PNEUMODET")
    if archive is None:  # as _check_places, for readers and the type checker
        raise ConfigError(NO_ARCHIVE)
    place = _host_and_port(args.health)
    # before the model is loaded, which takes a while, so that a stop in it is not lost
    with caught() as stop, contextlib.ExitStack() as stack:
        analyst = analysis.ModelAnalyst(
            args.model,
            profile=profile,
            backend=args.backend,
            trust=args.trust_model,
            threads=args.threads,
            score_threshold=args.score_threshold,
            recipe=args.recipe,
        )
        report = health.Health()
        # before the first loop: a health check that comes earlier would call the worker stuck
        report.beat()
        if place is not None:
            stack.enter_context(health.serving(report, journal, *place))
        settings = watch.Settings(profile, None if args.all_days else args.days, args.poll_seconds)
        # what arrives by C-STORE is not asked for as well
        source = None if own is not None else pacs
        loop = worker.Worker(journal, folder, analyst, archive, source=source, settings=settings, health=report)
        if own is not None:
            more = {"max_bytes": max_bytes, "callers": args.caller, "profile": profile, "turned_away": report.turned_away}
            stack.enter_context(receiver.receiving(own, journal, folder, ours, commitment_to=commitment_to, **more))
        failures = loop.run(stop, once=args.once)
    # a cron job sees by the exit code that something is still to be done
    if args.once and failures:
        console.err(f"{failures} attempts failed; the next run tries again. --status says why.")
        return 1
    return 0


def _print_status(args: argparse.Namespace) -> None:
    from pneumodet.apps.pacs import journal as journals
    from pneumodet.dicom.net import errors

    with contextlib.closing(_existing_journal(args)) as journal:
        console.out(f"model: {journal.fact('model') or 'none yet'}")
        for state, count in journal.counts().items():
            console.out(f"{state:<10}{count:>8}")
        for state in (journals.REFUSED, journals.DEAD):
            for reason, count in journal.reasons(state):
                console.out(f"{state}: {count} because {reason}")
        waiting = [exam for state in journals.OPEN for exam in journal.of_state(state) if exam.reason]
        for title, exams in (("failed so far, tried again", waiting), ("dead, until --retry-dead", journal.of_state(journals.DEAD))):
            for exam in exams:
                console.out(f"{title}: {errors.short(exam.sop_uid)} {exam.sop_uid} after {exam.attempts} attempts: {exam.reason}")


def _existing_journal(args: argparse.Namespace):
    from pneumodet.apps.pacs import journal, spool

    path = spool.Folder(args.state).journal
    # Journal would make the file, and a mistyped folder would pass for a worker without exams
    if not path.is_file():
        raise DataError(f"There is no journal in {args.state}. Is this the --state folder of a worker?")
    return journal.Journal(path)


def _host_and_port(text: str) -> tuple[str, int] | None:
    if text == OFF:
        return None
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) >= 1 << 16:
        raise ConfigError(f"--health is {text!r}, must be HOST:PORT, as in 127.0.0.1:8105, or '{OFF}'.")
    # an IPv6 address is written in brackets before a port, and opened without
    return host.strip("[]"), int(port)


def _set_up_logging() -> None:
    """Let the worker's own log lines out, with their times, and none of those that quote headers; both whatever --verbose says."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logs.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for name in ("pneumodet.apps.pacs", "pneumodet.dicom.net"):
        own = logging.getLogger(name)
        # not passed on, or pneumodet's own handler would print each line a second time
        own.handlers, own.propagate = [handler], False
        own.setLevel(logging.INFO)
    # their messages quote values of headers, which may be names
    for name in ("pydicom", "highdicom", "pynetdicom"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see ``console.run``."""
    return console.run(build_parser(), run, argv)
