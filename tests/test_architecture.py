"""Holds the direction of imports: what stands lower never imports what stands higher."""

import ast
from pathlib import Path

import pytest

import gliomask

SOURCE = Path(gliomask.__file__).parent

LAYERS = (
    ("bounds", "components", "errors", "processor"),
    ("appearance", "confidence", "diameters", "edges", "grid", "metrics", "notice", "postprocess", "preprocess", "surfaces", "volume"),
    ("io", "measure", "models", "engine", "quality"),
    ("phantom", "segmentation", "segmenter", "sizes"),
    ("dataset", "report"),
    ("batch", "evaluation", "info"),
    ("training",),
    ("app", "arguments", "cli", "commands"),
)
"""From the bottom up; a module may import from its own layer and from those below."""

RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}


def modules() -> list[Path]:
    return sorted(p for p in SOURCE.rglob("*.py") if p.name not in ("__init__.py", "__main__.py") or p.parent != SOURCE)


def part(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_parts(tree: ast.Module) -> set[str]:
    """Return the parts of gliomask imported when the module is loaded (imports inside functions are on purpose)."""
    names = [n.module for n in tree.body if isinstance(n, ast.ImportFrom) and n.module]
    names += [a.name for n in tree.body if isinstance(n, ast.Import) for a in n.names]
    return {name.split(".")[1] for name in names if name.startswith("gliomask.")}


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_point_downwards(path: Path) -> None:
    above = {name for name in imported_parts(ast.parse(path.read_text())) if RANK[name] > RANK[part(path)]}
    assert not above


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(SOURCE)))
def test_only_training_imports_keras(path: Path) -> None:
    tree = ast.parse(path.read_text())
    found = {n.module.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module}
    found |= {a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    assert "tensorflow" not in found
    # The engine runs .keras files of others, and imports Keras when it is given one.
    assert "keras" not in found or part(path) == "training" or path.name == "engine.py"


def test_every_part_has_its_layer() -> None:
    assert {part(p) for p in modules()} == set(RANK)
