import json
import tarfile
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from heads import centred, scan
from PIL import Image

from gliomask import ImplausibleInputError, Segmenter, Volume, draw_phantom
from gliomask.appearance import appearance
from gliomask.cli import main
from gliomask.io.naming import natural_key
from gliomask.quality import FEW, check, judged, load_judge

RNG = np.random.default_rng
Picture = Callable[[int], np.ndarray]


def clouds(seed: int) -> np.ndarray:
    """Grey noise of the spectrum that photographs have, up to the frame."""
    f = np.fft.fftfreq(256)
    spectrum = np.fft.fft2(RNG(seed).normal(size=(256, 256))) / (np.hypot(f[:, None], f) + 1 / 512) ** 1.4
    image = np.fft.ifft2(spectrum).real
    return np.uint8(255 * (image - image.min()) / np.ptp(image))


def photograph(seed: int) -> np.ndarray:
    """Clouds in colour: one picture in three tints."""
    grey = clouds(seed).astype(float)
    return np.uint8(np.stack([grey, 0.8 * grey + 20, 0.5 * grey + 60], axis=-1))


def chest_film(seed: int) -> np.ndarray:
    y, x = np.mgrid[-1:1:256j, -1:1:256j]
    image = np.full((256, 256), 170.0)
    for side in (-1, 1):
        image -= 100 / (1 + np.exp(30 * (np.hypot((x - side * 0.45) / 0.33, (y + 0.05) / 0.7) - 1)))
    image += 40 * (abs(x) < 0.1) + 25 * np.sin(32 * y + 6 * abs(x)) * (abs(x) < 0.85)
    return np.uint8(np.clip(image * (abs(x) < 0.95) + RNG(seed).normal(0, 5, image.shape), 0, 255))


def text_page(seed: int) -> np.ndarray:
    strokes = RNG(seed).random((24, 240)) < 0.5
    page = np.full((256, 256), 250, np.uint8)
    for line, row in enumerate(strokes):
        page[10 * line + 8 : 10 * line + 14, 8:248][:, row] = 20
    return page


def ramp(seed: int) -> np.ndarray:
    return np.tile(np.arange(256, dtype=np.uint8), (256, 1)) if seed % 2 else np.tile(np.arange(256, dtype=np.uint8)[:, None], (1, 256))


def grain(seed: int) -> np.ndarray:
    """Grass or gravel from above: of one brightness up to the frame."""
    return np.uint8(RNG(seed).normal(128, 25, (256, 256)).clip(0, 255))


def wide_grain(seed: int) -> np.ndarray:
    return grain(seed)[:180]


def print_on_black(seed: int) -> np.ndarray:
    image = RNG(seed).uniform(0, 9, (256, 256))
    image[50:200, 40:210] = RNG(seed).normal(128, 12, (150, 170))
    return np.uint8(image.clip(0, 255))


def stars(seed: int) -> np.ndarray:
    """Nine lights of like size, none of which is most of what is bright."""
    y, x = np.mgrid[:256, :256]
    light = np.full((256, 256), 8.0)
    for number in range(9):
        cy, cx = 50 + 75 * (number // 3) + RNG(seed + number).uniform(-9, 9), 50 + 75 * (number % 3)
        light += 200 * np.exp(-((np.hypot(y - cy, x - cx) / 16) ** 2))
    return np.uint8(light.clip(0, 255) + RNG(seed).uniform(0, 5, light.shape).clip(0, 255 - light.clip(0, 255)))


def shepp_logan(seed: int) -> np.ndarray:
    """A phantom of tomography: a white rim, and inside it little of a twentieth of that."""
    y, x = np.mgrid[-1:1:256j, -1:1:256j]
    radius = np.hypot(x / 0.69, y / 0.92)
    image = 255.0 * ((radius < 1) & (radius > 0.88)) + 15.0 * (radius <= 0.88)
    for side in (-1, 1):
        image[np.hypot((x - side * 0.24) / 0.12, y / 0.35) < 1] = 6
    return np.uint8(image + RNG(seed).uniform(0, 2, image.shape) * (image < 250))


def coin(seed: int) -> np.ndarray:
    y, x = np.mgrid[-1:1:256j, -1:1:256j]
    radius = np.hypot(x / RNG(seed).uniform(0.5, 0.7), y / 0.8)
    return np.uint8(150 * (radius < 1) + RNG(seed).uniform(0, 6, radius.shape))


def glow(seed: int) -> np.ndarray:
    y, x = np.mgrid[-1:1:512j, -1:1:512j]
    return (1000 * np.exp(-(np.hypot(x, y) ** 2) / (0.4 + 0.1 * seed))).astype(np.uint16)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("picture", "seen"),
    [
        (grain, "a picture that fills a rectangle"),
        (wide_grain, "a picture that fills a rectangle"),
        (print_on_black, "a picture that fills a rectangle"),
        (stars, "many pieces"),
        (shepp_logan, "a bright rim"),
        (coin, "an even patch"),
        (glow, "a smooth drawing"),
    ],
)
def test_what_goes_beyond_what_heads_do_is_refused_with_that(picture: Picture, seen: str, seed: int) -> None:
    (reason,) = check(Volume.from_array(picture(seed)).voxels).reasons
    assert reason.startswith(f"It looks like {seen}") and reason.endswith(".")
    assert any(character.isdigit() for character in reason)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("picture", [clouds, photograph, chest_film, text_page, ramp])
def test_what_is_no_head_is_refused(picture: Picture, seed: int) -> None:
    quality = check(Volume.from_array(picture(seed)).voxels)
    assert not quality.plausible
    assert quality.reasons[0].endswith(".")


def test_a_photograph_is_told_by_its_colours() -> None:
    assert "in colour" in check(photograph(0)[None]).reasons[0]


def test_a_grey_picture_saved_in_colour_is_judged_as_grey(phantom: Volume) -> None:
    grey = np.repeat(phantom.flair[5][..., None], 3, axis=-1).astype(int)
    grey[..., 2] += 1  # as JPEG leaves it
    assert check(np.uint8(grey.clip(0, 255))[None]).plausible


@pytest.mark.parametrize("seed", [7, 8])
def test_the_phantom_is_plausible_as_a_volume_and_slice_by_slice(seed: int) -> None:
    phantom = draw_phantom(seed=seed)
    assert check(phantom.voxels).plausible
    assert all(check(slice_[None]).plausible for slice_ in phantom.voxels)
    assert all(check(slice_[None, ..., 1:2]).plausible for slice_ in phantom.voxels)


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v.astype(np.uint16) * 200,
        lambda v: (v - v.mean()) / v.std(),
        lambda v: np.kron(v, np.ones((1, 4, 4, 1), v.dtype)),
        lambda v: v[:, ::2, ::2],
        lambda v: np.pad(v, ((0, 0), (40, 40), (40, 40), (0, 0))),
    ],
    ids=["16 bit", "zero mean", "1024 pixels", "128 pixels", "wide field"],
)
def test_depth_units_and_size_do_not_matter(phantom: Volume, change: Callable[[np.ndarray], np.ndarray]) -> None:
    assert check(change(phantom.voxels[3:9])).plausible


def test_padding_of_zero_among_the_tissues_values_is_no_tissue(phantom: Volume) -> None:
    flair = phantom.voxels[3:9, ..., 1:2].astype(np.float32)
    head = flair > 20
    assert check(np.where(head, (flair - flair[head].mean()) / flair[head].std(), 0.0)).plausible


def test_a_black_slice_is_a_caution_and_a_white_one_a_refusal() -> None:
    black, white = check(np.zeros((1, 64, 64, 1))), check(np.full((1, 64, 64, 1), 255))
    assert black.plausible and "black" in black.cautions[0]
    assert not white.plausible and "one shade" in white.reasons[0]


def test_black_slices_do_not_count_in_a_volume(phantom: Volume) -> None:
    voxels = np.concatenate([np.zeros_like(phantom.voxels), phantom.voxels])
    assert check(voxels).measured == check(phantom.voxels).measured


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (3, 3), (2, 300)])
def test_tiny_images_are_judged_too(shape: tuple[int, int]) -> None:
    image = np.arange(np.prod(shape)).reshape(1, *shape, 1)
    assert isinstance(check(image).plausible, bool)


def test_a_volume_is_judged_more_strictly_than_a_few_slices(phantom: Volume) -> None:
    """What several slices say together is less often wrong."""
    found = [seen for plane in phantom.flair if (seen := appearance(plane)) is not None][:FEW]
    assert len(found) == FEW
    few, many = (judged(group).measured["limit"] for group in (found[:-1], found))
    judge = load_judge()
    assert few in judge.slice_limits and many in judge.volume_limits and few < many


def test_the_appearance_of_a_disc() -> None:
    y, x = np.mgrid[:96, :96]
    found = appearance(100.0 * (np.hypot(y - 47.5, x - 47.5) < 30))
    assert found is not None
    assert found["head_share"] == pytest.approx(np.pi * 30**2 / 96**2, rel=0.05)
    assert found["ellipse"] > 0.97 and found["mirror_lr"] > 0.97
    assert abs(found["tall"]) < 0.01 and found["border"] == 0.0


def test_the_border_is_that_of_the_picture_whatever_its_shape() -> None:
    for shape in ((96, 96), (40, 96), (200, 90)):
        found = appearance(grain(0)[: shape[0], : shape[1]])
        assert found is not None and found["border"] == found["straight"] > 0.98
    round_in_wide = appearance(np.pad(coin(0), ((0, 0), (100, 100))))
    assert round_in_wide is not None and round_in_wide["border"] == 0.0 and round_in_wide["straight"] < 0.3


def brain_in_its_frame(phantom: Volume, z: int) -> np.ndarray:
    """The phantom's FLAIR of a slice without skull and air: 0 around the brain, which touches all four edges."""
    y, x = np.mgrid[:256, :256] - 128
    brain = np.hypot(y / 85, x / 67) < 1
    return (phantom.flair[z] * brain)[44:213, 62:195]


@pytest.mark.parametrize("z", range(3, 8))
def test_a_brain_that_fills_its_frame_is_plausible(phantom: Volume, z: int) -> None:
    brain = brain_in_its_frame(phantom, z)
    assert all(edge.any() for edge in (brain[0], brain[-1], brain[:, 0], brain[:, -1]))
    assert check(brain[None, ..., None]).plausible
    found = appearance(brain)
    assert found is not None and max(found["border"], found["straight"]) < 0.4


def test_a_volume_of_brains_that_fill_their_frame_is_plausible(phantom: Volume) -> None:
    brains = np.stack([brain_in_its_frame(phantom, z) for z in range(3, 8)]).astype(np.float32)
    assert check(brains[..., None]).plausible
    inside = brains > 0
    assert check(np.where(inside, (brains - brains[inside].mean()) / brains[inside].std(), 0.0)[..., None]).plausible


def test_air_below_the_rest_of_the_picture_does_not_make_a_rectangle(phantom: Volume) -> None:
    """A narrow picture is laid in a square, whose sides are as bright as its air and no darker: a pixel may be."""
    brain = brain_in_its_frame(phantom, 5).astype(np.float32)
    brain[brain == 0] = 30.0
    brain[0, 0] = 0.0
    found = appearance(brain)
    assert found is not None and found["straight"] < 0.4


def test_a_refusal_names_the_file_what_was_seen_and_the_way_out(segmenter: Segmenter) -> None:
    white = Volume(np.full((1, 64, 64, 1), 255, np.uint8), "white")
    with pytest.raises(ImplausibleInputError, match=r"^white: .* one shade .* Expected an axial FLAIR .*--force") as refused:
        segmenter.segment(white)
    assert refused.value.reasons == check(white.voxels).reasons


def test_what_is_forced_is_segmented_and_says_so(segmenter: Segmenter) -> None:
    result = segmenter.segment(chest_film(0), force=True)
    assert not result.quality.plausible
    assert any("by force" in note for note in result.notes)
    assert set(result.quality.reasons) <= set(result.notes)


def test_a_segmenter_may_be_forced_and_a_call_may_say_otherwise() -> None:
    forced = Segmenter(force=True)
    forced.segment(chest_film(0))
    with pytest.raises(ImplausibleInputError):
        forced.segment(chest_film(0), force=False)


def test_sagittal_acquisitions_with_geometry_are_judged_by_their_axial_view(segmenter: Segmenter) -> None:
    shape = (24, 128, 24)  # x, y, z: thick slices along the patient's left and right
    affine = centred(np.diag([7.0, 1.9, 7.0]), shape)
    assert segmenter.segment(Volume(scan(affine, shape)[..., None], "sagittal", affine=affine)).quality.plausible


def test_a_batch_lists_the_refused_case_and_goes_on(tmp_path: Path, phantom: Volume, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(chest_film(1)).save(tmp_path / "chest.png")
    Image.fromarray(phantom.voxels[5]).save(tmp_path / "head.png")
    inputs = [str(tmp_path / name) for name in ("chest.png", "head.png")]
    assert main(["segment", *inputs, "--output", str(tmp_path / "out")]) == 1
    said = capsys.readouterr()
    assert "chest: failed" in said.err and "--force" in said.err and "1 of 2 cases done" in said.out
    assert main(["segment", *inputs, "--output", str(tmp_path / "out"), "--force"]) == 0
    quality = json.loads((tmp_path / "out" / "chest" / "result.json").read_text())["quality"]
    assert not quality["plausible"] and quality["reasons"]


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_scikit_images_pictures_are_refused(mode: str) -> None:
    data = Path(pytest.importorskip("skimage").__file__).parent / "data"
    paths = [path for path in sorted(data.iterdir()) if path.suffix in (".png", ".jpg", ".gif")]
    passed = []
    for path in paths:
        with Image.open(path) as picture:
            if check(Volume.from_array(np.asarray(picture.convert(mode))).voxels).plausible:
                passed.append(path.name)
    assert len(paths) > 20
    assert set(passed) <= {"retina.jpg"}  # a bright disc on black, shaded as softly as some heads


def test_a_slice_is_checked_in_milliseconds(phantom: Volume) -> None:
    check(phantom.voxels[5:6])
    started = time.process_time()
    for z in range(12):
        check(phantom.voxels[z : z + 1])
    assert (time.process_time() - started) / 12 < 0.05  # 0.01 on an idle machine


def test_at_most_one_real_slice_in_a_hundred_is_refused_and_no_volume(lgg: Path) -> None:
    patients: dict[str, dict[str, np.ndarray]] = {}
    with tarfile.open(lgg / "slices-1.tar") as archive:
        for member in archive:
            if not member.isfile() or member.name.endswith("_mask.png"):
                continue
            content = archive.extractfile(member)
            assert content is not None
            path = Path(member.name)
            patients.setdefault(path.parent.name, {})[path.name] = np.asarray(Image.open(BytesIO(content.read())))
            if len(patients) > 4:  # the last one's slices are not all read
                break
    volumes = [[slices[name] for name in sorted(slices, key=natural_key)] for slices in list(patients.values())[:4]]
    refused = sum(not check(slice_[None]).plausible for volume in volumes for slice_ in volume)
    assert refused <= 0.01 * sum(map(len, volumes))
    assert all(check(np.stack(volume)).plausible for volume in volumes)


@pytest.mark.parametrize("levels", [6, 8, 16])
def test_sequences_of_few_grey_levels_are_no_map(phantom: Volume, levels: int) -> None:
    slices = np.stack([phantom.voxels[z, ..., 1] for z in (5, 6, 7)], axis=-1)
    coarse = (slices // (256 // levels) * (256 // levels)).astype(np.uint8)
    assert not any("as a map of grey values is" in reason for reason in check(coarse[None]).reasons)


@pytest.mark.parametrize("name", ["hot", "nipy_spectral", "rainbow", "viridis", "jet"])
def test_a_slice_in_the_colours_of_a_map_is_refused(phantom: Volume, name: str) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    grey = phantom.voxels[6, ..., 1]
    coloured = (matplotlib.colormaps[name](grey)[..., :3] * 255).astype(np.uint8)
    quality = check(coloured[None])
    assert any("as a map of grey values is" in reason for reason in quality.reasons)
    assert check(grey[None, ..., None]).plausible and check(phantom.voxels[6:7]).plausible
