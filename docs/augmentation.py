"""Draw what training may see of a slice: one row a transform, drawn alone, and one with all of them together.

    python docs/augmentation.py [--output PICTURE.jpg] [--data kaggle_3m/ --patient TCGA_CS_4941_19960909]

Without ``--data`` the slice is one of the phantom that the program draws. Channels are shown as
colours, so that a slice of FLAIR alone is grey, and the tumour is outlined.
"""

import argparse
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from gliomask.dataset import index_dataset
from gliomask.dataset.augment import Augmentation
from gliomask.dataset.batches import Case, load_case, make_case, make_sample
from gliomask.phantom import draw_phantom, lesion_mask
from gliomask.training.recipes import RECIPES

DRAWS = 5
BRIGHTNESS = 1.8  # tissue lies about 1/4 of full scale in the network's input, dark for the eye

ROWS = {
    "rotation": ["rotation_degrees"],
    "scale": ["log_scale"],
    "shear": ["shear"],
    "shift": ["shift_pixels"],
    "flip": ["flip"],
    "elastic": ["elastic", "elastic_pixels"],
    "gain": ["gain"],
    "gamma": ["gamma"],
    "bias field": ["bias_field"],
    "noise": ["noise"],
    "blur": ["blur"],
    "contrast": ["contrast"],
    "skull removed": ["skull_removal"],
    "clean background": ["clean_background"],
    "FLAIR alone": ["flair_alone"],
    "pre or post missing": ["missing_outer"],
}
"""Each transform's fields of :class:`Augmentation`."""

PROBABILITIES = {"elastic", "noise", "blur", "contrast", "skull_removal", "clean_background", "flair_alone", "missing_outer"}
OFF = Augmentation(**{field.name: 0.0 for field in fields(Augmentation)})


def only(augmentation: Augmentation, names: list[str]) -> Augmentation:
    """Return an augmentation that draws the named fields' transform every time (a flip every other), and nothing else."""
    return replace(OFF, **{name: 1.0 if name in PROBABILITIES else getattr(augmentation, name) for name in names})


def plot(case: Case, z: int, augmentation: Augmentation, path: Path) -> None:
    """Write :data:`DRAWS` draws of slice *z* for each transform that *augmentation* has; the first column is the slice as it is."""
    rows = {name: only(augmentation, names) for name, names in ROWS.items() if all(getattr(augmentation, n) for n in names)}
    rows["all together"] = augmentation
    figure = Figure(figsize=(1.4 * (DRAWS + 1) + 1.2, 1.4 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), DRAWS + 1)
    for panels, (name, drawn) in zip(grid, rows.items(), strict=True):
        panels[0].set_ylabel(name, rotation=0, ha="right", va="center")
        for column, panel in enumerate(panels):
            image, mask = make_sample(case, z, 256, 1.0, OFF if column == 0 else drawn, np.random.default_rng(column))
            panel.imshow(np.clip(image * BRIGHTNESS, 0.0, 1.0))
            panel.contour(mask[..., 0], [0.5], colors="#ffb000", linewidths=0.8)
            panel.set(xticks=[], yticks=[])
            panel.spines[:].set_visible(False)
    figure.savefig(path, dpi=70, pil_kwargs={"quality": 80} if path.suffix == ".jpg" else {})


def main() -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(description="Draw what training may see of a slice.")
    parser.add_argument("--recipe", choices=tuple(RECIPES), default="fast")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("augmentation.jpg"))
    parser.add_argument("--data", type=Path, help="the dataset's folder, for a patient's slice in place of the phantom's")
    parser.add_argument("--patient", help="its name (default: the first)")
    options = parser.parse_args()
    recipe = RECIPES[options.recipe]
    if options.data is None:
        case = make_case(draw_phantom().voxels, lesion_mask(), recipe.normalisation)
    else:
        patients = {patient.name: patient for patient in index_dataset(options.data)}
        case = load_case(patients[options.patient or next(iter(patients))], recipe.normalisation, recipe.input_size)
    plot(case, int(np.argmax(case.masks[..., 0].sum(axis=(1, 2)))), recipe.augmentation, options.output)


if __name__ == "__main__":
    main()
