"""The weights that a training starts from: those of a trained network."""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from gliomask.errors import InputError
from gliomask.training.checkpoint import Weights
from gliomask.training.parity import drawn_slices
from gliomask.training.recipes import Recipe
from gliomask.training.restore import restore, set_statistics
from gliomask.volume import CHANNELS

RESTORING_BATCHES = 8
"""Batches that tell the statistics which an exported network has lost."""


def initial_network(path: Path, recipe: Recipe, network: keras.Model) -> keras.Model:
    """Return the network that a file holds.

    Parameters
    ----------
    path
        A ``.keras`` file, or an ``.onnx`` as :func:`gliomask.training.restore.restore` takes it.
    network
        A new one of the recipe's, float32; the file's has to have the same weights.

    Raises
    ------
    InputError, ModelError
        The file holds another network, or none.
    """
    if path.suffix == ".onnx":
        restore(path, network, drawn_slices(recipe.normalisation, recipe.input_size, len(CHANNELS)))
        return network
    try:
        trained = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever its parts do
        raise InputError(f"{path}: not a network that Keras can load. Give the .keras file of a training of the same network.") from error
    shapes, wanted = ([w.shape for w in m.get_weights()] for m in (trained, network))
    if shapes != wanted:
        raise InputError(
            f"{path}: a network of {trained.count_params()} parameters; the recipe's has {network.count_params()} in other places."
        )
    return trained


def initial_weights(path: Path, network: keras.Model, images: Callable[[int], NDArray[np.float32]]) -> Weights:
    """Return the weights of what :func:`initial_network` gave for a file; an exported network gets the statistics back that it has lost.

    *images* returns the slices ``(n, y, x, c)`` of a step's batch, from which those are taken.
    """
    if path.suffix == ".onnx":
        set_statistics(network, np.concatenate([images(step) for step in range(RESTORING_BATCHES)]))
    weights: Weights = network.get_weights()
    return weights
