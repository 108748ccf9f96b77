"""Mask to numbers."""

import numpy as np
from numpy.typing import NDArray


def area_pixels(mask: NDArray[np.bool_]) -> list[int]:
    """Return the number of marked pixels of each slice of a mask ``(z, y, x)``."""
    return [int(n) for n in np.count_nonzero(mask, axis=(1, 2))]
