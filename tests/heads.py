"""A synthetic head with a lesion, given in millimetres, that can be scanned on any grid."""

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

LESION_CENTRE_MM = np.array([32.0, 12.0, 8.0])  # RAS: in the patient's right half, in front of the middle
LESION_RADII_MM = np.array([17.0, 21.0, 16.0])
LESION_ML = 4 / 3 * np.pi * LESION_RADII_MM.prod() / 1000


def scan(affine: Matrix, shape_xyz: tuple[int, int, int], movement: Matrix | None = None, lesion: bool = True) -> NDArray[np.float32]:
    """Return FLAIR of the head on a grid, voxels ``(z, y, x)``: scalp, skull, brain, ventricles and a bright lesion with soft edges.

    ``movement`` is the (4, 4) rigid movement of the head in the scanner.
    """
    to_head = np.linalg.inv(np.eye(4) if movement is None else movement) @ affine
    z, y, x = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in shape_xyz[::-1]), indexing="ij")
    right, front, up = (to_head[i, 0] * x + to_head[i, 1] * y + to_head[i, 2] * z + to_head[i, 3] for i in range(3))
    head = _radius(right, front, up, (0, 0, 0), (76, 95, 82))
    angle = np.arctan2(front, right)
    folds = 0.015 * np.sin(13 * angle + up / 9) + 0.015 * np.sin(21 * angle - up / 13)
    brain = _inside(head, 0.86 + folds, 0.02)
    white = _inside(head, 0.68 + 2 * folds, 0.05)
    image = 4.0 + 70.0 * (_inside(head, 1.0, 0.02) - _inside(head, 0.94, 0.02))  # scalp
    image += 62.0 * brain - 8.0 * white
    for side in (-1, 1):
        image -= 34.0 * _inside(_radius(right - side * (9 + np.abs(front) / 6), front, up, (0, -4, 10), (6, 27, 13)), 1.0, 0.15)
    if lesion:
        image += 62.0 * _inside(_radius(right, front, up, LESION_CENTRE_MM, LESION_RADII_MM), 1.0, 0.05)
    return np.asarray(image, np.float32)


def rotation(axis: str, degrees: float) -> Matrix:
    """About the world's x, y or z, ``(4, 4)``."""
    angle, matrix = np.deg2rad(degrees), np.eye(4)
    first, second = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    matrix[first, first] = matrix[second, second] = np.cos(angle)
    matrix[second, first], matrix[first, second] = np.sin(angle), -np.sin(angle)
    return matrix


def centred(linear: Matrix, shape_xyz: tuple[int, int, int], middle_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Matrix:
    """Return the affine with a (3, 3) linear part whose grid has its middle at *middle_mm*."""
    affine = np.eye(4)
    affine[:3, :3] = linear
    affine[:3, 3] = np.array(middle_mm) - linear @ (np.array(shape_xyz) - 1) / 2
    return affine


def _radius(right: Matrix, front: Matrix, up: Matrix, centre: object, radii: object) -> Matrix:
    (cx, cy, cz), (rx, ry, rz) = centre, radii
    return np.sqrt(((right - cx) / rx) ** 2 + ((front - cy) / ry) ** 2 + ((up - cz) / rz) ** 2)


def _inside(radius: Matrix, edge: object, softness: float) -> Matrix:
    return np.clip((edge - radius) / softness + 0.5, 0.0, 1.0)
