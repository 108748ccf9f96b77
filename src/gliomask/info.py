"""What is installed: versions, models, whether their checksums hold."""

import platform
from importlib import metadata
from typing import Any

from gliomask import __version__
from gliomask.errors import ModelError
from gliomask.models import DEFAULT, ModelRecord, bundled_models, verify
from gliomask.processor import available_threads

PACKAGES = (
    *("numpy", "pillow", "onnxruntime", "onnxruntime-gpu", "openvino"),
    *("scipy", "nibabel", "pydicom", "highdicom", "pylibjpeg", "streamlit", "matplotlib"),
    *("keras", "tensorflow-cpu", "tensorflow", "jax", "torch"),
)
"""What decides results and what can be read: engines, readers and writers, and what trains; some of them in no installation at once."""


def facts() -> dict[str, Any]:
    """Return versions, runtime and models as plain types; nothing heavy is imported for it."""
    return {
        "gliomask": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "threads": available_threads(),
        "packages": {name: _version(name) for name in PACKAGES},
        "models": [_model_facts(record) for record in bundled_models().values()],
    }


def format_facts(found: dict[str, Any]) -> str:
    """Return the facts as lines for a person."""
    lines = [f"gliomask {found['gliomask']}, Python {found['python']}, {found['platform']}", f"threads: {found['threads']}"]
    lines += [f"{name}: {version or 'not installed'}" for name, version in found["packages"].items()]
    for model in found["models"]:
        default = " (default)" if model["name"] == DEFAULT else ""
        lines += [
            f"model {model['name']}{default}: {model['file']}, {model['megabytes']} MB, checksum {model['checksum']}",
            f"  channels {', '.join(model['channels'])}; threshold {model['threshold']}; {model['licence']}",
        ]
    return "\n".join(lines)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _model_facts(record: ModelRecord) -> dict[str, Any]:
    try:
        verify(record)
        checksum = "ok"
    except ModelError as error:
        checksum = f"failed: {error}"
    return {
        "name": record.name,
        "file": record.file,
        "megabytes": round(record.path.stat().st_size / 1e6, 1) if record.path.exists() else None,
        "sha256": record.sha256,
        "checksum": checksum,
        "channels": list(record.channels),
        "threshold": record.threshold,
        "licence": record.licence,
    }
