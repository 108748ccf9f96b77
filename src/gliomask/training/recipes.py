"""Training recipes: everything that decides a model, as data."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import keras

from gliomask.dataset.augment import ROTATION_FLIP_SCALE, Augmentation
from gliomask.postprocess import Postprocessing
from gliomask.preprocess import Normalisation
from gliomask.training import losses, networks
from gliomask.training.pretrained import lite_unet


@dataclass(frozen=True)
class Stage:
    """A part of the training with its own crop.

    ``share`` is the part of all steps, ``size`` the crop's height and width, ``zoom`` its pixels
    per slice pixel: a first stage at a lower zoom sees as much of the head for a fraction of the
    time.
    """

    share: float
    size: int
    zoom: float = 1.0


@dataclass(frozen=True)
class Recipe:
    """Network, data, loss and schedule of one way to train.

    Attributes
    ----------
    network
        Builds the network from the recipe's width (None: the network's own).
    optimizer
        Builds the optimiser from the learning rate (a number or a Keras schedule).
    input_size
        Height and width in pixels of the network's slices, which show 240 mm.
    tumour_share
        Probability that a drawn slice shows tumour; None draws all slices alike.
    average_decay
        Decay a step of the moving average of weights that is validated and exported; 0 turns it off.
    cosine
        Whether the learning rate warms up and falls to zero along a cosine over all epochs.
    patience
        Epochs without a better validation Dice before the training ends and the best epoch's
        weights are kept; None trains all epochs and keeps the last, so that nothing is chosen on
        the validation patients.
    validation_stride
        Every how many slices of a validation patient are scored while training.
    postprocessing
        What the exported model's record asks for; no part of the training.
    """

    name: str
    network: Callable[[int | None], keras.Model]
    normalisation: Normalisation
    augmentation: Augmentation
    loss: Callable[..., keras.KerasTensor]
    optimizer: Callable[..., keras.optimizers.Optimizer]
    learning_rate: float
    batch_size: int
    epochs: int
    steps_per_epoch: int
    stages: tuple[Stage, ...]
    input_size: int = 256
    tumour_share: float | None = None
    average_decay: float = 0.0
    cosine: bool = False
    patience: int | None = None
    validation_stride: int = 1
    postprocessing: Postprocessing = field(default_factory=Postprocessing)


def _adamw(learning_rate: float) -> keras.optimizers.Optimizer:
    optimizer = keras.optimizers.AdamW(learning_rate, weight_decay=0.01, global_clipnorm=5.0)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def _scaled(width: int | None, widths: tuple[int, ...]) -> list[int]:
    """Return the filters of all levels where the finest has *width*, in multiples of 8."""
    scale = (width or min(widths)) / min(widths)
    return [8 * max(1, round(w * scale / 8)) for w in widths]


ORIGINAL = Recipe(
    name="original",
    network=lambda width: networks.unet(width or 64),
    normalisation=Normalisation("full_scale"),
    augmentation=ROTATION_FLIP_SCALE,
    loss=losses.dice_loss,
    optimizer=keras.optimizers.Adamax,
    learning_rate=1e-3,
    batch_size=32,
    epochs=150,
    steps_per_epoch=80,
    stages=(Stage(1.0, 256),),
    patience=15,
)

FAST = Recipe(
    name="fast",
    network=lambda width: lite_unet(_scaled(width, (96, 64, 40, 24))),
    normalisation=Normalisation("foreground_median"),
    augmentation=Augmentation(),
    loss=losses.cross_entropy_dice_loss,
    optimizer=_adamw,
    learning_rate=3e-4,
    batch_size=16,
    epochs=8,
    steps_per_epoch=250,
    stages=(Stage(0.45, 128, 2 / 3), Stage(0.55, 192)),
    tumour_share=0.55,
    average_decay=0.998,
    cosine=True,
    validation_stride=3,
    postprocessing=Postprocessing(
        edge_pull=6.0, smoothing_mm=2.0, smallest_share=0.3, smallest_share_in_slice=0.1, smallest_area_mm2=100.0, smallest_end=0.3
    ),
)

FAST_DICE = replace(FAST, name="fast-dice", loss=losses.dice_loss, epochs=4)
"""The last rounds of :data:`FAST`, from its weights: the loss is the overlap alone, as the score is (docs/experiments.md)."""

RECIPES = {recipe.name: recipe for recipe in (ORIGINAL, FAST, FAST_DICE)}
