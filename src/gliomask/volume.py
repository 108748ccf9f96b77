"""The one data type: voxels, where they came from and what is known of their geometry."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliomask.errors import InputError

LAST_NUMBER = re.compile(r"\d+(?=\D*$)")

CHANNELS = ("pre-contrast T1", "FLAIR", "post-contrast T1")
"""What the three channels of a slice are, in the order of the LGG dataset."""

WHOLE_HEAD_MM = 100.0
"""What slices span at least that show a whole head; what is to be expected of a part was not measured."""

SMALLEST_SPACING_MM = 1e-3
"""Below a micrometre a spacing is an error of the header, not of a scanner."""

FLATTEST = 1e-3
"""Volume of the parallelepiped of the voxel axes' unit vectors below which they lie in one plane."""


@dataclass(frozen=True)
class Volume:
    """One case: a stack of slices, with or without geometry.

    Attributes
    ----------
    voxels
        Shape ``(z, y, x, c)``, any real dtype, *c* being 3 (pre-contrast, FLAIR, post-contrast) or
        1 (FLAIR alone). A single slice has ``z = 1``. They lie as the file has them; without an
        affine they are axial slices, patient's right on the left, front on top.
    name
        The case's name; results are filed under it.
    slice_names
        One name a slice, in order; mask files carry them.
    source
        The file or folder it was read from; None for an array.
    notes
        What was done on reading that the user should know of, such as a dropped alpha channel.
    sha256
        Over the names and bytes of the files it was read from; None for an array.
    affine
        ``(4, 4)`` float64, from voxel indices in the order x, y, z to millimetres in RAS+ (right,
        anterior, superior), as nibabel has it; None where the input carries no geometry.
    origin
        What the reader keeps for writing results in the input's own kind: a NIfTI header, DICOM
        headers. Only ``io`` looks inside.
    oriented
        Whether the affine's directions are those of the patient; if not, only its spacing counts.
    flair_series
        Of a DICOM study with several FLAIR series, what each is called, by its UID, the best first; another that was asked for
        comes last. Else empty.
    """

    voxels: NDArray[Any]
    name: str = "case"
    slice_names: tuple[str, ...] = ()
    source: Path | None = None
    notes: tuple[str, ...] = ()
    sha256: str | None = None
    affine: NDArray[np.float64] | None = None
    origin: Any = field(default=None, repr=False, compare=False)
    oriented: bool = True
    flair_series: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the shape and fill in the slices' names."""
        v = self.voxels
        if v.ndim != 4 or v.shape[3] not in (1, 3) or 0 in v.shape:
            raise InputError(f"{self.name}: voxels of shape {v.shape}; expected (z, y, x, c) with 1 or 3 channels.")
        if v.dtype.kind not in "uif":
            raise InputError(f"{self.name}: voxels of type {v.dtype}; expected real numbers.")
        if v.dtype.kind == "f" and not np.isfinite(v).all():
            found = f"{int((~np.isfinite(v)).sum())} NaN or infinite values"
            raise InputError(f"{self.source or self.name}: holds {found}. Replace them first.")
        if not self.slice_names:
            object.__setattr__(self, "slice_names", tuple(f"{self.name}_{z + 1}" for z in range(len(v))))
        if len(self.slice_names) != len(v):
            raise InputError(f"{self.name}: {len(self.slice_names)} slice names for {len(v)} slices.")
        if len(set(self.slice_names)) < len(v) or any({"/", "\\"} & set(name) for name in self.slice_names):
            raise InputError(f"{self.name}: slice names have to differ and to be plain file names; found {list(self.slice_names)}.")

        if self.affine is not None:
            object.__setattr__(self, "affine", checked_affine(self.affine, str(self.source or self.name)))

    @property
    def spacing_mm(self) -> tuple[float, float, float] | None:
        """Distance of neighbouring voxels along x, y and z in mm; None without geometry."""
        if self.affine is None:
            return None
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @property
    def in_sequence(self) -> bool:
        """Whether the slices follow each other: by the affine, or without one by names that differ by their last number alone."""
        return self.affine is not None or len({LAST_NUMBER.sub("", name) for name in self.slice_names}) == 1

    @property
    def flair(self) -> NDArray[Any]:
        """The FLAIR channel ``(z, y, x)``."""
        return self.voxels[..., 1 if self.voxels.shape[-1] == 3 else 0]

    @classmethod
    def from_array(cls, array: NDArray[Any], name: str = "case") -> "Volume":
        """Return the volume in an array.

        Parameters
        ----------
        array
            ``(y, x)`` or ``(y, x, 1)`` is a grey slice; ``(y, x, 3)`` a three-channel slice; any
            other three-dimensional shape is ``(z, y, x)``, a grey volume; ``(z, y, x, c)`` has 1 or
            3 channels. Grey is FLAIR.

        Raises
        ------
        InputError
            The array has another shape, is empty, or holds what is not a finite real number.
        """
        array = np.asarray(array)
        if array.ndim == 2:
            array = array[None, ..., None]
        elif array.ndim == 3:
            if array.shape[2] in (2, 4):
                raise InputError(
                    f"{name}: an array of shape {array.shape} may be a slice with alpha or a volume. Drop the alpha channel, or give "
                    "(z, y, x, c)."
                )
            array = array[None] if array.shape[2] in (1, 3) else array[..., None]
        return cls(array, name)


def checked_affine(affine: NDArray[Any], name: str) -> NDArray[np.float64]:
    """Return the affine as ``(4, 4)`` float64.

    Raises
    ------
    InputError
        It is of another shape, not finite, or singular: voxels without extent.
    """
    matrix = np.asarray(affine, np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise InputError(f"{name}: an affine of {matrix.tolist()}; expected four rows of four finite numbers. Mend the header.")
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    if spacing.min() < SMALLEST_SPACING_MM or abs(np.linalg.det(matrix[:3, :3] / spacing)) < FLATTEST:
        shown = ", ".join(f"{s:.3g}" for s in spacing)
        raise InputError(f"{name}: its affine is singular (spacing {shown} mm); voxels have no extent. Mend the header.")
    return matrix
