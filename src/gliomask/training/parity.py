"""What networks that should say the same are compared on."""

import numpy as np
from numpy.typing import NDArray

from gliomask.phantom import draw_phantom
from gliomask.preprocess import Normalisation, apply_windows, fill_channels, intensity_windows, to_network_grid


def drawn_slices(normalisation: Normalisation, size: int, channels: int) -> NDArray[np.float32]:
    """Return slices of the drawn head ``(4, size, size, channels)`` in 0..1, with lesion, as a network gets them.

    On heads a network says something; on noise all are silent, and so alike.
    """
    voxels = draw_phantom().voxels[4:8]
    scaled = apply_windows(voxels, intensity_windows(voxels, normalisation))
    return np.ascontiguousarray(fill_channels(to_network_grid(scaled, size)[..., :channels], channels))
