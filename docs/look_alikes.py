"""Pictures to try the quality check on: real slices as other scanners and programs might give them, and what is no axial FLAIR."""

from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image
from scipy.ndimage import binary_fill_holes, distance_transform_edt

Plane = np.ndarray

PIXEL_MM, HEAD_MM = 240 / 256, (135.0, 160.0)


def head_depth(plane: Plane) -> Plane:
    """Return the distance below the head's outline in radii of its disc."""
    bright = plane[plane > plane.mean()]
    head = binary_fill_holes(plane > 0.3 * np.median(bright)) if bright.size else plane > 0
    return distance_transform_edt(head) / max(np.sqrt(head.sum() / np.pi), 1.0)


def without_skull(plane: Plane, reference: Plane, rng: np.random.Generator) -> Plane:
    """Return the plane with what lies near the head's outline taken off, roughly as brain extraction does."""
    return plane * (head_depth(reference) > rng.uniform(0.13, 0.2))


def moved(plane: Plane, rng: np.random.Generator, degrees: float = 15.0, zoom: tuple[float, float] = (0.75, 1.25)) -> Plane:
    """Return the plane turned, scaled and shifted."""
    height, width = plane.shape
    angle, scale = np.deg2rad(rng.uniform(-degrees, degrees)), 1 / rng.uniform(*zoom)
    c, s = np.cos(angle) * scale, np.sin(angle) * scale
    right, down = rng.uniform(-0.06, 0.06, 2) * width
    matrix = (c, s, width / 2 * (1 - c) - s * height / 2 + right, -s, c, height / 2 * (1 - c) + s * width / 2 + down)
    image = Image.fromarray(plane.astype(np.float32))
    return np.asarray(image.transform((width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR))


def altered(plane: Plane, rng: np.random.Generator) -> Plane:
    """Return the plane with another contrast, uneven coils, noise and sometimes a display's window."""
    largest = float(plane.max()) or 1.0
    plane = np.maximum(plane / largest, 0.0) ** rng.uniform(0.75, 1.35) * largest
    y, x = np.mgrid[-1 : 1 : plane.shape[0] * 1j, -1 : 1 : plane.shape[1] * 1j]
    slopes = rng.normal(0, 0.12, 3)
    plane = plane * np.exp(slopes[0] * x + slopes[1] * y + slopes[2] * x * y)
    tissue = float(np.median(plane[plane > plane.mean()])) if plane.max() > 0 else 1.0
    noise = rng.normal(0, rng.uniform(0, 0.05) * tissue, (2, *plane.shape))
    plane = np.hypot(plane + noise[0], noise[1])
    return np.minimum(plane, np.percentile(plane, rng.uniform(98.5, 99.9))) if rng.random() < 0.25 else plane


def reformats(volume: Plane, reference: Plane, rng: np.random.Generator, count: int = 3) -> Iterator[tuple[Plane, Plane]]:
    """Yield sagittal and coronal planes of a volume ``(z, y, x)`` and of its FLAIR, in true proportions."""
    middle = head_depth(reference[len(reference) // 2]) > 0
    for axis in (1, 2):
        present = np.flatnonzero(middle.any(axis=2 - axis))
        low, high = np.percentile(present, (15, 85))
        for number in rng.uniform(low, high, count).astype(int):
            height = int(rng.uniform(*HEAD_MM) / PIXEL_MM)
            margin = (256 - height) // 2 if rng.random() < 0.6 else 0
            planes = []
            for source in (volume, reference):
                image = Image.fromarray(np.ascontiguousarray(source.take(number, axis=axis)[::-1]))
                planes.append(np.pad(np.asarray(image.resize((256, height), Image.Resampling.BICUBIC)).clip(0), ((margin, margin), (0, 0))))
            yield planes[0], planes[1]


def as_ct(flair: Plane, t1: Plane, rng: np.random.Generator) -> Plane:
    """Return CT in a brain's window drawn on a head: bone cut off at white, even tissue, dark fluid, at times the table."""
    depth, thickness = head_depth(flair), rng.uniform(0.08, 0.13)
    head, brain = depth > 0, depth > 0.05 + thickness
    grey = rng.uniform(90, 150)
    weighting = t1 / max(float(np.median(t1[brain])), 1.0) if brain.any() else t1
    image = np.where(head, rng.uniform(40, 80), 0.0)
    image[brain] = grey * (1 + 0.06 * np.clip(weighting[brain] - 1, -1, 1))
    image[brain & (weighting < 0.5)] = grey / 2
    image[(depth > 0.05) & ~brain] = 255 if rng.random() < 0.7 else 230
    image = image + rng.normal(0, 0.04 * grey, image.shape) * head
    if rng.random() < 0.5:
        y, x = np.mgrid[: image.shape[0], : image.shape[1]]
        lowest = np.nonzero(head)[0].max()
        image[(abs(np.hypot(y - (lowest + 4 - 150), x - 128) - 150) < 2) & (y > lowest - 40)] = 120
    return np.clip(image, 0, 255)


def chest(rng: np.random.Generator) -> Plane:
    """Return a drawn chest film: lungs, spine, ribs and heart."""
    y, x = np.mgrid[-1:1:256j, -1:1:256j]
    image = np.full((256, 256), rng.uniform(120, 200))
    for side in (-1, 1):
        lung = np.hypot((x - side * 0.45) / rng.uniform(0.28, 0.38), (y + 0.05) / rng.uniform(0.6, 0.75))
        image -= rng.uniform(60, 120) / (1 + np.exp(30 * (lung - 1)))
    image += 40 * (abs(x) < 0.1) + 25 * np.sin(y * rng.uniform(25, 40) + 6 * abs(x)) * (abs(x) < 0.85)
    image += 60 * np.exp(-(((x - 0.15) / 0.3) ** 2) - ((y - 0.4) / 0.3) ** 2)
    return np.clip(image * (abs(x) < rng.uniform(0.85, 1.1)) + rng.normal(0, 5, image.shape), 0, 255)


def clouds(rng: np.random.Generator) -> Plane:
    """Return noise of the spectrum that photographs have."""
    f = np.fft.fftfreq(256)
    spectrum = np.fft.fft2(rng.normal(size=(256, 256))) / (np.hypot(f[:, None], f) + 1 / 512) ** rng.uniform(0.8, 2)
    image = np.fft.ifft2(spectrum).real
    return 255 * (image - image.min()) / np.ptp(image)


def text(rng: np.random.Generator) -> Plane:
    """Return lines of dark strokes on white paper, or the reverse."""
    page = np.full((256, 256), 250.0)
    for y in range(10, 246, int(rng.integers(8, 16))):
        x = 12
        while x < 236:
            width = int(rng.integers(4, 22))
            page[y : y + 5, x : min(x + width, 240)] = rng.uniform(0, 60)
            page[y : y + 5, x : x + width : 3] = 230
            x += width + 5
    return page if rng.random() < 0.7 else 255 - page


def gradient(rng: np.random.Generator) -> Plane:
    """Return a plane that brightens evenly in one direction."""
    y, x = np.mgrid[-1:1:256j, -1:1:256j]
    angle = rng.uniform(0, 2 * np.pi)
    return 128 + 90 * (x * np.cos(angle) + y * np.sin(angle))


def discs(rng: np.random.Generator) -> Plane:
    """Return bright discs on black."""
    y, x = np.mgrid[-1:1:256j, -1:1:256j]
    image = np.zeros((256, 256))
    for _ in range(rng.integers(1, 9)):
        cy, cx = rng.uniform(-0.8, 0.8, 2)
        image[np.hypot(y - cy, x - cx) < rng.uniform(0.05, 0.4)] = rng.uniform(80, 255)
    return np.clip(image + rng.normal(0, 6, image.shape), 0, 255)


DRAWINGS: dict[str, Callable[[np.random.Generator], Plane]] = {
    "chest film": chest, "clouds": clouds, "text": text, "gradient": gradient, "discs": discs,
}  # fmt: skip
