"""What is measured on: enough to compare figures by, and nothing that names the machine."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.errors import NotMeasuredError
from gliomask.processor import available_threads

INSTRUCTIONS = ("avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "i8mm", "bf16")
"""What decides which precision a processor is fast in."""

BFLOAT16 = frozenset({"avx512_bf16", "amx_bf16", "bf16"})

PACKAGES = (
    "gliomask", "numpy", "onnxruntime", "openvino", "keras", "tensorflow-cpu", "tensorflow", "torch", "streamlit", "pyperf",
)  # fmt: skip

BUSY = 0.3
"""A load from which other work takes part in what is measured."""


def facts() -> dict[str, Any]:
    """Return the processor, its instructions, the threads that may be used, memory, and versions."""
    text = _text("/proc/cpuinfo")
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    return {
        "processor": fields.get("model name") or platform.processor() or platform.machine(),
        "instructions": [name for name in INSTRUCTIONS if name in flags],
        "threads": available_threads(),
        "memory_gb": round(pages / 1e9, 1),
        "system": platform.system(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "versions": _versions(),
    }


def require_bfloat16() -> None:
    """Check that the processor calculates in bfloat16.

    Raises
    ------
    NotMeasuredError
        It does not. PyTorch emulates it then, so slowly (a product of 2048 x 2048 takes minutes) that there is nothing to compare.
    """
    if not BFLOAT16.intersection(facts()["instructions"]):
        raise NotMeasuredError("this processor has no bfloat16 instructions")


def sentences(found: dict[str, Any]) -> list[str]:
    """Return the facts as lines for a person, with a warning where other work was going on."""
    instructions = ", ".join(found["instructions"]) or "no vector instructions known"
    lines = [
        f"{found['processor']}, {found['threads']} threads, {instructions}; {found['memory_gb']:.0f} GB; {found['system']}, "
        f"Python {found['python']}, " + ", ".join(f"{name} {number}" for name, number in found["versions"].items()) + "."
    ]
    if found["load"] is not None and found["load"] > BUSY:
        lines.append(f"The machine had other work (load {found['load']} before the start): these times are not to be quoted.")
    return lines


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _text(path: str) -> str:
    return Path(path).read_text() if Path(path).exists() else ""
