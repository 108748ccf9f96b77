"""The page about the model: what it does, what it was trained on, how good it is and where it is weak."""

from collections.abc import Mapping, Sequence

import streamlit as st

from gliomask.app import shared
from gliomask.app.charts import history, intervals, reliability
from gliomask.app.model_card import (
    DOES,
    agreement_rows,
    calibration_rows,
    reliability_curves,
    score_intervals,
    score_rows,
    training_history,
    training_words,
    unmeasured,
    weaknesses,
)
from gliomask.app.wording import NOTICE, about, plain
from gliomask.models import ModelRecord

INSIDE = ("Model", "Trained on", "Limits")
"""Rows of the short account on the segment page that this page tells at length."""


def show() -> None:
    """Lay the page out."""
    model = shared.model()
    st.title("Model", anchor=False)
    st.markdown(DOES)
    st.caption(NOTICE)
    left, right = st.columns(2, gap="large")
    with left:
        st.subheader("What it was trained on", anchor=False)
        st.markdown("\n".join(f"- {plain(sentence)}" for sentence in training_words(model)) or "Its record does not say.")
        _data_sheet(model)
    with right:
        st.subheader("Where it is weak", anchor=False)
        st.markdown("\n".join(f"- **{title}.** {text}" for title, text in weaknesses(model)))
    _scores(model)
    _confidence(model)
    if rows := training_history(model):
        st.subheader("Training", anchor=False)
        shared.draw(history(rows))


def _scores(model: ModelRecord) -> None:
    rows = score_rows(model)
    if not rows:
        return
    st.subheader("How good it is", anchor=False)
    st.markdown(
        "Scores on patients that had no part in the training. Dice is 1 where a mask equals the expert's and 0 where they share nothing; "
        "with so few patients the intervals are wide. *Clean slices marked* are slices without tumour in which something is marked."
    )
    shared.draw(intervals(score_intervals(model)))
    _table(rows, "Scores by way of input.")


def _confidence(model: ModelRecord) -> None:
    """Tell whether probabilities mean what they say, where that was measured."""
    calibration, agreement, curves = calibration_rows(model), agreement_rows(model), reliability_curves(model)
    st.subheader("Can its probabilities be trusted?", anchor=False)
    if not (calibration or agreement or curves):
        st.markdown(unmeasured(model))
        return
    if curves:
        st.markdown("A calibrated model's curve lies on the dashed line: of the pixels it gives 0.7, seven in ten are tumour.")
        shared.draw(reliability(curves))
    if calibration:
        st.markdown("Mean distance of the probability said from the share found (expected calibration error; 0 is best):")
        _table(calibration, "Calibration error before and after calibration.")
    if agreement:
        st.markdown("How well the expected Dice tells the true one, on patients that the estimate was not fitted on:")
        _table(agreement, "Errors of the expected Dice.")


def _data_sheet(model: ModelRecord) -> None:
    st.subheader("Data sheet", anchor=False)
    rows = [("Name", f"{model.name} ({model.file})"), *(row for row in about(model) if row[0] not in INSIDE)]
    facts = "\n".join(f"- **{title}:** {plain(text)}" for title, text in rows)
    st.markdown(f"{facts}\n- **SHA-256:** `{model.sha256}`")


def _table(rows: Sequence[Mapping[str, str]], alt: str) -> None:
    st.table({title: [row.get(title, "-") for row in rows] for title in rows[0]}, border="horizontal", hide_index=True, alt=alt)
