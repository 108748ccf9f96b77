"""What is known of the model, in plain words and as tables, from its record alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from gliomask.models import ModelRecord

DOES = (
    "Marks what is bright on FLAIR in lower-grade gliomas: the tumour, and the oedema or infiltration around it. The network "
    "sees each axial slice by itself and gives each pixel a probability."
)
WEAK: Sequence[tuple[str, str]] = (
    ("Faint, diffuse tumours", "Where a lesion is hardly brighter than the brain around it, the right region comes out in a wrong shape."),
    ("Slices without tumour", "Something is marked in {clean} of them, by way of input; mostly near the top of the head, at "
     "the temporal poles and where coils make the rim bright. A mark on a single slice is weak evidence."),
    ("Single slices and FLAIR alone", "Both cost accuracy, as the table shows, and together most."),
    ("Small lesions", "What is small beside the largest, or for a slice by itself, is left out, a true lesion too. The case says so, "
     "and All lesions shows it."),
    ("Other diseases", "Multiple sclerosis, stroke, small-vessel disease and other tumours are bright on FLAIR too. None were in the "
     "training, so they may be marked or missed."),
    ("Other scanners", "All patients come from one dataset of five institutions, with masks by one reader. "
     "Scans from elsewhere were not measured."),
)  # fmt: skip

Rows = list[dict[str, str]]


def weaknesses(model: ModelRecord) -> list[tuple[str, str]]:
    """Return where the model is weak: titles and sentences."""
    shares = [row.get("marked_clean_slices_share") for row in model.unseen_scores.values()]
    known = [share for share in shares if share is not None]
    if not known:
        return [(title, text) for title, text in WEAK if "{clean}" not in text]
    low, high = f"{min(known):.0%}", f"{max(known):.0%}"
    return [(title, text.format(clean=low if low == high else f"{low} to {high}")) for title, text in WEAK]


def score_rows(model: ModelRecord) -> Rows:
    """Return the scores on patients that had no part in the training, a row for each way of input; empty where none are recorded."""
    return [
        {
            "Input": name[0].upper() + name[1:],
            "Dice, mean": f"{row['mean_dice']:.3f}",
            "95 % interval": f"{row['mean_dice_95'][0]:.3f} to {row['mean_dice_95'][1]:.3f}",
            "Dice, median": f"{row['median_dice']:.3f}",
            **({"Dice, lowest": f"{row['lowest_dice']:.3f}"} if "lowest_dice" in row else {}),
            "Clean slices marked": "-" if row["marked_clean_slices_share"] is None else f"{row['marked_clean_slices_share']:.1%}",
            "Patients": str(row["patients"]),
        }
        for name, row in model.unseen_scores.items()
    ]


def score_intervals(model: ModelRecord) -> list[tuple[str, float, float, float]]:
    """Return the means of Dice with both ends of their intervals, by way of input."""
    rows = model.unseen_scores.items()
    return [(name[0].upper() + name[1:], row["mean_dice"], row["mean_dice_95"][0], row["mean_dice_95"][1]) for name, row in rows]


def unmeasured(model: ModelRecord) -> str:
    """Return what there is to say of probabilities whose calibration was not measured."""
    known = "They are not calibrated: 0.9 does not mean nine in ten."
    if model.calibration.network:
        known = "They are calibrated, but how well was not measured for this model."
    return f"{known} The highest one is not the probability of a tumour."


def calibration_rows(model: ModelRecord) -> Rows:
    """Return the expected calibration error before and after calibration, by region; empty where it was not measured."""
    errors = model.scores.get("confidence", {}).get("calibration_error", {})
    before, after = errors.get("before", {}), errors.get("after", {})
    return [
        {"Pixels": where[0].upper() + where[1:], "Before": _number(before[where], 4), "After": _number(after[where], 4)}
        for where in before
        if where in after
    ]


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def agreement_rows(model: ModelRecord) -> Rows:
    """Return how well the expected Dice tells the true one, for volumes and slices; empty where it was not measured."""
    kinds = model.scores.get("confidence", {}).get("expected_dice", {})
    return [
        {
            "Case": kind.capitalize(),
            "Cases": f"{held['cases']:,}",
            "Mean error": f"{held['mean_absolute_error']:.3f}",
            "Rank correlation": _number(held["spearman"], 2),
            "Within the 90 % interval": f"{held['coverage']:.0%}",
        }
        for kind, held in kinds.items()
    ]


def reliability_curves(model: ModelRecord) -> dict[str, Sequence[Mapping[str, Any]]]:
    """Return the reliability curves of the record by name, before calibration and after; empty where it has none.

    They stand under ``scores["confidence"]["reliability"]``, each as the ``curve`` of an evaluation's JSON.
    """
    curves = model.scores.get("confidence", {}).get("reliability", {})
    return {name.capitalize(): curves[name] for name in ("before", "after") if curves.get(name)}


def training_history(model: ModelRecord) -> Sequence[Mapping[str, float]]:
    """Return the epochs of the training, with ``epoch`` and ``val_dice``; empty where the record has none."""
    rows = model.training.get("history", ())
    return [row for row in rows if "epoch" in row and "val_dice" in row]


def training_words(model: ModelRecord) -> list[str]:
    """Return how the model was trained, as sentences, as far as its record tells."""
    training = model.training
    facts = []
    if patients := len(training.get("patients", ())):
        facts.append(f"On {patients} patients of TCGA-LGG, from five institutions, one manual FLAIR mask for each slice.")
    if training.get("held_out_fold") is not None:
        chosen = "when to stop was chosen on them" if training.get("chosen_on_held_out") else "nothing was chosen on them"
        facts.append(
            f"Fold {training['held_out_fold']} of the split by patient was held out, and {chosen}. The scores are those of its patients."
        )
    elif model.unseen_scores:
        facts.append(
            "Nobody was held out. The scores are those of its cross-validation: networks of the same recipe, each trained without one fold "
            "of the patients and scored on that."
        )
    made = [f"recipe {model.recipe}" if model.recipe else "", model.schedule]
    if any(made):
        facts.append(f"{', '.join(filter(None, made)).capitalize()}.")
    return facts
