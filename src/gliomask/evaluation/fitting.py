"""Calibration and expected agreement, fitted on cases that the models were not trained on, and how well they hold on others."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gliomask.confidence import Agreement, AgreementModel, Calibration, features
from gliomask.evaluation.calibration import pooled, reliabilities
from gliomask.metrics import confusion, dice
from gliomask.postprocess import log_odds, slice_distance_mm, without_satellites

Kind = Literal["volume", "slice"]

BINS = np.linspace(-9.3, 9.3, 373)
"""Edges of the bins of log-odds that a calibration is fitted on, 0.05 wide."""

COVERAGE = 0.9
"""Share of cases whose Dice the interval is to hold."""

DICE_LIMITS = (0.02, 0.98)
"""Dice is kept within these before its log-odds are taken, so that one missed lesion does not decide the fit."""


@dataclass(frozen=True)
class FittingCase:
    """What a held-out case brings to a fit.

    ``probability`` is float16 and ``reference`` bool, both ``(z, y, x)``; cases of one ``patient`` and
    of one ``fold`` are held out together.
    """

    patient: str
    fold: str
    kind: Kind
    probability: NDArray[np.float16]
    reference: NDArray[np.bool_]


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


def fit(cases: Sequence[FittingCase], smallest_share: float) -> Fit:
    """Return the calibration of whole volumes and the expected agreement of volumes and slices.

    Parameters
    ----------
    smallest_share
        As of :class:`gliomask.postprocess.Postprocessing`.
    """
    calibration = fit_calibration([case for case in cases if case.kind == "volume"])
    tables: dict[str, list[tuple[tuple[float, ...], float]]] = {}
    for case in cases:
        row = described(case, calibration, smallest_share)
        if row is not None:
            tables.setdefault(case.kind, []).append(row)
    return Fit(calibration, {kind: fit_agreement(*zip(*rows, strict=True)) for kind, rows in tables.items()})


def fit_calibration(cases: Iterable[FittingCase], steps: int = 30) -> Calibration:
    """Return the scale and offset of log-odds with the highest likelihood (Platt 1999), by Newton's method on binned pixels.

    Every patient counts alike, however many slices there are.
    """
    pixels, tumour = np.zeros(len(BINS) - 1), np.zeros(len(BINS) - 1)
    for case in cases:
        odds = log_odds(case.probability.astype(np.float32))
        counts = [np.histogram(odds[where], BINS)[0] for where in (np.ones_like(case.reference), case.reference)]
        pixels += counts[0] / case.reference.size
        tumour += counts[1] / case.reference.size
    middles = (BINS[:-1] + BINS[1:]) / 2.0
    design = np.stack([middles, np.ones_like(middles)], axis=1)
    weights = np.array([1.0, 0.0])
    for _ in range(steps):
        expected = 1.0 / (1.0 + np.exp(-design @ weights))
        gradient = design.T @ (tumour - pixels * expected)
        curvature = (design * (pixels * expected * (1.0 - expected))[:, None]).T @ design
        weights = weights + np.linalg.solve(curvature + 1e-12 * np.eye(2), gradient)
    return Calibration(float(weights[0]), float(weights[1]))


def described(case: FittingCase, calibration: Calibration, smallest_share: float) -> tuple[tuple[float, ...], float] | None:
    """Return a case's features and its Dice; None if nothing is marked."""
    probability = calibration.apply(case.probability.astype(np.float32))
    mask, _ = without_satellites(probability >= threshold_of(calibration), smallest_share, slice_distance_mm(len(probability)))
    row = features(probability, mask)
    return None if row is None else (row, dice(confusion(mask, case.reference)))


def fit_agreement(rows: Sequence[tuple[float, ...]], dices: Sequence[float]) -> AgreementModel:
    """Return the linear model of Dice's log-odds with the smallest squared error, and its conformal interval.

    The interval's ends are quantiles of leave-one-out errors, moved outwards for their number as split
    conformal prediction asks.
    """
    design = np.c_[np.array(rows), np.ones(len(rows))]
    wanted = log_odds(np.clip(np.array(dices, np.float32), *DICE_LIMITS)).astype(np.float64)
    penalty = np.diag([1e-2] * (design.shape[1] - 1) + [0.0])  # features that say the same share their weight
    inverse = np.linalg.inv(design.T @ design + penalty)
    weights = inverse @ design.T @ wanted
    leverage = np.einsum("ij,jk,ik->i", design, inverse, design)
    errors = (wanted - design @ weights) / np.maximum(1.0 - leverage, 1e-3)
    tail = (1.0 - COVERAGE) / 2.0 * (len(rows) + 1) / len(rows)
    low, high = np.quantile(errors, [max(0.0, tail - 1.0 / len(rows)), min(1.0, 1.0 - tail + 1.0 / len(rows))])
    return AgreementModel(tuple(float(w) for w in weights), (float(low), float(high)))


def cross_fitted(cases: Sequence[FittingCase], smallest_share: float) -> tuple[list[Prediction], dict[str, Any]]:
    """Return for every case what a fit without its fold expects of it, and what the calibration comes to on all folds."""
    predictions: list[Prediction] = []
    before, after = [], []
    for fold in sorted({case.fold for case in cases}):
        fitted = fit([case for case in cases if case.fold != fold], smallest_share)
        for case in (case for case in cases if case.fold == fold):
            raw = case.probability.astype(np.float32)
            if case.kind == "volume":
                before.append(reliabilities(raw, case.reference))
                after.append(reliabilities(fitted.calibration.apply(raw), case.reference))
            row = described(case, fitted.calibration, smallest_share)
            if row is not None and case.kind in fitted.agreement:
                predictions.append(Prediction(case.patient, case.kind, row[1], fitted.agreement[case.kind].estimate(row[0])))
    errors = {
        name: {where: r.expected_calibration_error for where, r in pooled(parts).items()}
        for name, parts in (("before", before), ("after", after))
    }
    return predictions, errors


def summarise_predictions(predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Return how expected Dice and true Dice go together: rank correlation, the interval's coverage and width, the mean absolute error."""
    from scipy.stats import spearmanr  # wanted for evaluation alone

    true = np.array([p.dice for p in predictions])
    expected, low, high = (np.array([getattr(p.agreement, name) for p in predictions]) for name in ("expected_dice", "low", "high"))
    return {
        "cases": len(predictions),
        "spearman": float(spearmanr(true, expected).statistic),
        "coverage": float(np.mean((low <= true) & (true <= high))),
        "mean_width": float(np.mean(high - low)),
        "mean_absolute_error": float(np.abs(true - expected).mean()),
    }
