"""The page, which Streamlit runs from top to bottom for every view. What it shows is computed by the modules beside it, without Streamlit.

All users share the model (``st.cache_resource``); each one's radiographs lie in the session's own state and go with it.
"""

import dataclasses
import functools
import logging
import sys
import traceback

import streamlit as st
from streamlit import runtime
from streamlit.runtime import scriptrunner

from pneumodet.apps.web import RESEARCH_ONLY, downloads, facts, rendering, samples, truth, uploads
from pneumodet.apps.web.budget import Budget
from pneumodet.apps.web.cases import Case, Cases
from pneumodet.apps.web.controls import choose_display, choose_threshold
from pneumodet.apps.web.heatmaps import Folder
from pneumodet.apps.web.rendering import Display
from pneumodet.apps.web.server import Options
from pneumodet.apps.web.shared_model import SharedModel
from pneumodet.apps.web.uploads import File, Refused
from pneumodet.apps.web.window import Radiograph
from pneumodet.core.errors import DataError, PneumodetError
from pneumodet.inference import probability
from pneumodet.viz.markdown import plain

TITLE = "Pneumonia on chest radiographs"

LOADING = "The model is loading, which takes some seconds the first time."

POLL_S = 1.0
"""So often the page asks whether the model is open."""

SHOWN_REASONS, SHOWN_NAMES = 6, 3
"""Reasons why files were refused, and files named with each; the others are counted."""

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, eq=False)
class Shared:
    """What all users of the page have in common."""

    model: SharedModel
    boxes: truth.Boxes
    heatmaps: Folder | None
    budget: Budget


@st.cache_resource(show_spinner=False)
def shared_by_all(argument: str) -> Shared:
    """Return the model, which begins to open, the ground truth and the heatmaps that the command was given."""
    options = Options.from_arguments(["", argument])
    boxes = truth.of_file(options.labels)[0] if options.labels else {}
    model = SharedModel(options.model, backend=options.backend, trust=options.trust)
    model.open()
    return Shared(model, boxes, Folder(options.heatmaps) if options.heatmaps else None, Budget())


def main() -> None:
    """Show the page."""
    st.set_page_config(page_title=f"{TITLE} - pneumodet", page_icon=rendering.page_icon(), layout="wide")
    st.title(TITLE, anchor=False)
    st.warning(RESEARCH_ONLY, icon=":material/science:")
    try:
        shared = shared_by_all(sys.argv[1])
    except PneumodetError as error:
        st.error(plain(str(error)))
        return
    state = st.session_state
    # once a session: the script runs again with every click
    if "cases" not in state:
        state.cases, state.refused, state.boxes, state.drops = Cases(shared.model.detect, shared.budget), [], {}, 0
        state.threshold = shared.model.score_threshold
    left, middle, right = st.columns((1.1, 2, 1.1), gap="medium")
    with left:
        offer_files()
        detect_on_pending(shared.model)
        show_refusals()
        case = choose_case()
    if case is None:
        with middle:
            show_welcome(shared.model)
        return
    with middle:
        # above the picture, which is taller than many screens: who moves it sees the boxes change
        score_threshold = choose_threshold(shared.model)
        picture_place = st.container()
    with right:
        radiograph = state.cases.radiograph(case)
        display = choose_display(case, radiograph, score_threshold, boxes={**shared.boxes, **state.boxes}, heatmaps=shared.heatmaps)
        show_facts(case, radiograph.notes)
        show_downloads(shared.model, case, display)
    with picture_place:
        show_picture(shared.model, case, radiograph, display)


def offer_files() -> None:
    """Show where radiographs come from: files that are dropped or chosen, and samples."""
    key = f"drop-{st.session_state.drops}"
    st.file_uploader(
        "Radiographs: DICOM, PNG, JPEG, TIFF, BMP, WebP, or a ZIP archive of them. A CSV, COCO or VOC file of boxes is drawn as ground truth.",
        accept_multiple_files=True,
        key=key,
        on_change=take_files,
        args=(key,),
        help=f"At most {uploads.MAX_FILES} radiographs, {uploads.MAX_FILE_BYTES >> 20} MB each; archives of up to "
        f"{uploads.MAX_ARCHIVE_BYTES >> 20} MB. They stay in this computer's memory.",
    )
    st.selectbox(
        "Or a sample, drawn by a program",
        range(1, samples.COUNT + 1),
        index=None,
        format_func=lambda one: f"Sample {one}",
        placeholder="Choose a sample",
        key="sample",
        on_change=take_sample,
    )


def take_files(key: str) -> None:
    """Take what was dropped, and continue with a new uploader, so that the files lie in memory once."""
    state = st.session_state
    given = [File(one.name, one.getvalue()) for one in state[key] or ()]
    for file in (one for one in given if one.is_labels):
        take_labels(file)
    files, refused = uploads.unpack([one for one in given if not one.is_labels], room=state.cases.room)
    state.cases.pending += [(file, None) for file in files]
    state.refused += refused
    state.drops += 1


def take_sample() -> None:
    """Take the sample that was chosen, and let another one be chosen."""
    state = st.session_state
    if state.sample:
        state.cases.pending.append(samples.draw(state.sample))
        state.sample = None


def take_labels(file: File) -> None:
    """Take ground truth that was dropped."""
    state = st.session_state
    name = uploads.clean_name(file.name)
    try:
        boxes, rejected = truth.of_upload(File(name, file.data))
    except DataError as error:
        state.refused.append(Refused(name, str(error)))
        return
    state.boxes = {**state.boxes, **boxes}
    if rejected:
        state.refused.append(Refused(name, f"{rejected} of its exams cannot be used; {len(boxes)} can."))


def detect_on_pending(model: SharedModel) -> None:
    """Detect on the files that wait. A click meanwhile begins a new run of the script, which continues with those that are left."""
    state = st.session_state
    pending = state.cases.pending
    if not pending:
        return
    total, added = len(pending), []
    bar = st.progress(0.0)
    while pending and is_watched():
        what = f"Looking at {plain(pending[0][0].name)}" if model.is_open else f"{LOADING} {total} waiting"
        bar.progress(1 - len(pending) / total, text=what)
        file, boxes_xyxy_px = pending.pop(0)  # between here and the next call of Streamlit nothing can interrupt
        try:
            added.append(state.cases.add(file, truth_xyxy_px=boxes_xyxy_px))
        except DataError as error:
            state.refused.append(Refused(file.name, str(error)))
        except PneumodetError as error:  # the model cannot be opened: the next file would say the same
            pending.clear()
            st.error(plain(str(error)))
        except Exception as error:  # a bug must not keep the other files from being seen; its message may quote a header
            logger.error("%s\n%s", type(error).__name__, "".join(traceback.format_tb(error.__traceback__)))
            state.refused.append(Refused(file.name, "It could not be read for a reason that the terminal shows. Please report it."))
    bar.empty()
    if added:
        state.chosen = max(added, key=lambda case: case.score).key


def is_watched() -> bool:
    """Whether the page of this session is open; where it was closed, files wait, until it comes back or is forgotten."""
    context = scriptrunner.get_script_run_ctx()
    return context is None or not runtime.exists() or runtime.get_instance().is_active_session(context.session_id)


def show_refusals() -> None:
    """Name the files that were left out."""
    refused = st.session_state.refused
    if not refused:
        return
    names: dict[str, list[str]] = {}
    # by reason: a folder of files of one wrong kind is one line
    for one in refused:
        names.setdefault(one.reason, []).append(plain(one.name))
    lines = []
    for reason, files in list(names.items())[:SHOWN_REASONS]:
        more = f" and {len(files) - SHOWN_NAMES} more" if len(files) > SHOWN_NAMES else ""
        lines.append(f"- **{', '.join(files[:SHOWN_NAMES])}**{more}: {plain(reason)}")
    left = sum(map(len, list(names.values())[SHOWN_REASONS:]))
    if left:
        lines.append(f"- and {left} more")
    st.error("Left out:\n" + "\n".join(lines))
    st.button("Hide this list", on_click=refused.clear)


def choose_case() -> Case | None:
    """Show the cases, sorted by score, and return the chosen one."""
    state = st.session_state
    ordered = state.cases.by_score()
    if not ordered:
        return None
    # at first, and after the chosen one was removed
    if state.cases.get(state.get("chosen")) is None:
        state.chosen = ordered[0].key

    def label(key: str) -> str:
        case = state.cases.get(key)
        mark = "●" if case.score >= state.threshold else "○"
        return f"{mark} {case.score:.3f} {plain(case.name)}"

    with st.container(height=420 if len(ordered) > 10 else "content", border=False):
        st.radio("Radiographs by score", [case.key for case in ordered], format_func=label, key="chosen")
    above = sum(case.score >= state.threshold for case in ordered)
    st.caption(f"● {above} of {len(ordered)} at or above the threshold")
    st.button("Remove all", on_click=forget_all, icon=":material/delete:")
    return state.cases.get(state.chosen)


def forget_all() -> None:
    """Forget what this user dropped, and what still waits."""
    state = st.session_state
    state.cases.clear()
    state.boxes = {}


def show_welcome(model: SharedModel) -> None:
    """Say what the page does, where no radiograph is there yet."""
    st.header("Drop a radiograph, or choose a sample", anchor=False)
    st.markdown(
        "A detector looks for opacities that may be pneumonia, and draws a box around each with a score from 0 to 1. "
        "You can move the score threshold, change the window, compare with ground truth, and download what was found.\n\n"
        "Files stay in the memory of this computer and are gone when you close the page. Names of patients are not shown."
    )
    own = f"operating point {model.score_threshold:.3f}" if model.has_operating_point else "without an operating point of its own"
    st.caption(f"Model: {plain(model.name)}, {own}")
    if not model.is_open:
        st.fragment(show_loading, run_every=POLL_S)(model)


def show_loading(model: SharedModel) -> None:
    """Say that the model is not open yet; once it is, show the page without this."""
    if model.is_open:
        st.rerun()
    st.info(f"{LOADING} Radiographs can be dropped already.", icon=":material/hourglass_top:")


def show_picture(model: SharedModel, case: Case, radiograph: Radiograph, display: Display) -> None:
    """Show the radiograph, and say in a sentence what is on it."""
    count = len(case.detections.above(display.score_threshold))
    boxes = "No box" if not count else "1 box" if count == 1 else f"{count} boxes"
    sentence = f"{boxes} at a score of {display.score_threshold:.3f} or more; the highest score is {case.score:.3f}."
    st.header(plain(case.name), anchor=False)
    picture = rendering.as_jpeg(rendering.draw(radiograph, case, display, max_side_px=rendering.SCREEN_PX))
    st.image(picture, alt=f"Radiograph {case.name}. {sentence}", width="stretch")
    share = model.probability(case.score)
    if share is not None:
        basis = probability.rests_on(model.exported.card.metrics)
        sentence += (
            f" By the model's validation data, {probability.as_text(share)} of radiographs with this score have pneumonia ({basis})."
        )
        if not count:
            sentence += f" {probability.NO_BOX}"
    st.markdown(plain(sentence))


def show_facts(case: Case, notes: tuple[str, ...]) -> None:
    """Show what is known of the file, and how its pixels were made."""
    with st.expander("About this file"):
        st.markdown(
            "  \n".join(f"**{what}:** {plain(value)}" for what, value in facts.table(case.facts, size_hw=case.size_hw, notes=notes))
        )
        st.caption("No other element of the header is shown or kept on its own.")


def show_downloads(model: SharedModel, case: Case, display: Display) -> None:
    """Offer the findings as files."""
    scope = st.radio("Download", ("this radiograph", "all radiographs"), horizontal=True)
    threshold = display.score_threshold
    one = scope == "this radiograph"
    cases = [case] if one else st.session_state.cases.by_score()
    stem = case.name if one else downloads.STEM
    plain_display = Display(threshold)

    def pngs() -> bytes:
        if one:
            return downloads.as_png(case, display)
        return downloads.together(cases, ".png", lambda each: downloads.as_png(each, plain_display))

    def srs() -> bytes:
        make = functools.partial(downloads.as_sr, model=model, score_threshold=threshold)
        return make(case) if one else downloads.together(cases, ".sr.dcm", make)

    with st.container(horizontal=True):
        # functions and not bytes: a file is made when it is asked for, and not in every view
        json_bytes = functools.partial(downloads.as_json, cases, model, score_threshold=threshold)
        csv_bytes = functools.partial(downloads.as_csv, cases, score_threshold=threshold)
        # "ignore": a download does not run the script again
        st.download_button("JSON", json_bytes, f"{stem}.json", "application/json", on_click="ignore")
        st.download_button("CSV", csv_bytes, f"{stem}.csv", "text/csv", on_click="ignore")
        st.download_button("PNG", pngs, f"{stem}.png" if one else f"{stem}-png.zip", on_click="ignore")
        obstacles = [downloads.sr_obstacle(each) for each in cases]
        has_sr = None in obstacles
        st.download_button("DICOM SR", srs, f"{stem}.sr.dcm" if one else f"{stem}-sr.zip", on_click="ignore", disabled=not has_sr)
    if not has_sr:
        st.caption(plain(next((one for one in obstacles if one is not None), "")))


main()
