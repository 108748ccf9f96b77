"""Parts of masks, against SciPy's."""

import numpy as np
import pytest

from gliomask.components import components


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_a_line_of_voxels_has_its_parts(axes: tuple[int, int, int]) -> None:
    line = np.array([[[0, 1, 0, 1, 0, 1, 1, 0, 1, 1]]], bool).transpose(axes)
    labels, count = components(line)
    assert count == 4
    assert labels.ravel().tolist() == [0, 1, 0, 2, 0, 3, 3, 0, 4, 4]


def test_parts_are_those_of_scipy() -> None:
    ndimage = pytest.importorskip("scipy.ndimage", reason="scipy is not installed: pip install 'gliomask[volumes]'")
    rng = np.random.default_rng(0)
    for _ in range(300):
        mask = rng.random(tuple(rng.integers(1, 8, 3))) < rng.choice([0.1, 0.3, 0.5])
        labels, count = components(mask)
        wanted, expected = ndimage.label(mask, np.ones((3, 3, 3)))
        assert count == expected
        assert len(np.unique(np.stack([labels.ravel(), wanted.ravel()]), axis=1).T) == expected + (not mask.all())


def test_an_empty_mask_has_none() -> None:
    assert components(np.zeros((2, 3, 4), bool))[1] == 0
