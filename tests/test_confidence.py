import json
from dataclasses import replace

import numpy as np
import pytest

from gliomask.confidence import Agreement, AgreementModel, Calibration, entropy, features
from gliomask.evaluation import fitting
from gliomask.evaluation.calibrate import Calibrated, format_calibrated
from gliomask.evaluation.fitting import FittingCase, fit_agreement, fit_calibration
from gliomask.metrics import confusion, dice
from gliomask.postprocess import from_log_odds, log_odds


def test_calibration_follows_its_curve_there_and_back() -> None:
    probability = np.array([0.1, 0.5, 0.9], np.float32)
    assert Calibration().apply(probability) is probability
    nine, three = float(np.log(9.0)), float(np.log(3.0))
    curve = Calibration.of([-nine, 0.0, nine], [-three, 0.5, nine])  # odds of 1 to 9 become 1 to 3
    calibrated = curve.apply(probability)
    assert calibrated == pytest.approx([0.25, 0.6225, 0.9], abs=1e-4)
    assert curve.undo(calibrated) == pytest.approx(probability, abs=1e-4)
    assert curve.apply(np.array([[0.01, 0.99]], np.float32)) == pytest.approx(np.array([[0.25, 0.9]]), abs=1e-4)  # level beyond its ends
    many = np.linspace(0.1, 0.9, 2**20 + 3, dtype=np.float32)  # more than are worked on at a time
    assert curve.undo(curve.apply(many)) == pytest.approx(many, abs=1e-4)


@pytest.mark.parametrize(("network", "calibrated"), [([0.0, 1.0], [0.0]), ([1.0, 0.0], [0.0, 1.0]), ([0.0, 1.0], [1.0, 1.0])])
def test_a_curve_that_does_not_rise_is_refused(network: list[float], calibrated: list[float]) -> None:
    with pytest.raises(ValueError, match="have to rise"):
        Calibration.of(network, calibrated)


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
    mask = probability >= 0.5
    row = (features(probability, mask), dice(confusion(mask, truth)))
    return FittingCase(f"patient{seed}", fold, kind, probability.astype(np.float16), truth, row)


def test_a_calibration_is_found_again() -> None:
    found = fit_calibration([overconfident(seed, "0") for seed in range(4)])
    middle = [(n, c) for n, c in zip(found.network, found.calibrated, strict=True) if abs(n) < 7.0]
    assert len(middle) == 5
    for network, calibrated in middle:
        assert calibrated == pytest.approx(0.5 * network - 0.4, abs=0.25)
    assert fitting.threshold_of(found) == pytest.approx(from_log_odds(np.float32(-0.4)), abs=0.02)


def test_a_network_sure_of_all_is_mended_at_both_ends() -> None:
    rng = np.random.default_rng(0)
    truth = np.zeros((4, 64, 64), bool)
    truth[:, :8] = True
    probability = np.where(rng.random(truth.shape) < 0.05, ~truth, truth).astype(np.float16)  # one in twenty wrong, all certain
    found = fit_calibration([FittingCase("p", "0", "volume", probability, truth, None)])
    certain = found.apply(np.array([0.0, 1.0], np.float32))
    assert certain == pytest.approx([truth[probability == 0].mean(), truth[probability == 1].mean()], abs=0.01)


def test_an_expectation_is_found_again() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(0.0, 1.0, (200, 3))
    dices = from_log_odds(rows @ [0.5, -0.3, 0.1] + 1.0 + rng.normal(0.0, 0.2, 200))
    model = fit_agreement([tuple(row) for row in rows], list(dices), ["ab"[i % 2] for i in range(200)])
    assert model.weights == pytest.approx((0.5, -0.3, 0.1, 1.0), abs=0.05)
    assert model.errors == pytest.approx((-0.33, 0.33), abs=0.1)  # 1.645 standard deviations of 0.2


@pytest.mark.parametrize(("cases", "left_out"), [(19, 0), (38, 0), (39, 1), (99, 4), (199, 9)])
def test_an_interval_leaves_out_a_twentieth_of_errors_on_either_side(cases: int, left_out: int) -> None:
    errors = np.linspace(-2.0, 2.0, cases)
    model = fit_agreement([(0.0,)] * cases, list(from_log_odds(errors.astype(np.float32))), ["a"] * cases)
    assert model.errors == pytest.approx((errors[left_out], errors[-1 - left_out]), abs=1e-4)


def test_fits_are_checked_on_folds_that_they_have_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[set[str]] = []

    def watched(cases: list[FittingCase]) -> fitting.Fit:
        seen.append({case.fold for case in cases})
        return fit(cases)

    fit = fitting.fit
    monkeypatch.setattr(fitting, "fit", watched)
    cases = [overconfident(seed, fold) for seed, fold in enumerate("aabbcc")]
    predictions, found = fitting.cross_fitted(cases)
    assert seen == [{"b", "c"}, {"a", "c"}, {"a", "b"}]
    assert [p.patient for p in predictions] == [case.patient for case in cases]
    errors, curves = found["calibration_error"], found["reliability"]
    assert errors["after"]["all pixels"] < 0.02 < errors["before"]["all pixels"]
    for region in errors["before"]:
        assert errors["after"][region] < 0.03 < errors["before"][region]
    off = {when: max(abs(bin_["mean_probability"] - bin_["tumour_share"]) for bin_ in curve) for when, curve in curves.items()}
    assert off["after"] < off["before"]
    assert fitting.summarise_predictions(predictions)["cases"] == 6


def test_fits_on_other_models_cases_are_checked_on_folds_that_they_have_not_seen() -> None:
    cases = [overconfident(seed, fold) for seed, fold in enumerate("aabb")]
    modest = [overconfident(seed, fold, scale=1.0, offset=0.0) for seed, fold in enumerate("aabb")]
    own, carried = (fitting.cross_fitted(cases, known)[1]["calibration_error"] for known in (None, modest))
    assert own["after"]["all pixels"] < 0.02
    assert carried["after"]["all pixels"] == pytest.approx(carried["before"]["all pixels"], abs=0.02)
    odd = [replace(modest[0], row=((9.0, 9.0, 9.0), 0.1)), *modest[1:]]  # of fold a, so that it is told of fold b alone
    for fold, touched in (("a", False), ("b", True)):
        own_fold = [case for case in cases if case.fold == fold]
        told, before = (fitting.cross_fitted(own_fold, known)[0] for known in (odd, modest))
        assert (told != before) == touched


def test_an_ensemble_is_fitted_and_told_by_its_members() -> None:
    cases = [overconfident(seed, fold) for seed, fold in enumerate("aabb")]
    rows = [case.row[0] for case in cases if case.row is not None]
    twice = [replace(case, members=(row, None, row)) for case, row in zip(cases, rows, strict=True)]
    (one, _), (members, _) = (fitting.cross_fitted(some, cases) for some in (cases, twice))
    assert [p.agreement for p in members] == [p.agreement for p in one]
    nothing = replace(twice[0], members=(None,))
    assert [len(case.told) for case in (cases[0], twice[0], nothing, replace(twice[0], row=None))] == [1, 2, 0, 0]
    assert len(fitting.cross_fitted([*cases, nothing])[0]) == len(cases)


def test_what_is_carried_over_is_told_of_the_mean_and_of_its_members(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import carried_over

    cases = [overconfident(seed, fold) for seed, fold in enumerate("aabb")]
    ensembles = [replace(case, members=(case.row[0],)) for case in cases if case.row is not None]
    monkeypatch.setattr(carried_over, "held_out", lambda data, runs: {"several": ensembles, "one": cases}[runs.name])

    def calibrated(data: object, runs: object, volumes: list[FittingCase], known: list[FittingCase]) -> list[FittingCase]:
        """As if a single member said what the mean does."""
        curves = {fold: fit_calibration([case for case in known if case.fold != fold]) for fold in "ab"}
        return [replace(v, probability=curves[v.fold].apply(v.probability.astype(np.float32)).astype(np.float16)) for v in volumes]

    monkeypatch.setattr(carried_over, "with_members_calibrated", calibrated)
    for runs, rows in (("several", ["its own", "one", "one, the mean of what members expect"]), ("one", ["its own", "one"])):
        monkeypatch.setattr("sys.argv", ["carried_over.py", "data", runs, "one"])
        carried_over.main()
        told = [line[2:-2].split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
        assert [line[0] for line in told[2 : 2 + len(rows)]] == rows
        second = told[2 + len(rows) :]
        assert [line[0].strip() for line in second] == (["members calibrated on", "---", "", "one"] if runs == "several" else [])
        if second:
            before, after = (np.array(line[1:], float) for line in second[2:])
            assert after[0] < before[0] / 10 and after[1] < before[1]
            assert (after[2:] == before[2:]).all()  # Dice is as it was


def test_what_is_not_defined_is_none_and_no_nan() -> None:
    one = fitting.Prediction("p", "volume", 0.8, Agreement(0.7, 0.6, 0.9))
    other = fitting.Prediction("q", "volume", 0.8, Agreement(0.5, 0.4, 0.6))
    for predictions in ([one], [one, other], [one, one]):
        told = fitting.summarise_predictions(predictions)
        assert told["spearman"] is None and told["coverage"] > 0
    sure = [FittingCase(fold, fold, "volume", np.zeros((1, 4, 4), np.float16), np.zeros((1, 4, 4), bool), None) for fold in "ab"]
    _, found = fitting.cross_fitted(sure)
    assert found["calibration_error"]["before"] == {"all pixels": 0.0, "pixels with a probability of 0.01 to 0.99": None}
    json.dumps(found, allow_nan=False)
    calibrated = Calibrated(("a", "b"), 2, fitting.Fit(Calibration(), {}), {**found, "expected_dice": {"volume": told}})
    assert "0.01 to 0.99: not defined before, not defined after" in format_calibrated(calibrated)
    assert "rank correlation with the true Dice not defined" in format_calibrated(calibrated)


def test_faint_probabilities_are_no_part_of_the_features() -> None:
    p = np.zeros((1, 4, 4), np.float32)
    p[0, :2, :2], p[0, 2, 0], p[0, 3, :] = 0.75, 0.1, 0.01
    found = features(p, p >= 0.5)
    assert found is not None and found[0] == pytest.approx(np.log((6 / 7.1) / (1 - 6 / 7.1)), abs=1e-4)
