"""What the documents say has to be true of the repository."""

import argparse
import json
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import gliomask
from gliomask.arguments import make_parser
from gliomask.models import DEFAULT, bundled_models

ROOT = Path(__file__).parents[1]


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout: the repository's own files cannot be listed")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def commands(document: str) -> list[str]:
    """Return the lines of the document's code blocks that call gliomask."""
    blocks = re.findall(r"^```\n(.*?)^```", (ROOT / document).read_text(), re.DOTALL | re.MULTILINE)
    lines = (line.removeprefix("uv run ") for block in blocks for line in block.splitlines())
    return [line.split("#")[0].strip() for line in lines if line.startswith("gliomask ")]


VERBS: dict[str, argparse.ArgumentParser] = next(
    dict(action.choices) for action in make_parser()._actions if isinstance(action, argparse._SubParsersAction)
)

WITH_COMMANDS = ("README.md", "MODEL_CARD.md", "CONTRIBUTING.md", "docs/evaluation.md")


@pytest.mark.parametrize("line", sorted({line for document in WITH_COMMANDS for line in commands(document)}))
def test_commands_in_the_documents_exist(line: str) -> None:
    make_parser().parse_args(shlex.split(line)[1:])


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_examples_of_the_help_name_files_as_train_writes_them(verb: str) -> None:
    """A stranger goes from one help text to the next: what one writes by default, another takes."""
    example = str(VERBS[verb].epilog).removeprefix("example: ")
    assert example.startswith(f"gliomask {verb}")
    make_parser().parse_args(shlex.split(example)[1:])
    default = VERBS["train"].get_default("name")
    assert {Path(word).stem for word in example.split() if word.startswith("runs/") and Path(word).suffix} <= {default}


def test_every_key_of_a_result_is_explained(tmp_path: Path) -> None:
    result = gliomask.segment(gliomask.draw_phantom())
    result.save(tmp_path)
    content = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    lesion = content["measurements"]["lesions"][0]
    keys = {*content, *content["measurements"], *lesion, *content["quality"]}
    told = (ROOT / "docs" / "viewers.md").read_text(encoding="utf-8")
    assert not {key for key in keys if f"`{key}`" not in told}


@pytest.mark.parametrize("script", ["drawn_cohort", "figures"])
def test_a_script_that_is_asked_for_help_writes_nothing(tmp_path: Path, script: str) -> None:
    told = subprocess.run(
        [sys.executable, ROOT / "docs" / f"{script}.py", "--help"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert told.stdout.startswith("usage: ") and not list(tmp_path.iterdir())


def test_the_readme_has_its_two_commands() -> None:
    readme = (ROOT / "README.md").read_text()
    start = "pip install uv && uv run --no-project --with-requirements {} --with-editable . "
    assert start.format("requirements.txt") + "gliomask app\n" in readme
    assert start.format("requirements-dev.txt") + "pytest -n auto --dist loadfile\n" in readme


@pytest.mark.parametrize("name", ["README.md", "MODEL_CARD.md"])
def test_figures_are_those_of_the_bundled_model(name: str) -> None:
    figures = runpy.run_path(str(ROOT / "docs" / "figures.py"))
    text = (ROOT / name).read_text()
    assert figures["filled"](text, figures["sections"](bundled_models()[DEFAULT])) == text, "run python docs/figures.py"


def anchors(document: Path) -> set[str]:
    """Return what links to the document's headings end in, made as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-") for title in titles}


def test_links_between_documents_lead_somewhere() -> None:
    for path in (p for p in tracked_files() if p.suffix == ".md"):
        for link in re.findall(r"\]\((?!https?:)([^)]+)", path.read_text()):
            target, _, anchor = link.partition("#")
            leads_to = path.parent / target if target else path
            assert leads_to.exists(), f"{path.name}: {link}"
            assert not anchor or anchor in anchors(leads_to), f"{path.name}: {link}"


def test_the_architecture_has_a_place_for_every_module() -> None:
    told = (ROOT / "docs" / "architecture.md").read_text()
    source = ROOT / "src" / "gliomask"
    inside = [path for folder in (source, source / "app") for path in folder.iterdir() if not path.name.startswith("_")]
    names = {f"{path.name}/" if path.is_dir() else path.name for path in inside if path.is_dir() or path.suffix == ".py"}
    names = {"*_page.py" if name.endswith("_page.py") else name for name in names}
    assert not {name for name in names if f"`{name}`" not in told}


def test_no_picture_of_a_patient_and_no_large_file_is_committed() -> None:
    for path in tracked_files():
        assert path.stat().st_size < 40e6, path
        if path in {ROOT / f"src/gliomask/training/efficientnet_lite{size}.npz" for size in (0, 2)}:  # encoders' weights
            continue
        if path.suffix.lower() in {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".nii", ".dcm", ".npz", ".tar"}:
            assert ROOT / "docs" in path.parents, f"{path}: pictures are of the phantom and live in docs/"


def test_pins_are_hashed_and_carry_no_addresses() -> None:
    for name in ("requirements.txt", "requirements-dev.txt"):
        text = (ROOT / name).read_text()
        assert "://" not in text
        pinned = re.findall(r"^[a-z0-9][^=\n ]*==[^\n]*(?:\n    --hash=sha256:[0-9a-f]{64}[^\n]*)+", text, re.MULTILINE)
        assert len(pinned) == len(re.findall(r"^[a-z0-9]", text, re.MULTILINE)) > 30
