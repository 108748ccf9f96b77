import numpy as np
import pytest

from gliomask.edges import LEAST, MARGIN, follow_edges
from gliomask.metrics import confusion, dice

RNG = np.random.default_rng(0)


def distance(y: float = 40.0, x: float = 44.0) -> np.ndarray:
    rows, columns = np.mgrid[:96, :96]
    return np.hypot(rows - y, columns - x)


def disc(radius: float, y: float = 40.0, x: float = 44.0) -> np.ndarray:
    return distance(y, x) <= radius


def drawn_as(radius: float, y: float = 40.0, x: float = 44.0) -> np.ndarray:
    """Maps ``(1, y, x, 1)`` of a network that takes a disc for a lesion and is surer by 1.5 with each pixel from its outline."""
    odds = np.clip(1.5 * (radius - distance(y, x)), -8.0, 8.0)
    return (1.0 / (1.0 + np.exp(-odds))).astype(np.float32)[None, ..., None]


def scan(lesion: np.ndarray, bright: float = 0.45) -> np.ndarray:
    """A normalised FLAIR slice ``(1, y, x)``: air, a head of 0.25 and a lesion, with some noise."""
    flair = np.where(lesion, bright, np.where(disc(42.0, 47.5, 47.5), 0.25, 0.0))
    return (flair + RNG.normal(0.0, 0.01, flair.shape)).astype(np.float32)[None]


def outlined(maps: np.ndarray, flair: np.ndarray) -> np.ndarray:
    return follow_edges(maps, flair, 6.0)[0, ..., 0] >= 0.5


@pytest.mark.parametrize("bright", [0.45, 0.32])
@pytest.mark.parametrize("off", [-2.0, -1.0, 0.0, 1.0, 2.0])
def test_an_outline_that_is_a_little_off_is_drawn_to_the_edge(off: float, bright: float) -> None:
    lesion = disc(11.0)
    assert dice(confusion(outlined(drawn_as(11.0 + off), scan(lesion, bright)), lesion)) > 0.96


def test_an_edge_moves_an_outline_and_finds_or_loses_no_lesion() -> None:
    other = disc(7.0, 66.0, 60.0)
    assert not (outlined(drawn_as(11.0), scan(disc(11.0) | other)) & other).any()
    without = outlined(drawn_as(11.0), scan(disc(-1.0)))
    assert dice(confusion(without, disc(11.0))) > 0.9


def test_nothing_changes_away_from_lesions_without_a_pull_or_in_what_is_given() -> None:
    maps, flair = drawn_as(11.0), scan(disc(9.0))
    given = maps.copy()
    followed = follow_edges(maps, flair, 6.0)
    np.testing.assert_array_equal(maps, given)
    assert followed.dtype == np.float32 and (followed != given).any()
    np.testing.assert_array_equal(followed[:, 40 + 13 + MARGIN + 1 :], given[:, 40 + 13 + MARGIN + 1 :])
    np.testing.assert_array_equal(follow_edges(maps, flair, 0.0), given)
    faint = np.full_like(maps, LEAST / 2)
    np.testing.assert_array_equal(follow_edges(faint, flair, 6.0), faint)


def test_slices_and_members_have_no_say_in_each_other() -> None:
    flair = np.concatenate([scan(disc(9.0)), scan(disc(12.0)), scan(disc(0.0))])
    maps = np.concatenate([drawn_as(11.0), drawn_as(11.0), drawn_as(-9.0)])
    both = follow_edges(np.concatenate([maps, maps[::-1]], axis=-1), flair, 6.0)
    np.testing.assert_array_equal(both[..., :1], follow_edges(maps, flair, 6.0))
    np.testing.assert_array_equal(both[..., 1:], follow_edges(maps[::-1], flair, 6.0))
    np.testing.assert_array_equal(both[1:2, ..., :1], follow_edges(maps[1:2], flair[1:2], 6.0))


@pytest.mark.parametrize("place", [(0.0, 0.0), (95.0, 40.0), (40.0, 95.0)])
def test_a_lesion_at_the_frame_or_in_air_gives_probabilities(place: tuple[float, float]) -> None:
    drawn, maps = disc(11.0, *place), drawn_as(11.0, *place)
    for flair in (scan(drawn), np.zeros((1, 96, 96), np.float32)):
        followed = follow_edges(maps, flair, 6.0)
        assert np.isfinite(followed).all() and followed.min() >= 0.0 and followed.max() <= 1.0
        np.testing.assert_allclose(followed[:, :, ::-1], follow_edges(maps[:, :, ::-1], flair[:, :, ::-1], 6.0), atol=1e-4)
        assert dice(confusion(followed[0, ..., 0] >= 0.5, drawn)) > 0.9
