"""The page that scores: the session's cases that came with reference masks, and masks of any tool against reference masks."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import streamlit as st

from gliomask.app import shared
from gliomask.app.charts import Chart, dice_by_size, dice_dots, reliability
from gliomask.app.mask_uploads import evaluate_uploads
from gliomask.app.scoring import WHOSE, evaluate_cases, files_of, shown_patients, table_of, tiles, told
from gliomask.app.settings import MAX_SESSION_MB, MAX_UPLOAD_MB
from gliomask.app.wording import plain
from gliomask.errors import GliomaskError
from gliomask.evaluation import Evaluation, PatientScore, summarise
from gliomask.evaluation.calibration import ALL_PIXELS
from gliomask.evaluation.cases import both_outlines
from gliomask.metrics import dice
from gliomask.sizes import counted

POLL_S = 1.0
PICTURES = 4
ENDINGS = ["png", "jpg", "jpeg", "tif", "tiff", "nii", "gz", "zip"]
FILES = {
    "report.html": ("Report (HTML)", "text/html", "gliomask_evaluation.html"),
    "patients.csv": ("Scores (CSV)", "text/csv", "gliomask_scores.csv"),
    "evaluation.json": ("Everything (JSON)", "application/json", "gliomask_evaluation.json"),
}

Go = Callable[..., Any]


def show(go: Go) -> None:
    """Lay the page out; *go* leads to the segment page."""
    st.title("Evaluation", anchor=False)
    st.markdown("How far masks agree with reference masks that an expert has drawn: the scores and plots of `gliomask evaluate`.")
    here, any_tool = st.tabs(["Cases of this session", "Masks of any tool"])
    desk = shared.desk()
    with here:
        st.fragment(_cases, run_every=POLL_S if desk.busy else None)(go, was_busy=desk.busy)
    with any_tool:
        _uploads()


def _cases(go: Go, *, was_busy: bool) -> None:
    desk = shared.desk()
    if was_busy and not desk.busy:
        st.rerun()
    evaluation = evaluate_cases(desk.cases.values(), shared.model())
    if desk.busy:
        st.caption("Some cases are still being segmented; their scores come in as they are done.")
    if evaluation is not None:
        _show(evaluation, "cases")
        return
    reason = "None of the cases here has a reference mask." if desk.cases else "There are no cases here yet."
    st.markdown(
        f"{reason} Drop the masks together with their scans on the **Segment** page, each named after its scan: "
        "`head_1_mask.png` goes with `head_1.png`, and `head_mask.nii.gz` or `head_seg.nii.gz` with `head_flair.nii.gz`."
    )
    if st.button("Go and drop scans with masks", icon=":material/upload_file:", type="primary"):
        go()


def _uploads() -> None:
    """Take masks in and score them; what stays is the scores, and of twelve cases at most a slice of both masks and the scan."""
    st.markdown(
        "Score what any program has marked. Masks are paired by their names: image masks by folder and name, NIfTI masks by name "
        "(`_mask`, `_seg` and the like aside). Each patient may have a folder in an archive, or an archive of the same name on both "
        "sides. Scans that come along, such as `head.png` with `head_mask.png`, are shown under the outlines."
    )
    generation = st.session_state.setdefault("masks generation", 0)
    left, right = st.columns(2, gap="large")
    take = partial(st.file_uploader, accept_multiple_files=True, type=ENDINGS, max_upload_size=MAX_UPLOAD_MB)
    with left:
        predicted = take("Predicted masks, or a zip of them", key=f"predicted {generation}")
    with right:
        reference = take("Reference masks, or a zip of them", key=f"reference {generation}")
    st.caption(f"{MAX_SESSION_MB} MB in all. The files are deleted once they are scored.")
    if st.button("Score", type="primary", key="score", disabled=not (predicted and reference), icon=":material/straighten:"):
        try:
            with st.spinner("Scoring…"):
                st.session_state["masks scored"] = evaluate_uploads(predicted, reference)
        except GliomaskError as error:  # the files stay in their fields: what is missing among them is added
            st.session_state["masks problem"] = str(error)
        else:
            st.session_state.pop("masks problem", None)
            shared.forget_uploads([*predicted, *reference])
            st.session_state["masks generation"] = generation + 1
        st.rerun()
    if problem := st.session_state.get("masks problem"):
        st.warning(plain(problem), icon=":material/draft:")
    elif (scored := st.session_state.get("masks scored")) is not None:
        _show(scored, "masks")


def _show(evaluation: Evaluation, key: str) -> None:
    """Show an evaluation: a sentence, numbers, plots, pictures, all patients, and the files."""
    patients = shown_patients(evaluation)
    summary = summarise(patients)
    count = f"{counted(len(patients), 'case')} {WHOSE[patients[0].role]}".strip()
    st.subheader(f"Mean Dice {summary['mean_dice']:.3f} over {count}", anchor=False)
    if evaluation.threshold is not None:
        own = f"the model's own threshold of {evaluation.threshold:.2f}"
        st.caption(f"Scored at {own} and without *All lesions*, whatever is set for a case.")
    for sentence in told(evaluation):
        st.markdown(f":material/info: {plain(sentence)}")
    with st.container(horizontal=True, key=f"numbers {key}"):
        for name, value, below in tiles(summary, evaluation.unit):
            with st.container(width=170, gap=None):
                st.metric(name, value)
                st.caption(below or "\N{NO-BREAK SPACE}")
    _plots(evaluation, patients)
    _pictures(evaluation, patients)
    st.subheader("All cases", anchor=False)
    _table(evaluation)
    with st.container(horizontal=True, key=f"files {key}"):
        for file, (label, kind, name) in FILES.items():
            content = partial(_file, evaluation, file)
            st.download_button(label, content, name, kind, on_click="ignore", icon=":material/download:", key=f"take {key} {file}")


def _file(evaluation: Evaluation, name: str) -> bytes:
    return files_of(evaluation)[name]


def _plots(evaluation: Evaluation, patients: Sequence[PatientScore]) -> None:
    named = [(p.name, dice(p.counts), p.reference_pixels) for p in patients]
    regions = evaluation.calibration.get(patients[0].role)
    drawn: list[tuple[str, str, Chart]] = []
    if len(named) > 1:
        drawn.append(("Agreement", "A point is a case. The band holds the middle half.", dice_dots([(n, d) for n, d, _ in named])))
        drawn.append(("Agreement and size", "A point is a case. Small regions are harder to agree on.", dice_by_size(named)))
    if regions is not None:
        told = "A calibrated model's curve lies on the dashed line: of the pixels it gives 0.7, seven in ten are in the reference mask."
        drawn.append(("Calibration of the probabilities", told, reliability({"All cases": regions[ALL_PIXELS].as_json()["curve"]})))
    for column, (title, told, chart) in zip(st.columns(max(2, len(drawn)), gap="large"), drawn, strict=False):
        with column:
            st.subheader(title, anchor=False)
            shared.draw(chart)
            st.caption(told)


def _pictures(evaluation: Evaluation, patients: Sequence[PatientScore]) -> None:
    """Show where the cases with the lowest Dice differ."""
    pictures = {picture.patient: picture for picture in evaluation.pictures}
    lowest = sorted((p for p in patients if p.name in pictures), key=lambda p: dice(p.counts))[:PICTURES]
    if not lowest:
        return
    st.subheader("Where they agree least" if len(patients) > 1 else "Where they differ", anchor=False)
    for column, patient in zip(st.columns(PICTURES), lowest, strict=False):
        picture = pictures[patient.name]
        described = f"{patient.name}, slice {picture.slice_number} of {picture.slices}: predicted and reference outline"
        column.image(both_outlines(picture), width="stretch", output_format="PNG", alt=described)
        column.caption(f"**{dice(patient.counts):.3f}** {plain(patient.name)}, slice {picture.slice_number} of {picture.slices}")
    st.caption("Amber, inside: predicted. Blue, outside: the reference. Of each case the slice with the largest area in either.")


def _table(evaluation: Evaluation) -> None:
    columns = table_of(evaluation)
    number, unit = st.column_config.NumberColumn, evaluation.unit
    within = f"Share of both outlines that lies within 2 {unit} of the other."
    config = {
        "Case": st.column_config.TextColumn(pinned=True, width="medium"),
        **{name: number(format="%.3f") for name in ("Dice", "IoU", "Sensitivity", "Precision")},
        "HD95": number(f"HD95 ({unit})", format="%.1f", help="95 of 100 outline points lie closer to the other outline than this."),
        "Surface Dice": number(format="%.3f", help=within),
        "Area error": number(format="%+.0f %%", help="How much more (or, with a minus, less) is marked than in the reference."),
        "Reference, pixels": number(format="localized"),
    }
    alt = f"Table of the scores of {len(evaluation.patients)} cases, lowest Dice first."
    st.dataframe(columns, column_config=config, hide_index=True, placeholder="-", alt=alt)
