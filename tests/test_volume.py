import numpy as np
import pytest

from gliomask import InputError, Volume


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((5, 6), (1, 5, 6, 1)),
        ((5, 6, 1), (1, 5, 6, 1)),
        ((5, 6, 3), (1, 5, 6, 3)),
        ((4, 5, 6), (4, 5, 6, 1)),
        ((4, 5, 6, 1), (4, 5, 6, 1)),
        ((4, 5, 6, 3), (4, 5, 6, 3)),
    ],
)
def test_arrays_by_their_shape(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    volume = Volume.from_array(np.ones(shape, np.uint8))
    assert volume.voxels.shape == expected
    assert len(volume.slice_names) == expected[0]
    assert volume.flair.shape == expected[:3]


def test_flair_is_the_middle_channel() -> None:
    voxels = np.zeros((1, 2, 2, 3), np.uint8)
    voxels[..., 1] = 7
    assert (Volume(voxels).flair == 7).all()


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.ones(5), "shape"),
        (np.ones((5, 6, 4)), "alpha"),
        (np.ones((2, 2, 2, 2)), r"shape \(2, 2, 2, 2\)"),
        (np.ones((0, 4)), "shape"),
        (np.ones((4, 4), complex), "complex"),
        (np.array([[1.0, np.nan], [np.inf, 0.0]]), "2 NaN or infinite values"),
    ],
)
def test_other_arrays_are_refused(array: np.ndarray, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        Volume.from_array(array)


def test_slice_names_have_to_match() -> None:
    with pytest.raises(InputError, match="1 slice names for 2 slices"):
        Volume(np.ones((2, 4, 4, 1)), slice_names=("one",))


@pytest.mark.parametrize("names", [("one", "one"), ("one", "../two")])
def test_slice_names_have_to_differ_and_to_be_plain(names: tuple[str, str]) -> None:
    with pytest.raises(InputError, match="slice names have to differ"):
        Volume(np.ones((2, 4, 4, 1)), slice_names=names)
