"""Where a run stands, in one file that is replaced atomically: all there is to going on after a kill."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from gliomask.errors import InputError

CHECKPOINT = "checkpoint.npz"

Weights = list[NDArray[Any]]


@dataclass
class RunState:
    """Where a run stands: all that a resumed run needs besides its data and the model's own weights.

    Attributes
    ----------
    step
        How many steps are done.
    sums
        Of each metric over the steps of the epoch under way.
    history
        A row for each epoch that is over.
    average, best
        The moving average of the weights, and the weights of the best epoch; empty where the recipe asks for none.
    trained_by
        The versions of Keras and the backends that took its steps, in their order; several if it was resumed on another.
    """

    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    average: Weights = field(default_factory=list)
    best: Weights = field(default_factory=list)
    trained_by: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Checkpoint:
    """The file of a run; ``identity`` is what the run that wrote it and the one that goes on from it must have in common."""

    path: Path
    identity: Mapping[str, Any]

    def save(self, model: keras.Model, state: RunState) -> None:
        """Write a compiled model and where its run stands."""
        groups = {
            "weights": model.get_weights(),
            "optimizer": [keras.ops.convert_to_numpy(v) for v in model.optimizer.variables],
            "average": state.average,
            "best": state.best,
        }
        arrays: dict[str, Any] = {f"{group}_{i:04}": value for group, values in groups.items() for i, value in enumerate(values)}
        facts = {**self.identity, "step": state.step, "sums": state.sums, "history": state.history, "trained_by": state.trained_by}
        temporary = self.path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            np.savez(file, facts=np.array(json.dumps(facts)), **arrays)
        os.replace(temporary, self.path)

    def resume(self, model: keras.Model) -> RunState:
        """Set a compiled model's weights and optimiser and return where its run stands; at the start if there is no file yet.

        Raises
        ------
        InputError
            Another training wrote it.
        """
        if not self.path.exists():
            return RunState()
        with np.load(self.path) as archive:
            facts = json.loads(str(archive["facts"]))
            if other := [key for key, value in self.identity.items() if facts.get(key) != value]:
                raise InputError(
                    f"{self.path}: a checkpoint of another training; it differs in {', '.join(other)}. "
                    "Choose another --output, or remove the folder to start anew."
                )
            groups: dict[str, Weights] = {"weights": [], "optimizer": [], "average": [], "best": []}
            for name in sorted(set(archive.files) - {"facts"}):
                groups[name.rsplit("_", 1)[0]].append(archive[name])
        model.set_weights(groups["weights"])
        for variable, value in zip(model.optimizer.variables, groups["optimizer"], strict=True):
            variable.assign(value)
        return RunState(facts["step"], facts["sums"], facts["history"], groups["average"], groups["best"], _trained_by(facts))


def trained_by(output: Path) -> list[str]:
    """Return what took the steps of the training in a run's folder, as of :class:`RunState`."""
    with np.load(output / CHECKPOINT) as archive:
        return _trained_by(json.loads(str(archive["facts"])))


def _trained_by(facts: Mapping[str, Any]) -> list[str]:
    found: list[str] = facts.get("trained_by", ["unknown"])  # checkpoints of before it was kept do not tell
    return found
