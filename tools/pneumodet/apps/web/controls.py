"""What a user can change on the page: threshold, window, boxes, heatmap. Widgets of Streamlit, and what they return.

display = choose_display(case, radiograph, choose_threshold(model), boxes=boxes, heatmaps=None)
"""

import functools

import streamlit as st

from pneumodet.apps.web import truth
from pneumodet.apps.web.cases import Case
from pneumodet.apps.web.heatmaps import Folder
from pneumodet.apps.web.rendering import Display
from pneumodet.apps.web.shared_model import SharedModel
from pneumodet.apps.web.window import Radiograph, Window
from pneumodet.core.errors import DataError
from pneumodet.viz.markdown import plain

SCORE_STEP = 0.001
"""Of the score slider: a young detector's scores lie close together."""

WINDOW_STEPS = 250
"""Of a window slider, at least."""


def choose_threshold(model: SharedModel) -> float:
    """Show the score slider and return its value, which at first is the model's operating point to the last digit."""
    state, own = st.session_state, model.score_threshold
    what = "the model's operating point" if model.has_operating_point else "assumed: the model has no operating point"
    value = st.slider("Score threshold", 0.0, 1.0, step=SCORE_STEP, format="%.3f", key="threshold")
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(f"{own:.3f} is {what}.")
        if value != own:
            st.button("Set it back", on_click=functools.partial(state.update, threshold=own))
    return value


def choose_display(case: Case, radiograph: Radiograph, score_threshold: float, *, boxes: truth.Boxes, heatmaps: Folder | None) -> Display:
    """Show what can be changed of the picture, and return what was chosen."""
    boxes_xyxy_px = truth.find(boxes, case)
    shows_boxes = st.checkbox("Boxes", value=True)
    shows_truth = st.checkbox(
        "Ground truth", value=True, disabled=boxes_xyxy_px is None, help="Drop a file of boxes, or start with --labels, to draw it dashed."
    )
    heatmap, opacity = None, 0.5
    if heatmaps is not None:
        try:
            heatmap = heatmaps.of(case)
        except DataError as error:
            st.error(plain(str(error)))
        shows_heatmap = st.checkbox(
            "Heatmap", value=True, disabled=heatmap is None, help="The folder of --heatmap has a PNG of some exams."
        )
        if heatmap is not None and shows_heatmap:
            opacity = st.slider("Strength of the heatmap", 0.0, 1.0, 0.5, step=0.05)
        else:
            heatmap = None
    return Display(
        score_threshold,
        window=choose_window(case, radiograph),
        boxes=shows_boxes,
        truth_xyxy_px=boxes_xyxy_px if shows_truth else None,
        heatmap=heatmap,
        heatmap_opacity=opacity,
    )


def choose_window(case: Case, radiograph: Radiograph) -> Window:
    """Show the sliders of level and width, and return the window."""
    state, default = st.session_state, radiograph.default
    keys = {"center": f"level-{case.key}", "width": f"width-{case.key}"}
    for name, key in keys.items():
        # in the state and not as the slider's value: Streamlit warns of a widget that has both
        state.setdefault(key, getattr(default, name))
    # a file's own window may lie beyond its values, and a slider refuses a value outside of its ends
    lowest, highest = min(radiograph.lowest, default.center), max(radiograph.highest, default.center)
    widest = max(highest - lowest, default.width)
    step = 1.0 if widest >= WINDOW_STEPS else widest / WINDOW_STEPS
    form = "%.0f" if step == 1.0 else "%.3f"
    values = "of the file's own gray values" if radiograph.is_real else "of gray values from 0 to 255"
    center = st.slider("Level", lowest, highest, step=step, format=form, key=keys["center"], help=f"Middle gray, {values}.")
    width = st.slider("Window width", step, widest, step=step, format=form, key=keys["width"], help=f"Black to white, {values}.")
    window = Window(center, width)
    if window != default:
        st.button(
            "Set the window back", on_click=functools.partial(state.update, {keys["center"]: default.center, keys["width"]: default.width})
        )
    return window
