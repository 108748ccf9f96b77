"""Measure the quality check: how many real slices it refuses, and what it lets through. With ``--fit``, fit it anew before.

    uv run --with scikit-learn --with scikit-image --with nilearn --with-editable '.[dicom]' python docs/quality_check.py kaggle_3m/ brains/

``brains/`` is what ``docs/brain_masks.py`` makes.

Prints rates and within what real slices lie of the bounds in ``src/gliomask/quality.py``; ``--fit`` alone
writes ``src/gliomask/quality.json``. Fitted on the patients of folds 1 to 4, with
limits chosen by leaving each of these folds out in turn; the rates are those of fold 0, which nothing
was fitted to; how often pictures count and how strict to be was settled by hand with these rates in
view. What is not FLAIR is made of the same patients (their T1, reformats, CT drawn on their heads), of
what image packages ship, a fifth of it for measuring, and of drawings.
"""

import argparse
import json
import sys
import warnings
import zlib
from collections.abc import Callable
from functools import partial
from multiprocessing import Pool
from pathlib import Path

import nibabel
import nilearn
import numpy as np
import skimage
from look_alikes import DRAWINGS, Plane, altered, as_ct, head_depth, moved, reformats, without_skull
from PIL import Image
from scipy.ndimage import find_objects
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

import gliomask
from gliomask import draw_phantom
from gliomask.appearance import appearance
from gliomask.dataset import index_dataset, read_split
from gliomask.dataset.index import Patient
from gliomask.preprocess import place_padding
from gliomask.quality import BOUNDS, FEW, KINDS, MOST_SLICES, check, judged

Row = tuple[str, str, str, str, float, dict[str, float]]  # kind, what, variant, group (a patient), height in the head, appearance

SHARE_ALTERED = 0.3  # of the slices, in which all variants are made
TEST_FOLD = "0"
# Shares of the real slices that are refused for looking like these, in folds left out of the fit: under a hundredth together.
REFUSED_IN_FITTING = {"t1": 0.003, "not_axial": 0.0025, "ct": 0.0005, "no_head": 0.003}
SLACK = 0.3  # by which a volume's limit lies below what the left-out folds ask for, which are few patients
# How often each picture counts in the fit, where there are few of them or they are hard to tell.
OFTEN = {"t1": 3, "not_axial": 3, "ct": 8, "no_head": 10, "drawn head": 5}
BARE = 4  # times as many of the slices without skull may be refused as T1
REFUSED_ALTERED = 0.01  # of the altered volumes in folds left out; of those as they are none
HIGHEST_LIMIT = -1.0  # nothing is refused unless it looks more like something else, and e times as much


def rows_of_patient(patient: Patient, brains: Path) -> list[Row]:
    """Return appearances of all that is made of one patient."""
    seed = zlib.crc32(patient.name.encode())
    rng, other_rng = np.random.default_rng(seed), np.random.default_rng((seed, 1))
    images, brain = patient.load()[0], patient.load_brain(brains)
    rows: list[Row] = []

    def add(kind: str, what: str, variant: str, plane: Plane, height: float) -> None:
        if plane.max() > plane.min() and (found := appearance(place_padding(plane))) is not None:
            rows.append((kind, what, variant, patient.name, height, found))

    sequences = [c for c in (0, 2) if not np.array_equal(images[..., c], images[..., 1])]
    for z, image in enumerate(images):
        height, flair = (z + 0.5) / len(images), image[..., 1].astype(np.float32)
        add("flair", "FLAIR", "as it is", image[..., 1], height)
        if flair.max() == 0 or rng.random() > SHARE_ALTERED:
            continue
        bare = without_skull(flair, flair, rng)
        add("flair", "FLAIR", "no skull", bare, height)
        add("flair", "FLAIR", "altered", altered(moved(flair, rng), rng), height)
        add("flair", "FLAIR", "no skull, altered", altered(moved(bare, rng), rng), height)
        add("flair", "FLAIR", "brain", flair * brain[z], height)
        add("flair", "FLAIR", "brain, altered", altered(moved(flair * brain[z], other_rng), other_rng), height)
        for c in sequences:
            what, t1 = ("T1", "", "T1 with contrast")[c], image[..., c].astype(np.float32)
            add("t1", what, "as it is", t1, height)
            bare = without_skull(t1, flair, rng)
            add("t1", what, "no skull", bare, height)
            add("t1", what, "brain", t1 * brain[z], height)
            add("t1", what, "altered", altered(moved(t1 if rng.random() < 0.5 else bare, rng), rng), height)
        if 0.3 < height < 0.8:
            add("ct", "CT, drawn", "as it is", as_ct(flair, image[..., 0].astype(np.float32), rng), height)
    reference = images[..., 1].astype(np.float32)
    for c in (1, *sequences):
        what = "sagittal or coronal " + ("FLAIR" if c == 1 else "T1")
        for plane, flair in reformats(images[..., c].astype(np.float32), reference, rng):
            add("not_axial", what, "as it is", plane, 0.5)
            bare = without_skull(plane, flair, rng)
            add("not_axial", what, "altered", altered(moved(plane if rng.random() < 0.5 else bare, rng), rng), 0.5)
        for plane, _ in reformats(images[..., c] * brain.astype(np.float32), reference, other_rng):
            add("not_axial", what, "brain", plane, 0.5)
    for what, draw in DRAWINGS.items():
        for _ in range(2):
            add("no_head", what, "drawn", draw(rng), 0.5)
    return rows


def samples() -> list[Path]:
    """Return the pictures that come with scikit-image."""
    return [path for path in sorted(Path(skimage.__file__).parent.glob("data/*")) if path.suffix in (".png", ".jpg", ".gif")]


def rows_of_packages() -> list[Row]:
    """Return appearances of scikit-image's pictures, of an average T1 and of drawn heads."""
    rng = np.random.default_rng(0)
    planes: list[tuple[str, str, str, str, Plane]] = []
    for path in samples():
        green = np.asarray(Image.open(path).convert("RGB"), np.float32)[..., 1]
        planes.append(("no_head", "scikit-image's samples", "as it is", path.name, green))
        planes += [("no_head", "scikit-image's samples", "altered", path.name, moved(green, rng, 180, (1.0, 1.6))) for _ in range(5)]
    folder = Path(nilearn.__file__).parent / "datasets" / "data"
    t1, grey, white = (
        np.asarray(nibabel.load(folder / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz").dataobj, np.float32)
        for name in ("t1", "gm", "wm")
    )
    fluid = np.clip(255 - grey - white, 0, None) * (t1 > 0)
    for axis in range(3):
        for number in range(30, t1.shape[axis] - 30, 4):
            flair = (100 * grey + rng.uniform(75, 92) * white + rng.uniform(20, 60) * fluid) / 255
            for kind, what, volume in (("t1", "MNI average T1", t1), ("flair", "FLAIR made of the MNI average", flair)):
                plane = np.pad(np.rot90(volume.take(number, axis)), 20)
                for variant, shown in (("as it is", plane), ("altered", altered(moved(plane, rng), rng))):
                    name = what if axis == 2 else f"sagittal or coronal, {what}"
                    planes.append((kind if axis == 2 else "not_axial", name, variant, f"MNI {number % 16}", shown))
    for seed in range(4):
        heads = [plane for plane in draw_phantom(seed=seed).voxels[..., 1].astype(np.float32)]
        for plane in heads:
            for variant, shown in (("as it is", plane), ("altered", altered(moved(plane, rng), rng))):
                planes.append(("flair", "drawn head", variant, f"phantom {seed}", shown))
    found = ((*about, 0.5, appearance(place_padding(plane))) for *about, plane in planes)
    return [row for row in found if row[-1] is not None]  # type: ignore[misc]


class Table:
    """Appearances as columns."""

    def __init__(self, rows: list[Row], split: dict[str, str]) -> None:
        self.names = tuple(rows[0][-1])
        self.kind, self.what, self.variant, self.group = (np.array([row[i] for row in rows]) for i in range(4))
        self.height = np.array([row[4] for row in rows])
        self.numbers = np.array([[row[-1][name] for name in self.names] for row in rows])
        # What is no patient's is spread over the folds by its name, so that it is measured on other pictures than fitted.
        self.fold = np.array([split.get(g, str(zlib.crc32(g.encode()) % 5)) for g in self.group])


def fit(table: Table, chosen: np.ndarray) -> dict[str, object]:
    """Return the network fitted to the chosen rows, as ``quality.json`` holds it."""
    kinds = np.array([KINDS.index(k) for k in table.kind])
    rows = np.flatnonzero(chosen)
    often = [
        OFTEN.get("drawn head" if what == "drawn head" else kind, 1) for kind, what in zip(table.kind[rows], table.what[rows], strict=True)
    ]
    rows = np.repeat(rows, often)
    numbers = table.numbers[rows]
    mean, scale = numbers.mean(axis=0), np.maximum(numbers.std(axis=0), 1e-3)
    network = MLPClassifier((48,), alpha=1.0, max_iter=60, batch_size=128, learning_rate_init=2e-3, random_state=0)
    with warnings.catch_warnings(), threadpool_limits(1):  # sums in another order end in another network
        warnings.simplefilter("ignore")  # it is stopped before it converges, on purpose
        network.fit(np.clip((numbers - mean) / scale, -4, 4), kinds[rows])
    layers = [
        {"weights": w.round(4).tolist(), "bias": b.round(4).tolist()} for w, b in zip(network.coefs_, network.intercepts_, strict=True)
    ]
    return {"names": table.names, "mean": mean.round(5).tolist(), "scale": scale.round(5).tolist(), "layers": layers}


def log_probabilities(table: Table, content: dict[str, object]) -> np.ndarray:
    """Return those of every row."""
    from gliomask.quality import Judge

    layers = tuple((np.array(layer["weights"]), np.array(layer["bias"])) for layer in content["layers"])  # type: ignore[attr-defined]
    judge = Judge(table.names, np.array(content["mean"]), np.array(content["scale"]), layers, np.empty(0), np.empty(0))
    return judge.log_probabilities(table.numbers)


def margins(evidence: np.ndarray) -> np.ndarray:
    """Return by how much FLAIR is likelier than each other kind, ``(n, kinds - 1)``."""
    return evidence[:, :1] - evidence[:, 1:]


def volumes(table: Table, rows: np.ndarray) -> list[np.ndarray]:
    """Return the numbers of the middle slices' rows of each patient who has enough of them."""
    middle = rows & (table.height > 0.25) & (table.height < 0.75)
    groups = [np.flatnonzero(middle & (table.group == g))[:MOST_SLICES] for g in np.unique(table.group[middle])]
    return [g for g in groups if len(g) >= FEW]


def volume_margins(table: Table, evidence: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the margins of patients' volumes over their middle slices, a row for each."""
    found = [evidence[g].mean(axis=0) for g in volumes(table, rows)]
    return margins(np.array(found)) if found else np.empty((0, len(KINDS) - 1))


def limits(table: Table) -> dict[str, list[float]]:
    """Return the limits for slices and volumes, from each fold but the measured one left out in turn."""
    evidence = np.full((len(table.kind), len(KINDS)), np.nan)
    for fold in sorted(set(table.fold) - {TEST_FOLD}):
        content = fit(table, (table.fold != fold) & (table.fold != TEST_FOLD))
        rows = table.fold == fold
        evidence[rows] = log_probabilities(table, content)[rows]
    real = (table.what == "FLAIR") & (table.fold != TEST_FOLD)
    whole, bare = (margins(evidence[real & (table.variant == v)]) for v in ("as it is", "no skull"))
    whole_volumes = {str(v): volume_margins(table, evidence, real & (table.variant == v)) for v in np.unique(table.variant[real])}
    altered_volumes = np.concatenate([m for v, m in whole_volumes.items() if v != "as it is"])
    found = {
        "slice_limits": [np.quantile(m, REFUSED_IN_FITTING[k]) for k, m in zip(KINDS[1:], whole.T, strict=True)],
        "volume_limits": np.minimum(whole_volumes["as it is"].min(axis=0), np.quantile(altered_volumes, REFUSED_ALTERED, axis=0)) - SLACK,
    }
    # A brain without its rim of scalp looks more like T1.
    found["slice_limits"][0] = min(found["slice_limits"][0], np.quantile(bare[:, 0], BARE * REFUSED_IN_FITTING["t1"]))
    return {name: [round(min(float(limit), HIGHEST_LIMIT), 3) for limit in values] for name, values in found.items()}


def refused_of(table: Table, cases: list[np.ndarray]) -> int:
    """Return how many cases, each the numbers of its slices' rows, are refused."""
    return sum(not judged([dict(zip(table.names, table.numbers[row], strict=True)) for row in case]).plausible for case in cases)


def print_rates(table: Table, chosen: np.ndarray) -> None:
    """Print the share refused of single slices and of volumes among the chosen rows."""
    for what in sorted(set(table.what[chosen]), key=lambda w: (table.kind[table.what == w][0], w)):
        for variant in np.unique(table.variant[chosen & (table.what == what)]):
            rows = chosen & (table.what == what) & (table.variant == variant)
            slices = [np.array([row]) for row in np.flatnonzero(rows)]
            whole = volumes(table, rows) if what in ("FLAIR", "T1", "T1 with contrast") else []
            told = f"; volumes {refused_of(table, whole)} of {len(whole)}" if whole else ""
            refused = refused_of(table, slices)
            sys.stdout.write(f"{what}, {variant}: refused {refused} of {len(slices)} slices ({refused / len(slices):.1%}){told}\n")


def print_bounds(table: Table) -> None:
    """Print within what the bounded numbers lie in all patients' slices."""
    for bound in BOUNDS:
        allowed = f"{bound.name}, allowed {bound.least:g} to {bound.most:g}"
        for variant in np.unique(table.variant[table.what == "FLAIR"]):
            numbers = table.numbers[(table.what == "FLAIR") & (table.variant == variant), table.names.index(bound.name)]
            sys.stdout.write(f"{allowed}: FLAIR, {variant}: {numbers.min():.3f} to {numbers.max():.3f}\n")


def print_samples() -> None:
    """Print which of scikit-image's pictures pass as they are."""
    for mode in ("RGB", "L"):
        seen = {path.name: np.asarray(Image.open(path).convert(mode)) for path in samples()}
        passed = [name for name, image in seen.items() if check(image.reshape(1, *image.shape[:2], -1)).plausible]
        sys.stdout.write(f"scikit-image's samples as {mode}: {len(passed)} of {len(seen)} pass: {', '.join(passed)}\n")


def head_of(voxels: np.ndarray) -> np.ndarray:
    """Return where the head is in slices ``(z, y, x, c)``, bool ``(z, y, x)``."""
    return np.stack([head_depth(plane) > 0 if plane.max() > 0 else plane > 0 for plane in voxels[..., 1].astype(np.float32)])


def zero_mean(voxels: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Return voxels ``(z, y, x, c)`` scaled to zero mean within a region ``(z, y, x)``, with 0 around it."""
    inside = np.broadcast_to(region[..., None], voxels.shape)
    tissue = voxels[inside]
    return np.where(inside, (voxels - tissue.mean()) / tissue.std(), 0.0).astype(np.float32) if tissue.size else voxels.astype(np.float32)


def box_of(region: np.ndarray) -> tuple[slice, ...]:
    """Return the smallest box around a region ``(z, y, x)``."""
    (box,) = find_objects(region.astype(np.uint8))
    return box


FORMS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "three channels": lambda v, _: v,
    "FLAIR alone": lambda v, _: v[..., 1:2],
    "16 bit": lambda v, _: v.astype(np.uint16) * 200,
    "zero mean": lambda v, _: zero_mean(v, head_of(v)),
    "brain": lambda v, brain: v * brain[..., None],
    "brain, zero mean": zero_mean,
    "brain, framed": lambda v, brain: (v * brain[..., None])[box_of(brain)],
    "brain, zero mean, framed": lambda v, brain: zero_mean(v, brain)[box_of(brain)],
    "128 pixels": lambda v, _: v.reshape(len(v), 128, 2, 128, 2, 3).mean(axis=(2, 4)).astype(np.uint8),
    "1024 pixels": lambda v, _: v.repeat(4, axis=1).repeat(4, axis=2),
    "reversed, dark on white": lambda v, _: 255 - v,
    "T1 in FLAIR's place": lambda v, _: v[..., 0:1],
    "T1 with contrast in FLAIR's place": lambda v, _: v[..., 2:3],
}


def refusals(patient: Patient, brains: Path) -> dict[str, tuple[int, int, bool]]:
    """Return, as the program itself decides, refused slices, slices, and whether the volume is refused, for each form.

    Slices of the measured fold alone are judged one by one; black ones count.
    """
    images, brain = patient.load()[0], patient.load_brain(brains)
    single = read_split()[patient.name] == TEST_FOLD
    found = {}
    for name, form in FORMS.items():
        voxels = form(images, brain)
        if "place" in name and np.array_equal(voxels[..., 0], images[..., 1]):
            continue  # the sequence is missing, and FLAIR stands in for it
        slices = range(len(voxels)) if single else ()
        found[name] = (sum(not check(voxels[z : z + 1]).plausible for z in slices), len(slices), not check(voxels).plausible)
    return found


def print_refusals(patients: list[Patient], brains: Path) -> None:
    """Print how many slices of the measured fold, and how many volumes of it and of all patients, are refused."""
    split = read_split()
    with Pool() as pool:
        found_in_all = pool.imap(partial(refusals, brains=brains), patients)
        counted = list(zip([split[p.name] == TEST_FOLD for p in patients], found_in_all, strict=True))
    for form in FORMS:
        every = [found[form] for _, found in counted if form in found]
        measured = [found[form] for is_measured, found in counted if is_measured and form in found]
        refused, slices = sum(f[0] for f in measured), sum(f[1] for f in measured)
        volumes = f"volumes {sum(f[2] for f in measured)} of {len(measured)}, of all patients {sum(f[2] for f in every)} of {len(every)}"
        sys.stdout.write(f"as the program decides, {form}: slices {refused} of {slices} ({refused / slices:.1%}), {volumes}\n")


def main() -> None:
    """Make the pictures, fit and write if asked, and print."""
    parser = argparse.ArgumentParser(description="Measure the quality check.")
    parser.add_argument("data", type=Path, help="the LGG dataset")
    parser.add_argument("brains", type=Path, help="what docs/brain_masks.py makes")
    parser.add_argument("--fit", action="store_true", help="fit the network anew and write it into the package before")
    options = parser.parse_args()
    patients = index_dataset(options.data)
    with Pool() as pool:
        found = pool.imap(partial(rows_of_patient, brains=options.brains), patients)
        rows = [row for part in found for row in part] + rows_of_packages()
    table = Table(rows, read_split())
    if options.fit:
        content = fit(table, table.fold != TEST_FOLD) | limits(table)
        Path(gliomask.__file__).with_name("quality.json").write_text(json.dumps(content) + "\n", encoding="utf-8")
    sys.stdout.write("Fold that nothing was fitted to:\n")
    print_rates(table, table.fold == TEST_FOLD)
    sys.stdout.write("All patients:\n")
    print_rates(table, table.what == "FLAIR")
    print_bounds(table)
    print_samples()
    print_refusals(patients, options.brains)


if __name__ == "__main__":
    main()
