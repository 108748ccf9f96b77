import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gliomask import InputError, Volume
from gliomask.io import images, read_image, read_mask

GREY = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
COLOUR = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=-1)


def rgba(colour: np.ndarray) -> Image.Image:
    return Image.fromarray(np.concatenate([colour, np.full((6, 8, 1), 128, np.uint8)], axis=-1))


def grey_alpha() -> Image.Image:
    image = Image.fromarray(GREY).convert("LA")
    image.putalpha(100)
    return image


@pytest.mark.parametrize(
    ("ending", "image", "expected"),
    [
        ("png", Image.fromarray(GREY), GREY[..., None]),
        ("png", Image.fromarray(GREY.astype(np.uint16) * 250), GREY[..., None].astype(np.uint16) * 250),
        ("tif", Image.fromarray(GREY.astype(np.uint16) * 250), GREY[..., None].astype(np.uint16) * 250),
        ("tif", Image.fromarray(GREY.astype(np.float32) / 7), GREY[..., None].astype(np.float32) / 7),
        ("png", grey_alpha(), GREY[..., None]),
        ("png", Image.fromarray(COLOUR), COLOUR),
        ("tiff", Image.fromarray(COLOUR), COLOUR),
        ("png", rgba(COLOUR), COLOUR),
        ("png", Image.fromarray(np.repeat(GREY[..., None], 3, axis=-1)), GREY[..., None]),
        ("png", Image.fromarray(GREY).convert("P"), GREY[..., None]),
        ("png", Image.fromarray(GREY > 100), ((GREY > 100) * np.uint8(255))[..., None]),
    ],
    ids=["L", "I;16 png", "I;16 tif", "F", "LA", "RGB", "RGB tiff", "RGBA", "equal channels", "palette", "bilevel"],
)
def test_every_pixel_mode(tmp_path: Path, ending: str, image: Image.Image, expected: np.ndarray) -> None:
    path = tmp_path / f"slice.{ending}"
    image.save(path)
    pages, notes = read_image(path)
    np.testing.assert_array_equal(pages[0], expected)
    assert pages.dtype == expected.dtype
    assert notes == (("transparency ignored",) if image.mode in ("LA", "RGBA") else ())


@pytest.mark.parametrize("orientation", [1, 3])
def test_white_stored_as_zero_is_bright(tmp_path: Path, orientation: int) -> None:
    stored = GREY.astype(np.uint16)
    Image.fromarray(stored).save(tmp_path / "s.tif", tiffinfo={262: 0, 274: orientation})
    pages, _ = read_image(tmp_path / "s.tif")
    white = 65_535 - stored
    np.testing.assert_array_equal(pages[0, ..., 0], white if orientation == 1 else white[::-1, ::-1])
    assert pages.dtype == np.uint16


def test_jpeg_is_read_within_its_loss(tmp_path: Path) -> None:
    smooth = np.tile(np.linspace(0, 255, 64, dtype=np.uint8), (64, 1))
    Image.fromarray(smooth).save(tmp_path / "s.jpg", quality=95)
    pages, _ = read_image(tmp_path / "s.jpg")
    assert pages.shape == (1, 64, 64, 1)
    assert np.abs(pages[0, ..., 0].astype(int) - smooth).max() < 6


def test_exif_orientation_is_applied_and_told(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned a quarter clockwise
    Image.fromarray(GREY).save(tmp_path / "s.png", exif=exif)
    pages, notes = read_image(tmp_path / "s.png")
    np.testing.assert_array_equal(pages[0, ..., 0], np.rot90(GREY, -1))
    assert notes == ("turned as its EXIF orientation says",)


def test_multi_page_tiff_is_a_volume(tmp_path: Path) -> None:
    pages = [Image.fromarray(GREY + i) for i in range(3)]
    pages[0].save(tmp_path / "v.tif", save_all=True, append_images=pages[1:])
    volume, _ = read_image(tmp_path / "v.tif")
    np.testing.assert_array_equal(volume[..., 0], np.stack([GREY, GREY + 1, GREY + 2]))


def test_a_slice_as_published(lgg: Path) -> None:
    volume, notes = read_image(lgg / "original" / "TCGA_CS_4941_19960909_15.tif")
    assert volume.shape == (1, 256, 256, 3)
    assert volume.dtype == np.uint8
    assert notes == ()
    assert read_mask(lgg / "original" / "TCGA_CS_4941_19960909_15_mask.tif").any()


def save_pages_of_two_sizes(path: Path, first: int = 6) -> None:
    Image.fromarray(GREY[:first]).save(path, save_all=True, append_images=[Image.fromarray(GREY[: 10 - first])])


def save_truncated(path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:1500])


@pytest.mark.parametrize(
    ("name", "make", "reason"),
    [
        ("missing.png", lambda path: None, "cannot be opened"),
        ("empty.png", lambda path: path.write_bytes(b""), "not an image"),
        ("text.png", lambda path: path.write_text("no picture"), "not an image"),
        ("cut.png", save_truncated, "damaged or cut short"),
        ("cut.tif", save_truncated, "damaged or cut short"),
        ("sizes.tif", save_pages_of_two_sizes, "pages of different sizes .8 x 4, 8 x 6"),
        ("moving.png", lambda path: Image.fromarray(GREY).save(path, format="GIF"), "not an image"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_reason(tmp_path: Path, name: str, make: object, reason: str) -> None:
    path = tmp_path / name
    make(path)  # type: ignore[operator]
    with pytest.raises(InputError, match=reason) as caught:
        read_image(path)
    assert str(path) in str(caught.value)


def test_size_is_checked_before_anything_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(GREY).save(tmp_path / "s.png")
    monkeypatch.setattr(images, "MAX_PIXELS", 47)
    with pytest.raises(InputError, match=r"too large .1 page.s. of 8 x 6 pixels"):
        read_image(tmp_path / "s.png")


@pytest.mark.parametrize("side", [9_000, 12_000, 60_000])
def test_a_header_that_claims_too_much(tmp_path: Path, side: int) -> None:
    Image.fromarray(GREY).save(tmp_path / "s.png")
    png = bytearray((tmp_path / "s.png").read_bytes())
    png[16:24] = struct.pack(">II", side, side)
    png[29:33] = struct.pack(">I", zlib.crc32(png[12:29]))
    (tmp_path / "s.png").write_bytes(png)
    with pytest.raises(InputError, match=r"s\.png: too large.*256 megapixels are read of a file, 64 of a page"):
        read_image(tmp_path / "s.png")


def test_a_later_page_is_checked_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_pages_of_two_sizes(tmp_path / "s.tif", first=4)
    monkeypatch.setattr(images, "MAX_PAGE_PIXELS", 40)
    with pytest.raises(InputError, match=r"too large .1 page.s. of 8 x 6"):
        read_image(tmp_path / "s.tif")


def test_bytes_in_memory(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "s.png")
    content = io.BytesIO((tmp_path / "s.png").read_bytes())
    pages, _ = read_image(Path("upload.png"), content)
    np.testing.assert_array_equal(pages[0, ..., 0], GREY)
    with pytest.raises(InputError, match=r"^upload\.png: too large"):
        read_image(Path("upload.png"), content, max_pixels=47)
    with pytest.raises(InputError, match=r"^upload\.png: not an image"):
        read_image(Path("upload.png"), io.BytesIO(b"text"))


def test_a_mask_of_labels_is_all_that_is_not_black(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8)).save(tmp_path / "a_mask.png")
    Image.fromarray(np.array([[0, 255], [200, 100]], np.uint8)).save(tmp_path / "b_mask.png")
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(tmp_path / "c_mask.png")
    assert read_mask(tmp_path / "a_mask.png").tolist() == [[[False, True], [True, False]]]
    assert read_mask(tmp_path / "b_mask.png").tolist() == [[[False, True], [True, True]]]
    assert not read_mask(tmp_path / "c_mask.png").any()


def drawn_mask() -> Image.Image:
    """Return a disc of 40 pixels and one of 6 in 256 x 256."""
    y, x = np.mgrid[:256, :256]
    inside = ((x - 100) ** 2 + (y - 90) ** 2 < 20**2) | ((x - 180) ** 2 + (y - 190) ** 2 < 3**2)
    return Image.fromarray(inside.astype(np.uint8) * 255)


@pytest.mark.parametrize("size", [64, 200, 700])
@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_a_resized_or_lossy_mask_is_cut_at_half(tmp_path: Path, size: int, ending: str) -> None:
    path = tmp_path / f"a_mask.{ending}"
    drawn_mask().resize((size, size), Image.Resampling.BILINEAR).save(path, **({"quality": 40} if ending == "jpg" else {}))
    assert np.unique(read_image(path)[0]).size > images.MAX_LABELS
    expected = np.asarray(drawn_mask()).mean() / 255
    assert read_mask(path).mean() == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(("size", "way"), [(512, Image.Resampling.BILINEAR), (128, Image.Resampling.BOX)])
def test_a_resize_that_leaves_few_greys_is_cut_at_half(tmp_path: Path, size: int, way: Image.Resampling) -> None:
    resized = drawn_mask().resize((size, size), way)
    resized.save(tmp_path / "a_mask.png")
    assert 2 < np.unique(np.asarray(resized)).size <= images.MAX_LABELS
    np.testing.assert_array_equal(read_mask(tmp_path / "a_mask.png")[0], np.asarray(resized) > 127)


@pytest.mark.parametrize("shades", [(1, 2, 4), (85, 170, 255), (40, 120, 200)])
def test_labels_with_areas_of_their_own_are_all_inside(tmp_path: Path, shades: tuple[int, ...]) -> None:
    labels = np.zeros((64, 64), np.uint8)
    for margin, shade in zip((8, 16, 24), shades, strict=True):
        labels[margin:-margin, margin:-margin] = shade
    Image.fromarray(labels).save(tmp_path / "a_mask.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a_mask.png")[0], labels > 0)


@pytest.mark.parametrize("shade", [100, 120, 128])
def test_a_thin_label_is_inside_whatever_its_grey(tmp_path: Path, shade: int) -> None:
    labels = np.zeros((64, 64), np.uint8)
    labels[8:24, 8:24], labels[9:23, 9:23], labels[40:42, 10:50] = shade, 240, shade
    Image.fromarray(labels).save(tmp_path / "a_mask.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a_mask.png")[0], labels > 0)


def test_lossy_black_is_outside(tmp_path: Path) -> None:
    empty, dot = (np.zeros((700, 700), np.uint8) for _ in range(2))
    dot[300:303, 300:303] = 255
    Image.fromarray(empty).save(tmp_path / "empty_mask.jpg", quality=40)
    assert np.unique(read_image(tmp_path / "empty_mask.jpg")[0]).tolist() == [1]
    assert not read_mask(tmp_path / "empty_mask.jpg").any()
    Image.fromarray(dot).save(tmp_path / "dot_mask.jpg", quality=90)
    np.testing.assert_array_equal(read_mask(tmp_path / "dot_mask.jpg")[0], dot > 0)


@pytest.mark.parametrize("quality", [75, 95])  # at lower ones nothing of the labels is left
def test_labels_as_jpeg_are_refused_rather_than_taken_for_nothing(tmp_path: Path, quality: int) -> None:
    Image.fromarray((np.asarray(drawn_mask()) > 0).astype(np.uint8)).save(tmp_path / "a_mask.jpg", quality=quality)
    with pytest.raises(InputError, match=r"a_mask\.jpg: nearly black, its brightest pixel \d of 255: .* Save it as PNG"):
        read_mask(tmp_path / "a_mask.jpg")
    for size in ((256, 256), (123, 77)):  # what is empty stays so
        for mode in ("L", "RGB"):
            Image.new(mode, size).save(tmp_path / "b_mask.jpg", quality=quality)
            assert not read_mask(tmp_path / "b_mask.jpg").any()


def test_a_crop_around_a_resized_lesion_is_a_mask(tmp_path: Path) -> None:
    drawn_mask().crop((78, 68, 123, 113)).resize((50, 50), Image.Resampling.BILINEAR).save(tmp_path / "a_mask.png")
    assert read_mask(tmp_path / "a_mask.png").mean() == pytest.approx(np.pi * 20**2 / 45**2, rel=0.05)


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_a_scan_is_no_mask(tmp_path: Path, phantom: Volume, ending: str) -> None:
    path = tmp_path / f"s.{ending}"
    Image.fromarray(phantom.voxels[5]).save(path)
    with pytest.raises(InputError, match=rf"s\.{ending}: holds \d+ different values from 0 to \d+: a scan or probabilities, not a mask"):
        read_mask(path)


def test_probabilities_are_no_mask(tmp_path: Path) -> None:
    sharp = drawn_mask().resize((700, 700), Image.Resampling.BILINEAR)
    Image.fromarray(np.asarray(sharp).astype(np.uint16) * 257).save(tmp_path / "p.png")
    with pytest.raises(InputError, match="from 0 to 65535: a scan or probabilities"):
        read_mask(tmp_path / "p.png")


@pytest.mark.parametrize("colour", [0, 255])
def test_a_mask_that_transparency_alone_shows_is_refused(tmp_path: Path, colour: int) -> None:
    shown = drawn_mask()
    image = Image.new("RGB", shown.size, (colour, 0, 0))
    image.putalpha(shown)
    image.save(tmp_path / "a_mask.png")
    with pytest.raises(InputError, match=r"a_mask\.png: its shape is in its transparency"):
        read_mask(tmp_path / "a_mask.png")
    for alpha in (shown, 255):  # in black and white the shape is there too, and an empty mask is none in disguise
        image = shown.convert("RGB") if alpha is shown else Image.new("RGB", shown.size)
        image.putalpha(alpha)
        image.save(tmp_path / "b_mask.png")
        assert read_mask(tmp_path / "b_mask.png").any() == (alpha is shown)


def save_deep_png(path: Path, pixels: np.ndarray, colour_type: int) -> None:
    """Write a 16-bit PNG by the specification, which Pillow can not for colour."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


@pytest.mark.parametrize(("channels", "colour_type"), [(3, 2), (4, 6)])
@pytest.mark.parametrize("from_memory", [False, True])
def test_16_bit_colour_keeps_all_bits(tmp_path: Path, channels: int, colour_type: int, from_memory: bool) -> None:
    pixels = np.random.default_rng(0).integers(0, 2048, (6, 8, channels), np.uint16)
    save_deep_png(tmp_path / "s.png", pixels, colour_type)
    content = io.BytesIO((tmp_path / "s.png").read_bytes()) if from_memory else None
    pages, _ = read_image(tmp_path / "s.png", content)
    assert pages.dtype == np.uint16
    np.testing.assert_array_equal(pages[0], pixels[..., :3])


def test_16_bit_grey_with_alpha_is_refused_rather_than_cut_to_8(tmp_path: Path) -> None:
    save_deep_png(tmp_path / "s.png", np.zeros((6, 8, 2), np.uint16), 4)
    with pytest.raises(InputError, match=r"16-bit pixels of a kind that cannot be read \(LA;16B\)"):
        read_image(tmp_path / "s.png")


def test_pages_of_different_types_are_refused(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "v.tif", save_all=True, append_images=[Image.fromarray(GREY.astype(np.uint16))])
    with pytest.raises(InputError, match="pages of different types"):
        read_image(tmp_path / "v.tif")


def test_16_bit_colour_in_planes_is_refused_rather_than_read_as_bytes(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    planes = np.random.default_rng(0).integers(0, 60_000, (3, 40, 50), np.uint16)
    tifffile.imwrite(tmp_path / "planes.tif", planes, photometric="rgb")
    with pytest.raises(InputError, match=r"planes\.tif: 16-bit pixels of a kind that cannot be read \(a plane for each colour\)"):
        read_image(tmp_path / "planes.tif")
    tifffile.imwrite(tmp_path / "pixels.tif", np.moveaxis(planes, 0, -1), photometric="rgb")
    np.testing.assert_array_equal(read_image(tmp_path / "pixels.tif")[0][0], np.moveaxis(planes, 0, -1))
    tifffile.imwrite(tmp_path / "bytes.tif", (planes >> 8).astype(np.uint8), photometric="rgb")
    np.testing.assert_array_equal(read_image(tmp_path / "bytes.tif")[0][0], np.moveaxis(planes >> 8, 0, -1))
