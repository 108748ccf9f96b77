"""Networks for tests of what is around them."""

from typing import Any


def normalising(width: int) -> Any:
    """A network with batch normalisation, as that of `fast` has, that compiles in a tenth of its time."""
    import keras
    from keras import layers

    inputs = keras.Input((None, None, 3))
    x = layers.Conv2D(width, 3, padding="same", use_bias=False)(inputs)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.98)(x))
    return keras.Model(inputs, layers.Conv2D(1, 3, padding="same", activation="sigmoid", dtype="float32")(x))
