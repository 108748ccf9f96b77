"""How far a result can be trusted, from its probabilities alone.

Three steps, each fitted on patients that the network was not trained on and stored in the model's
record. Probabilities are calibrated by a curve from log-odds to log-odds: Dice loss leaves a network
sure of nearly every pixel, which one straight line (Platt 1999) mends at one end and spoils at the
other. Their entropy shows where the outline is uncertain. And what the network's own ones say of the
whole mask is turned into the Dice to be expected, with an interval from the errors of that expectation
(split conformal prediction, Lei 2018, doi:10.1080/01621459.2017.1307116).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gliomask.postprocess import from_log_odds, log_odds

Float = NDArray[np.float32]
Mask = NDArray[np.bool_]

FAINT = 0.02
"""Probabilities below this are left out of a case's features: over a million voxels of air they would add up."""

DICE_LIMITS = (0.02, 0.98)
"""Dice is kept within these before its log-odds are taken, so that one missed lesion does not decide a fit."""

AT_A_TIME = 2**20
"""Voxels that are calibrated at a time, so that what lies between, in double precision, takes little memory."""

FEATURES = ("expected overlap", "boundary entropy", "area")

Features = tuple[float, float, float]
"""A case's :func:`features`."""


@dataclass(frozen=True)
class Calibration:
    """A rising curve from the network's log-odds to calibrated ones, straight between its points and level beyond them.

    Without points it changes nothing.
    """

    network: tuple[float, ...] = ()
    calibrated: tuple[float, ...] = ()

    @classmethod
    def of(cls, network: Sequence[float] = (), calibrated: Sequence[float] = ()) -> "Calibration":
        """Return the calibration of numbers as JSON has them.

        Raises
        ------
        ValueError
            The points are not as many on both sides, or do not rise.
        """
        if len(network) != len(calibrated) or any((np.diff(points) <= 0).any() for points in (network, calibrated)):
            raise ValueError("a calibration's points have to rise on both sides")
        return cls(tuple(map(float, network)), tuple(map(float, calibrated)))

    def apply(self, probability: Float) -> Float:
        """Return calibrated probabilities, of the same shape."""
        return probability if not self.network else _along(probability, self.network, self.calibrated)

    def undo(self, probability: Float) -> Float:
        """Return the network's own probabilities, which calibrated ones came from."""
        return probability if not self.network else _along(probability, self.calibrated, self.network)


def _along(probability: Float, before: Sequence[float], after: Sequence[float]) -> Float:
    """Return the probabilities whose log-odds lie where those given lie on a curve, of the same shape."""
    flat = probability.reshape(-1)
    out = np.empty(flat.shape, np.float32)
    for first in range(0, flat.size, AT_A_TIME):
        part = slice(first, first + AT_A_TIME)
        out[part] = from_log_odds(np.interp(log_odds(flat[part]), before, after).astype(np.float32))
    return out.reshape(probability.shape)


@dataclass(frozen=True)
class Agreement:
    """The Dice to be expected between a result's mask and an expert's, with its 90 % interval, all 0..1."""

    expected_dice: float
    low: float
    high: float


@dataclass(frozen=True)
class AgreementModel:
    """Expected Dice as a linear function of :data:`FEATURES`, on log-odds.

    Attributes
    ----------
    weights
        One for each feature, and the constant last.
    errors
        The 5th and 95th percentile of log-odds of true minus expected Dice over validation patients.
    """

    weights: tuple[float, ...]
    errors: tuple[float, float]

    @classmethod
    def of(cls, weights: Sequence[float], errors: Sequence[float]) -> "AgreementModel":
        """Return the model of numbers as JSON has them."""
        low, high = errors
        return cls(tuple(float(weight) for weight in weights), (float(low), float(high)))

    def estimate(self, row: Sequence[float]) -> Agreement:
        """Return what Dice to expect of a mask with these :func:`features`."""
        odds = float(np.dot(self.weights, (*row, 1.0)))
        low, expected, high = (float(1.0 / (1.0 + np.exp(-(odds + error)))) for error in (self.errors[0], 0.0, self.errors[1]))
        # Beyond the limits all Dice counted alike in the fit, so an interval that reaches one has no end there.
        return Agreement(expected, 0.0 if low <= DICE_LIMITS[0] else low, 1.0 if high >= DICE_LIMITS[1] else high)


def mean_agreement(estimates: Sequence[Agreement]) -> Agreement:
    """Return what an ensemble expects: the mean of what its members do, one or more, interval and all."""
    return Agreement(*np.mean([(e.expected_dice, e.low, e.high) for e in estimates], axis=0).tolist())


def entropy(probability: Float) -> Float:
    """Return the binary entropy of each probability in bits: 0 where the model is sure either way, 1 at 0.5."""
    p = np.clip(probability, 1e-7, 1.0 - 1e-7)
    bits: Float = (-p * np.log2(p) - (1.0 - p) * np.log2(1.0 - p)).astype(np.float32)
    return bits


def features(probability: Float, mask: Mask, pixel: float = 1.0) -> Features | None:
    """Return what the network's own probabilities ``(z, y, x)`` say of their mask, see :data:`FEATURES`; None for an empty mask.

    The expected overlap is the log-odds of 2·Σp(mask) / (Σp + mask), the Dice that would come out if every
    voxel were tumour with its probability and by itself. The boundary entropy is the logarithm of all
    voxels' entropy over the root of the mask's area in each slice: how many pixels wide the doubt is, nearly.
    The last is the logarithm of the mask's mean area over the slices that it marks.

    Parameters
    ----------
    pixel
        Length of a pixel's side within the slice in those of the network.
    """
    areas = np.count_nonzero(mask, axis=(1, 2))
    if not areas.any():
        return None
    p = probability[probability >= FAINT]
    overlap = 2.0 * float(probability[mask].sum(dtype=np.float64)) / (float(p.sum(dtype=np.float64)) + int(areas.sum()))
    width = float(entropy(p).sum(dtype=np.float64)) * pixel / float(np.sqrt(areas).sum())
    area = float(areas[areas > 0].mean()) * pixel**2
    return float(log_odds(np.array(overlap, np.float32))), float(np.log(width + 0.1)), float(np.log(area))
