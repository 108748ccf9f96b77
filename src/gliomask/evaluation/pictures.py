"""A patient's picture: which slice shows best how two masks differ, and no more of the patient kept than that slice."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliomask.evaluation.outcome import CasePicture
from gliomask.report.overlay import display_grey

LARGEST_KEPT = 1024
"""Pixels along a slice's longer side from which on fewer of them are kept: pictures of many patients are in memory together."""


def largest_slice(predicted: NDArray[np.bool_], reference: NDArray[np.bool_]) -> tuple[int, int]:
    """Return which slice of masks ``(z, y, x)`` has the largest area in either, from 0, and how many pixels it is.

    Of several the first, which for two empty masks is the first slice of all.
    """
    areas = np.count_nonzero(predicted | reference, axis=(1, 2))
    z = int(areas.argmax())
    return z, int(areas[z])


def case_picture(
    name: str, flair: NDArray[Any] | None, predicted: NDArray[np.bool_], reference: NDArray[np.bool_], aspect: float = 1.0
) -> CasePicture:
    """Return the picture of a patient from axial slices ``(z, y, x)``, FLAIR being None where there is no scan.

    *aspect* is a pixel's height by its width. The picture is a copy: a view would keep the whole volume for as long as
    the evaluation runs. Of a slice larger than :data:`LARGEST_KEPT` it has every second pixel, or fewer.
    """
    z, _ = largest_slice(predicted, reference)
    step = -(-max(predicted.shape[1:]) // LARGEST_KEPT)
    part = (z, slice(None, None, step), slice(None, None, step))
    grey = None if flair is None else display_grey(flair)[part].copy()
    return CasePicture(name, z + 1, len(predicted), grey, predicted[part].copy(), reference[part].copy(), aspect)
