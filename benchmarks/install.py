"""Megabytes on disk of a fresh virtual environment with gliomask and each of its extras.

Needs uv, and the package index that uv is configured for.
"""

import argparse
import os
import shutil
import subprocess
import tempfile
from collections import Counter
from importlib.metadata import Distribution, distributions
from pathlib import Path

from benchmarks.errors import BenchmarkError, NotMeasuredError
from benchmarks.report import Column, Report, Table

NAME = "install"

REPOSITORY = Path(__file__).parents[1]

GOALS_MB = {"": 250.0, "app": 700.0}

WITHOUT = "none"

SMALL_MB = 0.5
"""Packages below this share one row."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen."""
    parser.add_argument(
        "--extras",
        nargs="+",
        default=[WITHOUT, "volumes", "dicom", "app"],
        help="extras, one environment each (default: none volumes dicom app)",
    )
    parser.add_argument("--python", default="3.11", help="Python of the environments (default: 3.11)")


def run(options: argparse.Namespace) -> Report:
    """Measure."""
    if shutil.which("uv") is None:
        raise NotMeasuredError("install uv, which makes the environments")
    sizes = {}
    for extra in [WITHOUT] if options.tiny else options.extras:
        extra = "" if extra == WITHOUT else extra
        with tempfile.TemporaryDirectory(prefix="gliomask-benchmark-") as name:
            packages = installed(Path(name) / "environment", extra, options.python)
            sizes[extra] = (sizes_mb(packages), on_disk_mb(packages))
    return Report(NAME, options.command, tables(sizes))


def installed(environment: Path, extra: str, python: str) -> Path:
    """Return the folder of packages of a new environment with gliomask and an extra, as pip would leave it.

    Raises
    ------
    BenchmarkError
        Something could not be installed.
    """
    what = f"{REPOSITORY}[{extra}]" if extra else str(REPOSITORY)
    # Like pip: files of its own, no links into a cache, and byte code made at once.
    like_pip = ["--link-mode", "copy", "--compile-bytecode"]
    clean = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    for command in (
        ["uv", "venv", "--quiet", "--python", python, os.fspath(environment)],
        ["uv", "pip", "install", "--quiet", "--python", os.fspath(environment), *like_pip, what],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=clean)
        if done.returncode:
            raise BenchmarkError(f"{' '.join(command[:3])}: {done.stderr.strip()[-400:]}")
    return next(environment.glob("[Ll]ib/**/site-packages"))


def sizes_mb(packages: Path) -> dict[str, float]:
    """Return the megabytes of each package in a folder of packages, byte code included, the largest first."""
    sizes: Counter[str] = Counter()
    for distribution in distributions(path=[os.fspath(packages)]):
        sizes[distribution.metadata["Name"].lower()] += sum(path.stat().st_size for path in _files(distribution))
    return {name: size / 1e6 for name, size in sizes.most_common()}


def on_disk_mb(folder: Path) -> float:
    """Return what all files below a folder take on the disk, whole blocks counted where the system tells them."""
    stats = [path.lstat() for path in folder.rglob("*") if not path.is_dir()]
    return sum(s.st_blocks * 512 if hasattr(s, "st_blocks") else s.st_size for s in stats) / 1e6


def tables(sizes: dict[str, tuple[dict[str, float], float]]) -> tuple[Table, ...]:
    """Return the table of environments, and for the packages one row each with every environment as a column."""
    names = {extra: f"gliomask[{extra}]" if extra else "gliomask" for extra in sizes}
    environments = tuple(
        {
            "what": names[extra],
            "packages": len(packages),
            "files_mb": sum(packages.values()),
            "disk_mb": disk,
            "goal_mb": GOALS_MB.get(extra),
        }
        for extra, (packages, disk) in sizes.items()
    )
    every = {name: max(packages.get(name, 0.0) for packages, _ in sizes.values()) for packages, _ in sizes.values() for name in packages}
    large = sorted((name for name, size in every.items() if size >= SMALL_MB), key=lambda name: -every[name])
    rows: list[dict[str, object]] = [
        {"package": name} | {names[e]: packages.get(name) for e, (packages, _) in sizes.items()} for name in large
    ]
    small: dict[str, object] = {
        names[e]: sum((size for name, size in packages.items() if name not in large), 0.0) for e, (packages, _) in sizes.items()
    }
    rows.append({"package": f"{len(every) - len(large)} packages under {SMALL_MB} MB together"} | small)
    columns = (
        Column("what", "installed"),
        Column("packages", "packages"),
        Column("files_mb", "files, MB", ".1f"),
        Column("disk_mb", "on disk, MB", ".1f"),
        Column("goal_mb", "goal, MB", ".0f"),
    )
    per_package = (Column("package", "package"), *(Column(name, f"{name}, MB", ".1f") for name in names.values()))
    return (
        Table("A fresh environment's packages (its interpreter aside)", columns, environments),
        Table("Package by package", per_package, tuple(rows)),
    )


def _files(distribution: Distribution) -> set[Path]:
    """Return the files of a package that are there, with the byte code that was made of them."""
    found = set()
    for entry in distribution.files or ():
        path = Path(str(distribution.locate_file(entry))).resolve()
        if path.is_file():
            found.add(path)
        if path.suffix == ".py":
            found.update((path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"))
    return found
