import numpy as np
import pytest

from gliomask.confidence import AgreementModel, Calibration, entropy, features
from gliomask.evaluation import fitting
from gliomask.evaluation.fitting import FittingCase, fit_agreement, fit_calibration
from gliomask.postprocess import from_log_odds, log_odds


def test_calibration_scales_and_shifts_log_odds() -> None:
    probability = np.array([0.1, 0.5, 0.9], np.float32)
    assert Calibration().apply(probability) is probability
    # Odds of 9 to 1 with a scale of 1/2 are 3 to 1.
    assert Calibration(0.5).apply(probability) == pytest.approx([0.25, 0.5, 0.75], abs=1e-5)
    assert Calibration(1.0, float(np.log(3.0))).apply(probability[1:2]) == pytest.approx([0.75], abs=1e-5)


def test_entropy_in_bits() -> None:
    assert entropy(np.array([0.0, 0.25, 0.5, 1.0], np.float32)) == pytest.approx([0.0, 0.8113, 1.0, 0.0], abs=1e-4)


def test_features_by_hand() -> None:
    probability = np.zeros((2, 4, 4), np.float32)
    probability[0, :2, :2] = 0.75  # four pixels in the mask
    probability[0, 2, :2] = 0.25  # two that are not
    overlap, width, area = features(probability, probability >= 0.5)
    assert overlap == pytest.approx(np.log(0.8 / 0.2), abs=1e-4)  # 2 · 3 / (3.5 + 4) = 0.8
    assert width == pytest.approx(np.log(6 * 0.8113 / 2 + 0.1), abs=1e-3)  # six pixels' entropy over the root of four
    assert area == pytest.approx(np.log(4.0))
    assert features(probability, np.zeros((2, 4, 4), bool)) is None


def test_features_do_not_depend_on_the_pixels_size() -> None:
    rng = np.random.default_rng(0)
    coarse = np.kron(rng.random((3, 8, 8)), np.ones((1, 8, 8))).astype(np.float32)
    fine = np.kron(coarse, np.ones((1, 2, 2), np.float32))
    assert features(fine, fine >= 0.5, pixel=0.5)[::2] == pytest.approx(features(coarse, coarse >= 0.5)[::2], abs=1e-3)


def test_expected_dice_and_its_interval() -> None:
    agreement = AgreementModel.of([1.0, 0.0, 0.0, 0.0], [-1.0, 1.0]).estimate((0.0, 5.0, 5.0))
    assert (agreement.low, agreement.expected_dice, agreement.high) == pytest.approx((0.2689, 0.5, 0.7311), abs=1e-4)
    wide = AgreementModel.of([1.0, 0.0, 0.0, 0.0], [-6.0, 6.0]).estimate((0.0, 5.0, 5.0))
    assert (wide.low, wide.high) == (0.0, 1.0)  # 0.002 and 0.998, beyond what the fit tells apart


def overconfident(seed: int, fold: str, kind: str = "volume", scale: float = 0.5, offset: float = -0.4) -> FittingCase:
    """A case whose log-odds are to be scaled and shifted to be true."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(-1.0, 4.0, (4, 64, 64)).astype(np.float32)
    probability = from_log_odds(odds)
    truth = rng.random(odds.shape) < from_log_odds(scale * log_odds(probability) + offset)
    return FittingCase(f"patient{seed}", fold, kind, probability.astype(np.float16), truth)


def test_a_calibration_is_found_again() -> None:
    found = fit_calibration([overconfident(seed, "0") for seed in range(4)])
    assert (found.scale, found.offset) == pytest.approx((0.5, -0.4), abs=0.03)


def test_an_expectation_is_found_again() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(0.0, 1.0, (200, 3))
    dices = from_log_odds(rows @ [0.5, -0.3, 0.1] + 1.0 + rng.normal(0.0, 0.2, 200))
    model = fit_agreement([tuple(row) for row in rows], list(dices), ["ab"[i % 2] for i in range(200)])
    assert model.weights == pytest.approx((0.5, -0.3, 0.1, 1.0), abs=0.05)
    assert model.errors == pytest.approx((-0.33, 0.33), abs=0.1)  # 1.645 standard deviations of 0.2


def test_fits_are_checked_on_folds_that_they_have_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[set[str]] = []

    def watched(cases: list[FittingCase], smallest_share: float) -> fitting.Fit:
        seen.append({case.fold for case in cases})
        return fit(cases, smallest_share)

    fit = fitting.fit
    monkeypatch.setattr(fitting, "fit", watched)
    cases = [overconfident(seed, fold) for seed, fold in enumerate("aabbcc")]
    predictions, found = fitting.cross_fitted(cases, smallest_share=0.0)
    assert seen == [{"b", "c"}, {"a", "c"}, {"a", "b"}]
    assert [p.patient for p in predictions] == [case.patient for case in cases]
    errors, curves = found["calibration_error"], found["reliability"]
    assert errors["after"]["all pixels"] < 0.02 < errors["before"]["all pixels"]
    off = {when: max(abs(bin_["mean_probability"] - bin_["tumour_share"]) for bin_ in curve) for when, curve in curves.items()}
    assert off["after"] < off["before"]
    assert fitting.summarise_predictions(predictions)["cases"] == 6
