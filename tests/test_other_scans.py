"""The table of docs/other_scans.py rests on scans that are changed in one way at a time, with their references."""

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ndimage = pytest.importorskip("scipy.ndimage", reason="the extra [volumes] is not installed")


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(Path(__file__).parents[1] / "docs" / "other_scans.py"))


@pytest.fixture(scope="module")
def plain(script: dict[str, Any]) -> Any:
    """A head of 40 units with a brain of 100 units and a tumour of 150 in it, in air of 2."""
    y, x = np.mgrid[-32:32, -32:32] + 0.5
    radius = np.broadcast_to(np.hypot(y, x), (8, 64, 64))
    reference = np.broadcast_to(np.hypot(y - 8, x) < 11, radius.shape).copy()
    reference[[0, 1, 6, 7]] = False
    flair = np.select([reference, radius < 22, radius < 28], [150.0, 100.0, 40.0], 2.0).astype(np.float32)
    return script["Scan"](flair, radius < 22, reference, (10.0, 3.0, 3.0))


def millilitres(scan: Any) -> float:
    return float(scan.reference.sum() * np.prod(scan.spacing_mm) / 1000)


def test_every_condition_keeps_the_reference_where_the_tumour_is(script: dict[str, Any], plain: Any) -> None:
    for name, condition in script["CONDITIONS"].items():
        scan = condition(plain)
        assert scan.flair.shape == scan.reference.shape == scan.brain.shape, name
        factor = {"head 15 % larger": 1.15**2, "head 13 % smaller": 0.87**2}.get(name, 1.0)
        assert millilitres(scan) == pytest.approx(factor * millilitres(plain), rel=0.1), name
        assert scan.volume.voxels.shape == (*scan.flair.shape, 1) and scan.volume.spacing_mm == pytest.approx(scan.spacing_mm[::-1]), name
        rim = scan.reference & ~ndimage.binary_erosion(scan.reference, np.ones((1, 3, 3)))
        assert scan.flair[rim].mean() > scan.flair[scan.brain & ~scan.reference].mean(), name


def test_conditions_differ_in_what_they_say(script: dict[str, Any], plain: Any) -> None:
    made = {name: condition(plain) for name, condition in script["CONDITIONS"].items()}
    assert made["as it is"] is plain
    assert made["interpolated to 1 mm"].flair.shape == (80, 192, 192)
    assert made["two slices averaged"].flair.shape == (4, 64, 64)
    assert made["pixels of 1.9 mm"].flair.shape == (8, 32, 32)
    assert made["2.7 times as bright at one end"].flair.max() > 150.0
    under = made["twice as bright under the coil"].flair / plain.flair
    assert under[4, 32, 4] > 1.8 and under[4, 32, 32] < 1.2
    for name, level in (("a tumour's core as dark as fluid", 0.3), ("a tumour's core as bright as brain", 1.0)):
        hollow = made[name].flair
        assert hollow[4, 40, 32] == pytest.approx(level * script["tissue"](plain.flair), rel=0.4), name
        np.testing.assert_array_equal(hollow[~plain.reference], plain.flair[~plain.reference])
        assert hollow[4, 30, 32] == pytest.approx(150.0, rel=0.02), name
    alone = made["brain alone"].flair
    assert not alone[~plain.brain].any() and np.array_equal(alone[plain.brain], plain.flair[plain.brain])
    assert made["brain alone, framed"].flair.shape == (8, 44, 44)
    inside = made["brain alone, of zero mean"].flair[plain.brain]
    assert inside.mean() == pytest.approx(0.0, abs=1e-4) and inside.std() == pytest.approx(1.0, abs=1e-4)
    mapped = made["brain alone, of zero mean, then mapped to 0..1"].flair
    assert mapped[plain.brain].min() > 0.3 and not mapped[~plain.brain].any()
