"""What tests share: synthetic slices made here, and the dataset where it is at hand."""

import errno
import io
import os
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gliomask import Segmenter, Volume, draw_phantom

REPOSITORY = Path(__file__).parents[1]

LONG = (
    *("test_app.py", "test_app_browser.py", "test_restore.py", "test_benchmarks.py", "test_report_page.py", "test_training.py"),
    *("test_training_command.py", "test_grid.py", "test_killed_training.py", "test_round_trip.py"),
)
"""Files with tests of many seconds, the longest first."""


def pytest_configure(config: pytest.Config) -> None:
    """Have pytest-xdist, where it is there, hand out files in the order below and not by their number of tests."""
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bring forward the files that take long: started last, one of them would keep one core busy and leave the others idle."""
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


@pytest.fixture(scope="session")
def phantom() -> Volume:
    return draw_phantom()


@pytest.fixture(scope="session")
def segmenter() -> Segmenter:
    return Segmenter()


@pytest.fixture(scope="session")
def write_slices(phantom: Volume) -> Callable[..., Path]:
    """Return a function that writes some of the phantom's slices into a folder as TIFF."""

    def write(folder: Path, slices: tuple[int, ...] = (5, 6), stem: str = "head", masks: bool = False) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for number, z in enumerate(slices, start=1):
            Image.fromarray(phantom.voxels[z]).save(folder / f"{stem}_{number}.tif")
            if masks:
                bright = (phantom.voxels[z, ..., 1] > 100).astype(np.uint8) * 255
                Image.fromarray(bright).save(folder / f"{stem}_{number}_mask.tif")
        return folder

    return write


@pytest.fixture
def forbid(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Return a function that closes a file or folder to everybody; its mode would leave it open to root."""
    closed: set[Path] = set()

    def guarded(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Path, *args: object, **options: object) -> object:
            if path in closed:
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return method(path, *args, **options)

        return call

    monkeypatch.setattr(Path, "open", guarded(Path.open))
    monkeypatch.setattr(Path, "iterdir", guarded(Path.iterdir))
    return closed.add


@pytest.fixture(scope="session")
def lgg() -> Path:
    """Return the folder with the dataset's archives: GLIOMASK_LGG, or shared/lgg beside the repository."""
    folder = Path(os.environ.get("GLIOMASK_LGG", REPOSITORY.parent / "shared" / "lgg"))
    if not (folder / "slices-1.tar").exists():
        pytest.skip(f"needs the LGG dataset's slice archives (slices-*.tar), not found in {folder}; set GLIOMASK_LGG")
    return folder


@pytest.fixture(scope="session")
def lgg_patients(lgg: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a dataset folder with two held-out patients (fold 0 of the committed split), unpacked from the archives."""
    from gliomask.dataset import read_split

    held_out = {name for name, fold in read_split().items() if fold == "0"}
    root = tmp_path_factory.mktemp("lgg")
    wanted: list[str] = []
    with tarfile.open(lgg / "slices-1.tar") as archive:
        for member in archive:
            path = Path(member.name)
            if path.parent.name not in held_out or not member.isfile():
                continue
            if path.parent.name not in wanted:
                if len(wanted) == 2:
                    continue
                wanted.append(path.parent.name)
            target = (root / path).with_suffix(".tif")
            target.parent.mkdir(parents=True, exist_ok=True)
            content = archive.extractfile(member)
            assert content is not None
            Image.open(io.BytesIO(content.read())).save(target)
    return root


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory, write_slices: Callable[..., Path]) -> Path:
    """Three patients of two slices each, to be read alone, with a split that holds the first out."""
    folder = tmp_path_factory.mktemp("dataset")
    for name in "abc":
        write_slices(folder / "data" / name, (5, 1), stem=name, masks=True)
    (folder / "split.csv").write_text("patient,fold\na,0\nb,1\nc,1\n")
    return folder / "data"


@pytest.fixture(scope="module")
def small_batches() -> Iterator[None]:
    """Every recipe of `gliomask train` takes steps of two slices of 64 x 64, for tests of what is around the steps."""
    from small_networks import with_small_batches

    from gliomask.training.recipes import RECIPES

    with pytest.MonkeyPatch.context() as patch:
        for name, recipe in RECIPES.items():
            patch.setitem(RECIPES, name, with_small_batches(recipe))
        yield


@pytest.fixture(scope="module")
def small_networks(small_batches: None) -> Iterator[None]:
    """And `fast` trains a network of two convolutions, for tests that can do without its own, most of whose time is compiling."""
    from small_networks import normalising

    from gliomask.training.recipes import RECIPES

    with pytest.MonkeyPatch.context() as patch:
        for name in ("fast", "fast-dice"):
            patch.setitem(RECIPES, name, replace(RECIPES[name], network=normalising))
        yield
