"""Networks for tests of what is around them; run as a script it is `gliomask` that trains these."""

import sys
from dataclasses import replace
from typing import Any


def normalising(width: int) -> Any:
    """A network with batch normalisation, as that of `fast` has, that compiles in a tenth of its time."""
    import keras
    from keras import layers

    inputs = keras.Input((None, None, 3))
    x = layers.Conv2D(width, 3, padding="same", use_bias=False)(inputs)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.98)(x))
    return keras.Model(inputs, layers.Conv2D(1, 3, padding="same", activation="sigmoid", dtype="float32")(x))


def with_small_batches(recipe: Any, **changes: Any) -> Any:
    """The recipe with steps of two slices of 64 x 64, and more changes."""
    from gliomask.training.recipes import Stage

    return replace(recipe, **({"batch_size": 2, "stages": (Stage(1.0, 64, 0.25),)} | changes))


if __name__ == "__main__":
    from gliomask.cli import main
    from gliomask.training.recipes import RECIPES

    RECIPES["fast"] = with_small_batches(RECIPES["fast"], network=normalising)
    sys.exit(main(sys.argv[1:]))
