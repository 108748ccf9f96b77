"""Index of the dataset's published layout: one folder a patient, one TIFF a slice and a mask."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gliomask.errors import InputError
from gliomask.io import read_image, read_mask
from gliomask.io.access import no_folder
from gliomask.io.naming import is_image, is_mask, natural_key
from gliomask.preprocess import fill_channels
from gliomask.volume import CHANNELS

ENDINGS = (".tif", ".tiff")
"""Of slices and masks, in letters of either case."""

LISTED_PROBLEMS = 20  # enough to see a pattern; a wrong folder would otherwise print thousands

SOURCE_SITE = re.compile(r"TCGA[ _-]([A-Z0-9]{2})[ _-]", re.IGNORECASE)
"""How a name of TCGA begins, with the tissue source site in the group."""

PARTICIPANT = re.compile(r"TCGA[ _-]([A-Z0-9]{2})[ _-]([A-Z0-9]{4})(?![A-Z0-9])", re.IGNORECASE)
"""A patient's name of TCGA, with site and participant in the groups, as in the dataset's folders and at TCIA."""


def institution(patient: str) -> str | None:
    """Return the tissue source site in a patient's name of TCGA; None in other names.

    >>> institution("TCGA_DU_5849_19950405"), institution("tcga-du-5849"), institution("head_1")
    ('DU', 'DU', None)
    """
    match = SOURCE_SITE.match(patient)
    return match[1].upper() if match else None


def identity(patient: str) -> str:
    """Return what tells whose a patient's name is: for one of TCGA site and participant, however they are written, else the name itself.

    >>> identity("TCGA_CS_4941_19960909"), identity("tcga-cs-4941 (1)"), identity("head_1")
    ('TCGA-CS-4941', 'TCGA-CS-4941', 'head_1')
    """
    match = PARTICIPANT.match(patient)
    return f"TCGA-{match[1]}-{match[2]}".upper() if match else patient


@dataclass(frozen=True)
class Patient:
    """One patient's slices in anatomical order (skull base to vertex) and their reference masks."""

    name: str
    images: tuple[Path, ...]
    masks: tuple[Path, ...]

    def load(self) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Return the slices ``(z, y, x, 3)`` uint8 and the masks ``(z, y, x)`` bool."""
        slices = [read_image(path)[0][0] for path in self.images]
        images = np.stack([fill_channels(slice_, len(CHANNELS)) for slice_ in slices])
        return images, np.concatenate([read_mask(path) for path in self.masks])

    def load_brain(self, folder: Path) -> NDArray[np.bool_]:
        """Return the patient's brain masks ``(z, y, x)`` bool, as ``docs/brain_masks.py`` makes them.

        Parameters
        ----------
        folder
            Holds ``<patient>/<slice>_mask.png`` for every slice, white where the brain is.

        Raises
        ------
        InputError
            A mask is missing, unreadable or of another size than its slice.
        """
        paths = [folder / self.name / f"{image.stem}_mask.png" for image in self.images]
        with Image.open(self.images[0]) as first:
            expected = (1, *first.size[::-1])
        masks = [read_mask(path) for path in paths]
        if other := [path for path, mask in zip(paths, masks, strict=True) if mask.shape != expected]:
            raise InputError(f"{other[0]}: not of its slice's size, {_by(expected[:0:-1])} pixels.")
        return np.concatenate(masks)


def index_dataset(root: Path) -> list[Patient]:
    """Return the patients under *root*, sorted by name, every image checked against its mask.

    *root* is the folder that holds the patient folders, or one that holds it as ``kaggle_3m``.

    Raises
    ------
    InputError
        The folder has no patients, or masks are missing, without an image, of another size or
        unreadable: all problems in one message.
    """
    if not root.is_dir():
        raise InputError(f"{no_folder(root)} Give the folder that holds the patient folders (kaggle_3m).")
    inner = root / "kaggle_3m"
    folders = sorted(p for p in (inner if inner.is_dir() else root).iterdir() if p.is_dir())
    problems: list[str] = []
    patients = [p for folder in folders if (p := _index_patient(folder, problems)) is not None]
    if problems:
        shown = "\n  ".join(problems[:LISTED_PROBLEMS])
        more = f"\n  and {len(problems) - LISTED_PROBLEMS} more" if len(problems) > LISTED_PROBLEMS else ""
        raise InputError(f"{root}: {len(problems)} problem(s) in the dataset; mend or remove these files:\n  {shown}{more}")
    if not patients:
        raise InputError(f"{root}: no patient folders with *.tif slices and *_mask.tif masks in it.")
    return patients


def _index_patient(folder: Path, problems: list[str]) -> Patient | None:
    everything = sorted((p for p in folder.iterdir() if is_image(p)), key=lambda p: natural_key(p.name))
    files = [p for p in everything if p.suffix.casefold() in ENDINGS]
    images = [p for p in files if not is_mask(p)]
    masks = {p.stem[: -len("_mask")]: p for p in files if is_mask(p)}
    if not files:
        if other := next(filter(is_mask, everything), None):
            problems.append(f"{folder}: holds slices that are no TIFF, such as the mask {other.name}. Save them as .tif")
        return None
    first: tuple[int, int] | None = None
    for image in images:
        mask = masks.get(image.stem)
        if mask is None:
            problems.append(f"{image}: its mask {image.stem}_mask{image.suffix} is missing")
            continue
        size, mask_size = (_size_of(path, problems) for path in (image, mask))
        first = first or size
        if size and mask_size and size != mask_size:
            problems.append(f"{mask}: is {_by(mask_size)} pixels, its image {_by(size)}")
        if size and size != first:
            problems.append(f"{image}: is {_by(size)} pixels, the patient's first slice {_by(first)}")
    orphans = set(masks) - {p.stem for p in images}
    problems.extend(f"{masks[stem]}: a mask without its image {stem}{masks[stem].suffix}" for stem in sorted(orphans))
    return Patient(folder.name, tuple(images), tuple(masks[p.stem] for p in images if p.stem in masks))


def _size_of(path: Path, problems: list[str]) -> tuple[int, int] | None:
    try:
        with Image.open(path) as image:
            image.load()
            return image.size
    except (Image.DecompressionBombError, OSError, ValueError, SyntaxError, TypeError, LookupError) as error:
        problems.append(f"{path}: not readable as an image ({error})")
        return None


def _by(size: tuple[int, int] | None) -> str:
    return "?" if size is None else f"{size[0]} x {size[1]}"
