"""Calibration and expected agreement, fitted on cases that the models were not trained on, and how well they hold on others."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gliomask.confidence import DICE_LIMITS, Agreement, AgreementModel, Calibration, mean_agreement
from gliomask.evaluation.calibration import ALL_PIXELS, in_doubt, pooled, reliabilities
from gliomask.evaluation.scores import finite
from gliomask.postprocess import log_odds
from gliomask.segmentation import Members

Kind = Literal["volume", "slice"]

Row = tuple[tuple[float, ...], float]
"""A case's features and its Dice."""

BINS = np.linspace(-9.3, 9.3, 373)
"""Edges of the bins of log-odds that a calibration is fitted on, 0.05 wide."""

COVERAGE = 0.9
"""Share of cases whose Dice the interval is to hold."""

POINTS = log_odds(np.array([1e-4, 1e-3, 0.01, 0.5, 0.99, 0.999, 0.9999], np.float32)).astype(np.float64)
"""Log-odds of the network at which a calibration's curve bends."""

LEAST_RISE = 0.01
"""Of a calibration's curve, per unit of the network's log-odds: it always rises, so that 0.5 gives the same mask by what it becomes."""

MOST_CERTAIN_ODDS = 12.0
"""A curve begins no lower than at minus this, and rises by no more than twice this from one point to the next."""

PULL = 1e-7
"""Weight of the penalty on a calibration's distance from changing nothing, in squared log-odds; the rest is a mean over all pixels."""

RIDGE = 1.0
"""Weight of the penalty on an expectation's weights, in squared errors of log-odds."""


@dataclass(frozen=True)
class FittingCase:
    """What a held-out case brings to a fit.

    ``probability`` is float16 and ``reference`` bool, both ``(z, y, x)``; ``row`` has the features of the mask and its Dice,
    None where nothing is marked, and ``members`` what an ensemble's members say. Cases of one ``patient`` and of one ``fold``
    are held out together.
    """

    patient: str
    fold: str
    kind: Kind
    probability: NDArray[np.float16]
    reference: NDArray[np.bool_]
    row: Row | None
    members: Members = ()

    @property
    def told(self) -> list[Row]:
        """What the case's Dice is to be expected by, with that Dice: from each member that marks anything, or from the one network."""
        if self.row is None:
            return []
        said, true = self.row
        return [(row, true) for row in self.members or [said] if row is not None]


@dataclass(frozen=True)
class Fit:
    """A calibration and, for each kind of case, what turns probabilities into an expected Dice."""

    calibration: Calibration
    agreement: dict[str, AgreementModel]

    @property
    def threshold(self) -> float:
        """What the network's own 0.5 becomes, at which calibrated probabilities give the same mask."""
        return threshold_of(self.calibration)


def threshold_of(calibration: Calibration) -> float:
    """Return what 0.5 becomes by a calibration."""
    return float(calibration.apply(np.array(0.5, np.float32)))


@dataclass(frozen=True)
class Prediction:
    """A case's Dice, what it was expected to be by a fit without its fold, and the interval."""

    patient: str
    kind: Kind
    dice: float
    agreement: Agreement


def fit(cases: Sequence[FittingCase]) -> Fit:
    """Return the calibration of whole volumes and the expected agreement of volumes and slices."""
    calibration = fit_calibration([case for case in cases if case.kind == "volume"])
    tables: dict[str, list[tuple[tuple[float, ...], float, str]]] = {}
    for case in cases:
        for row in case.told:
            tables.setdefault(case.kind, []).append((*row, case.fold))
    return Fit(calibration, {kind: fit_agreement(*zip(*rows, strict=True)) for kind, rows in tables.items()})


def fit_calibration(cases: Iterable[FittingCase]) -> Calibration:
    """Return the rising curve through :data:`POINTS` with the highest likelihood, on binned pixels.

    Every patient counts alike, however many slices there are. Where the cases say nothing it stays what it is.
    """
    from scipy.optimize import minimize  # wanted for evaluation alone

    pixels, tumour = np.zeros(len(BINS) - 1), np.zeros(len(BINS) - 1)
    for case in cases:
        odds = log_odds(case.probability.astype(np.float32))
        pixels += np.histogram(odds, BINS)[0] / case.reference.size
        tumour += np.histogram(odds[case.reference], BINS)[0] / case.reference.size
    middles = (BINS[:-1] + BINS[1:]) / 2.0
    shares = np.stack([np.interp(middles, POINTS, one) for one in np.eye(len(POINTS))], axis=1)
    rises = np.tri(len(POINTS))  # the curve is its first value and what it rises by from point to point
    identity = np.r_[POINTS[0], np.diff(POINTS)]

    def loss(steps: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        odds = shares @ rises @ steps
        value = np.sum(tumour * np.logaddexp(0.0, -odds) + (pixels - tumour) * np.logaddexp(0.0, odds)) / pixels.sum()
        slope = (pixels / (1.0 + np.exp(-odds)) - tumour) / pixels.sum()
        away = PULL * (steps - identity)
        return float(value + away @ (steps - identity) / 2.0), rises.T @ shares.T @ slope + away

    bounds = [(-MOST_CERTAIN_ODDS, 0.0), *((LEAST_RISE * width, 2.0 * MOST_CERTAIN_ODDS) for width in identity[1:])]
    found = minimize(loss, identity, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 2000, "ftol": 1e-14, "gtol": 1e-10})
    return Calibration.of(POINTS.tolist(), (rises @ found.x).tolist())


def fit_agreement(rows: Sequence[tuple[float, ...]], dices: Sequence[float], folds: Sequence[str]) -> AgreementModel:
    """Return the linear model of Dice's log-odds with the smallest squared error, and its conformal interval.

    The interval's ends are quantiles of errors that each fold's cases have with a model of the other
    folds, so that what differs from one network to the next is in them. Quantiles are those of split
    conformal prediction, a little further out than the plain ones since there are few cases.
    """
    design = np.c_[np.array(rows), np.ones(len(rows))]
    wanted = log_odds(np.clip(np.array(dices, np.float32), *DICE_LIMITS)).astype(np.float64)
    names = np.array(folds)
    errors = np.zeros(len(rows))
    for fold in set(folds):
        held_out = names == fold
        others = ~held_out if (~held_out).any() else held_out
        errors[held_out] = wanted[held_out] - design[held_out] @ _ridge(design[others], wanted[others])
    share = (1.0 - COVERAGE) / 2.0
    ordered, rank = np.sort(errors), int(np.floor(round(share * (len(errors) + 1), 6)))  # 0.05 x 20 is 0.9999999 unrounded
    low, high = ordered[max(rank - 1, 0)], ordered[min(len(errors) - rank, len(errors) - 1)]
    return AgreementModel.of(_ridge(design, wanted).tolist(), (low, high))


def _ridge(design: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weights with the smallest squared error; features that say the same share their weight, the constant is free."""
    penalty = np.diag([RIDGE] * (design.shape[1] - 1) + [0.0])
    return np.linalg.solve(design.T @ design + penalty, design.T @ wanted).astype(np.float64)


def cross_fitted(cases: Sequence[FittingCase], known: Sequence[FittingCase] | None = None) -> tuple[list[Prediction], dict[str, Any]]:
    """Return for every case what a fit without its fold expects of it, and what the calibration comes to on all folds.

    The fits are made on *known* cases, those of other models of the same patients, say; on the cases themselves if None.
    The latter holds ``calibration_error``, before and after, by region, and the ``reliability`` curves of all pixels.
    """
    predictions: list[Prediction] = []
    before, after = [], []
    for fold in sorted({case.fold for case in cases}):
        fitted = fit([case for case in (cases if known is None else known) if case.fold != fold])
        for case in (case for case in cases if case.fold == fold):
            raw = case.probability.astype(np.float32)
            if case.kind == "volume":
                before.append(reliabilities(raw, case.reference))
                after.append(reliabilities(fitted.calibration.apply(raw), case.reference, in_doubt(raw)))
            if case.told and case.kind in fitted.agreement:
                estimates = [fitted.agreement[case.kind].estimate(said) for said, _ in case.told]
                predictions.append(Prediction(case.patient, case.kind, case.told[0][1], mean_agreement(estimates)))
    whole = {"before": pooled(before), "after": pooled(after)}
    return predictions, {
        "calibration_error": {
            name: {where: finite(r.expected_calibration_error) for where, r in found.items()} for name, found in whole.items()
        },
        "reliability": {name: found[ALL_PIXELS].as_json()["curve"] for name, found in whole.items() if found},
    }


def summarise_predictions(predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Return how expected Dice and true Dice go together: rank correlation, the interval's coverage and width, the mean absolute error.

    The correlation is Spearman's, equal ones having the mean of their ranks; None where either Dice is the same for all cases.
    """
    from scipy.stats import spearmanr  # wanted for evaluation alone

    true = np.array([p.dice for p in predictions])
    expected, low, high = (np.array([getattr(p.agreement, name) for p in predictions]) for name in ("expected_dice", "low", "high"))
    return {
        "cases": len(predictions),
        "spearman": float(spearmanr(true, expected).statistic) if np.ptp(true) > 0 and np.ptp(expected) > 0 else None,
        "coverage": float(np.mean((low <= true) & (true <= high))),
        "mean_width": float(np.mean(high - low)),
        "mean_absolute_error": float(np.abs(true - expected).mean()),
    }
