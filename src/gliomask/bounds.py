"""Where in an array a mask lies."""

import numpy as np
from numpy.typing import NDArray


def bounding_box(mask: NDArray[np.bool_], margin: int = 0) -> tuple[slice, ...]:
    """Return the smallest box around what is marked, of any dimension, with a margin as far as the array goes.

    >>> bounding_box(np.eye(5, dtype=bool)[:, 1:3])
    (slice(1, 3, None), slice(0, 2, None))

    Raises
    ------
    IndexError
        Nothing is marked.
    """
    axes = range(mask.ndim)
    lines = [np.flatnonzero(mask.any(axis=tuple(other for other in axes if other != axis))) for axis in axes]
    return tuple(
        slice(max(int(line[0]) - margin, 0), min(int(line[-1]) + margin + 1, size)) for line, size in zip(lines, mask.shape, strict=True)
    )
