"""PNG, JPEG and TIFF, read with Pillow, every pixel mode handled on purpose."""

import io
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError

from gliomask.errors import InputError
from gliomask.io.access import lost
from gliomask.io.silence import unwarned

MAX_PIXELS = 256 * 1024 * 1024
"""Most pixels of a file, all pages together; what a header claims beyond that is not allocated."""

MAX_PAGE_PIXELS = 64 * 1024 * 1024
"""Most pixels of one page: 8,192 x 8,192, below the size from which Pillow itself objects."""

FORMATS = ("PNG", "JPEG", "TIFF")

JPEG_ENDINGS = (".jpg", ".jpeg")

MAX_LABELS = 16
"""Most distinct values of a mask whose values are taken for labels."""

MOST_GREY, GREYS_PER_WHITE = 0.05, 5.0
"""Grey pixels, from a tenth of the brightest to nine, that a mask may have: as a share of all, or for each brighter one, whichever is more.

What JPEG or a resize leaves along outlines was at most 4 % of the LGG dataset's masks brought to a quarter of their size, and
in crops around lesions up to 4.4 for each brighter pixel. Its slices have 17 or more for each, and 99.5 % of them more than 5 %.
"""

LOSSY_BLACK = 8
"""Largest value that black may come back as from JPEG; Pillow makes 1 of an empty mask at a quality of 40."""

UNEVEN_ALPHA = "transparency ignored, which differs between pixels"

OTHER_BYTE = {f"{colour};16{order}": f"{colour};16{other}" for colour in ("RGB", "RGBA") for order, other in ("BL", "LB")}
"""Pillow's raw modes of 16-bit colour, of which it keeps the high byte, and those that keep the other one."""

PHOTOMETRIC, BITS_PER_SAMPLE, WHITE_IS_ZERO = 262, 258, 0
"""Tags of TIFF 6.0 (section 8), and the value of the first for grey images whose zero is white."""

GREY_MODES = {"L", "I;16", "I;16B", "I;16L", "I", "F"}


def read_image(path: Path, content: io.BytesIO | None = None, *, max_pixels: int | None = None) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Return an image file's pages as ``(z, y, x, c)`` and notes on what was done to them.

    Grey pages (8, 16 or 32 bit, with or without alpha, bilevel, or colour with three equal
    channels) give ``c = 1``; colour pages (RGB, RGBA, palette, CMYK) give ``c = 3``. Alpha is
    dropped. The pixel grid is the one that viewers show (EXIF orientation applied).

    Parameters
    ----------
    path
        The file; with *content*, only what messages call it.
    content
        The file's bytes where they are in memory, such as an upload's.
    max_pixels
        Most pixels that are read, all pages together; None is :data:`MAX_PIXELS`.

    Raises
    ------
    InputError
        No image, truncated, of another format, too large, or pages of different sizes.
    """
    max_pixels = MAX_PIXELS if max_pixels is None else max_pixels
    try:
        with _opened(path if content is None else content) as image:
            _check_size(path, image.size, getattr(image, "n_frames", 1), max_pixels)
            pages = []
            for number, page in enumerate(ImageSequence.Iterator(image)):
                _check_size(path, page.size, 1, max_pixels)  # a later page may claim another size than the first
                low_bytes = _low_bytes(path, content, page, number)
                pages.append(_page(page, low_bytes))
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise InputError(lost(path) or f"{path}: cannot be opened ({error.strerror}).") from error
    except UnidentifiedImageError as error:
        raise InputError(f"{path}: not an image that can be read. Expected PNG, JPEG or TIFF.") from error
    except (Image.DecompressionBombError, MemoryError) as error:
        raise InputError(f"{path}: too large. {_limits(max_pixels)}") from error
    except (OSError, ValueError, SyntaxError, EOFError, TypeError, LookupError, OverflowError, struct.error) as error:
        raise InputError(f"{path}: damaged or cut short ({error}). Export it again.") from error
    return _stack(path, [p for p, _ in pages]), tuple(dict.fromkeys(note for _, notes in pages for note in notes))


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Return a mask image's pages as ``(z, y, x)`` bool; whatever is not black is inside.

    In JPEG, and where a resize left greys along outlines, the cut lies at half of the largest value
    present.

    Raises
    ------
    InputError
        As :func:`read_image`, a scan or probabilities by its greys, a mask that transparency alone shows, or labels as JPEG.
    """
    pages, notes = read_image(path)
    brightest: NDArray[Any] = pages.max(axis=-1)
    if UNEVEN_ALPHA in notes and (brightest.all() or not brightest.any()):
        raise InputError(f"{path}: its shape is in its transparency, which is not read. Save it without: white inside, black outside.")
    values = np.unique(brightest)
    if values.size <= MAX_LABELS and path.suffix.casefold() not in JPEG_ENDINGS:
        return brightest > (values[-1] / 2 if _is_resized(brightest) else 0)
    # Lossy formats have 8 bits; probabilities may be as close to black and white as a resized mask, and are told by having more.
    if brightest.dtype != np.uint8 or _grey(brightest):
        raise InputError(
            f"{path}: holds {values.size} different values from {values[0]:g} to {values[-1]:g}: a scan or probabilities, not a mask. "
            "Give an image of labels, such as a slice's *_mask.png."
        )
    if values.size > 1 and values[-1] <= LOSSY_BLACK:  # black alone comes back as one value everywhere
        raise InputError(
            f"{path}: nearly black, its brightest pixel {values[-1]} of 255: labels such as 0 and 1 do not survive JPEG. Save it as PNG, "
            "or with white inside."
        )
    return brightest > max(values[-1] / 2, LOSSY_BLACK)


def _is_resized(pixels: NDArray[Any]) -> bool:
    """Return whether few greys are what a resize leaves of black and white: bright, two or more, and no area of any, as labels have it."""
    largest = pixels.max()
    between = (pixels > 0) & (pixels < largest)
    if largest <= MAX_LABELS or np.unique(pixels[between]).size < 2 or min(pixels.shape[1:]) < 3 or _grey(pixels):
        return False
    middle = pixels[:, 1:-1, 1:-1]
    height, width = middle.shape[1:]
    around = (pixels[:, y : y + height, x : x + width] for y in range(3) for x in range(3))
    return not (between[:, 1:-1, 1:-1] & np.logical_and.reduce([middle == shifted for shifted in around])).any()


def _grey(pixels: NDArray[Any]) -> bool:
    """Return whether more pixels lie between black and the brightest than a lossy format or a resize leaves along outlines."""
    white = pixels >= 0.9 * pixels.max()
    grey = (pixels > 0.1 * pixels.max()) & ~white
    return bool(grey.mean() > max(MOST_GREY, GREYS_PER_WHITE * white.mean()))


def _opened(source: Path | io.BytesIO) -> Image.Image:
    with unwarned():  # Pillow warns of sizes that the caller refuses a line later
        return Image.open(source, formats=FORMATS)


def _check_size(path: Path, size: tuple[int, int], pages: int, max_pixels: int) -> None:
    width, height = size
    if width * height > MAX_PAGE_PIXELS or width * height * pages > max_pixels:
        raise InputError(f"{path}: too large ({pages} page(s) of {width} x {height} pixels). {_limits(max_pixels)}")


def _limits(max_pixels: int) -> str:
    return f"At most {max_pixels // 2**20} megapixels are read of a file, {min(max_pixels, MAX_PAGE_PIXELS) // 2**20} of a page."


def _low_bytes(path: Path, content: io.BytesIO | None, page: Image.Image, number: int) -> Image.Image | None:
    """Return the lower bytes of a page of 16-bit colour, which Pillow drops; None where there are none."""
    tiles = getattr(page, "tile", [])
    rawmodes = {tile.args if isinstance(tile.args, str) else tile.args[0] for tile in tiles if tile.args}
    deep = {str(mode) for mode in rawmodes if ";16" in str(mode) and not str(mode).startswith("I;")}
    if not deep and (page.mode in GREY_MODES or max(getattr(page, "tag_v2", {}).get(BITS_PER_SAMPLE, (8,))) <= 8):
        return None
    if not deep or not deep <= set(OTHER_BYTE) or any(tile.codec_name not in ("zip", "raw") for tile in tiles):
        kind = ", ".join(deep) or "a plane for each colour"
        raise InputError(f"{path}: 16-bit pixels of a kind that cannot be read ({kind}). Save it as PNG without alpha.")
    with _opened(path if content is None else io.BytesIO(content.getvalue())) as opened:
        again: Any = opened  # Pillow's stubs know no tile of an opened image
        again.seek(number)
        again.tile = [
            tile._replace(args=OTHER_BYTE[tile.args] if isinstance(tile.args, str) else (OTHER_BYTE[tile.args[0]], *tile.args[1:]))
            for tile in again.tile
        ]
        again.load()
        return again.copy()


def _page(page: Image.Image, low_bytes: Image.Image | None) -> tuple[NDArray[Any], list[str]]:
    notes, tags = [], getattr(page, "tag_v2", {})  # which a page that is turned does not have
    if page.getexif().get(0x0112, 1) != 1:
        notes.append("turned as its EXIF orientation says")
        page = ImageOps.exif_transpose(page)
        low_bytes = None if low_bytes is None else ImageOps.exif_transpose(low_bytes)
    has_alpha = page.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in page.info
    if has_alpha:
        deep = page.mode.startswith("I")  # of which Pillow makes no RGBA
        lowest, highest = (0, 0) if deep else page.convert("RGBA").getchannel("A").getextrema()
        notes.append("transparency ignored" if lowest == highest else UNEVEN_ALPHA)
    if page.mode in GREY_MODES:
        return _white_bright(np.asarray(page), tags)[..., None], notes
    if page.mode in ("1", "LA", "La"):
        return np.asarray(page.convert("L"))[..., None], notes
    colour: NDArray[Any] = np.asarray(page.convert("RGBA").convert("RGB") if page.mode in ("P", "PA") else page.convert("RGB"))
    if low_bytes is not None:
        colour = colour.astype(np.uint16) << 8 | np.asarray(low_bytes.convert("RGB"))
    if np.array_equal(colour[..., 0], colour[..., 1]) and np.array_equal(colour[..., 1], colour[..., 2]):
        return colour[..., :1], notes
    return colour, notes


def _white_bright(pixels: NDArray[Any], tags: Mapping[int, Any]) -> NDArray[Any]:
    """Return grey pixels, turned over where a TIFF of more than 8 bits stores white as zero, which Pillow does for up to 8 alone."""
    if tags.get(PHOTOMETRIC) != WHITE_IS_ZERO or pixels.dtype.kind != "u" or pixels.dtype.itemsize == 1:
        return pixels
    white: NDArray[Any] = (1 << tags[BITS_PER_SAMPLE][0]) - 1 - pixels
    return white


def _stack(path: Path, pages: list[NDArray[Any]]) -> NDArray[Any]:
    sizes = sorted({page.shape[1::-1] for page in pages})
    if len(sizes) > 1:
        found = ", ".join(f"{x} x {y}" for x, y in sizes)
        raise InputError(f"{path}: pages of different sizes ({found}); a volume needs one size. Save them as single files.")
    if len(types := {page.dtype.name for page in pages}) > 1:
        raise InputError(f"{path}: pages of different types ({', '.join(sorted(types))}); a volume needs one. Save them as single files.")
    return np.stack(match_channels(pages))


def match_channels(slices: list[NDArray[Any]]) -> list[NDArray[Any]]:
    """Return slices ``(y, x, c)`` with one channel count: where some have colour, grey ones fill three channels."""
    channels = max(s.shape[-1] for s in slices)
    return [s if s.shape[-1] == channels else np.repeat(s, channels, axis=-1) for s in slices]
