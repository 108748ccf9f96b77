"""The tables of docs/ablation.py and docs/ensembling.py compare networks on patients whom none of them has seen."""

from dataclasses import fields
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gliomask.dataset import Patient
from gliomask.evaluation.cross_validation import fold_models
from gliomask.models import find_model

pytest.importorskip("keras", reason="training's extra is not installed: pip install 'gliomask[train]'")


@pytest.fixture(scope="module")
def ablation() -> ModuleType:
    import ablation

    return ablation


def test_a_variant_differs_in_one_choice(ablation: ModuleType) -> None:
    from gliomask.training.recipes import FAST

    changed = {v.slug: {f.name for f in fields(FAST) if getattr(v.recipe, f.name) != getattr(FAST, f.name)} for v in ablation.VARIANTS}
    assert all(len(names) == 1 for names in changed.values()), changed
    assert len(changed) == len(ablation.VARIANTS), "two variants share a folder"


def test_networks_have_the_size_that_their_names_say(ablation: ModuleType) -> None:
    count = {v.slug: v.recipe.network(None).count_params() for v in (*ablation.VARIANTS, ablation.AS_IT_IS)}
    assert count["depth"] < count["half-width"] < count["as-it-is"] < min(count["double-width"], count["lite2"])
    assert count["dice"] == count["as-it-is"]


def test_nobody_is_scored_by_a_network_that_saw_them(ablation: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patients = [Patient(f"p{n}", (), ()) for n in range(6)]
    split = {patient.name: str(n % 3) for n, patient in enumerate(patients)}
    seen: dict[str, list[str]] = {}

    def train(training: list[Patient], held_out: list[Patient], recipe: Any, settings: Any) -> None:
        assert not held_out  # nothing is chosen on them
        seen[settings.output.name] = [patient.name for patient in training]

    def export(model: None, recipe: Any, folder: Path, name: str, made: dict[str, Any]) -> None:
        folder.mkdir(parents=True)
        (folder / f"{name}.json").write_text("{}")

    for name, double in {
        "train": train,
        "export": export,
        "find_model": lambda path: SimpleNamespace(path=Path(path.name)),
    }.items():
        monkeypatch.setattr(ablation, name, double)
    cohort = ablation.Cohort(patients, split, tmp_path, epochs=1)
    for fold in ("1", "2", "1"):  # what is there is not trained again
        cohort.trained(ablation.AS_IT_IS, fold)
    cohort.trained(ablation.AS_IT_IS, "2", "0")
    cohort.trained(ablation.AS_IT_IS, "0", "2")  # the same
    assert seen == {"without-1": ["p0", "p2", "p3", "p5"], "without-2": ["p0", "p1", "p3", "p4"], "without-0-2": ["p1", "p4"]}
    assert [patient.name for patient in cohort.of("1")] == ["p1", "p4"]


def test_each_fold_is_scored_by_networks_that_saw_neither_it_nor_one_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    import ensembling

    asked = [str(n) for n in range(3)]
    cohort = SimpleNamespace(
        trained=lambda variant, *without: SimpleNamespace(without=set(without), path=frozenset(without)), runs=Path("runs")
    )
    kept: set[tuple[str, str]] = set()
    scored: list[dict[str, Any]] = []
    monkeypatch.setattr(ensembling.Cohort, "of_options", lambda options: cohort)
    monkeypatch.setattr("sys.argv", ["ensembling.py", "data", "runs", "--folds", *asked])
    monkeypatch.setattr(ensembling, "scores", lambda cohort, models: scored.append(models))
    monkeypatch.setattr(ensembling, "cells", lambda found, reference: [])
    monkeypatch.setattr(ensembling, "export_ensemble", lambda paths, folder, name: SimpleNamespace(members=paths))
    monkeypatch.setattr(ensembling, "replace", lambda model, mirrored: model)
    monkeypatch.setattr(ensembling, "as_run", lambda model, fold, runs: kept.add((runs.name, fold)) or model)
    ensembling.main()
    assert kept == {(name, fold) for name in ("one", "several") for fold in asked}
    alone, *single, as_one = scored
    assert {fold: model.without for fold, model in alone.items()} == {fold: {fold} for fold in asked}
    assert len(single) == 2
    for fold in asked:
        pairs = [models[fold].without for models in single]
        assert sorted(map(sorted, pairs)) == [sorted({fold, other}) for other in asked if other != fold]
        assert as_one[fold].members == [frozenset(pair) for pair in pairs]


def test_what_is_compared_is_kept_as_a_cross_validation(tmp_path: Path) -> None:
    import ensembling

    fast = find_model("fast")
    kept = {fold: ensembling.as_run(fast, fold, tmp_path) for fold in "01"}
    assert fold_models(tmp_path) == kept
    assert {fold: model.training["patients"] for fold, model in kept.items()} == dict.fromkeys("01", fast.training["patients"])


def test_the_interval_is_of_paired_differences(ablation: ModuleType) -> None:
    assert ablation.difference(np.zeros(5)) == ""
    assert ablation.difference(np.full(5, -0.02)) == "-0.020 (-0.020 to -0.020)"
    told = ablation.difference(np.array([0.1, -0.1, 0.1, -0.1]))
    assert told.startswith("+0.000 (-0.1") and told.endswith("to +0.100)")
