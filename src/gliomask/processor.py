"""What this process may use of the processor, and what the processor can do."""

import math
import os
from importlib import import_module
from pathlib import Path

CGROUPS, OWN_CGROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")

CPUINFO = Path("/proc/cpuinfo")

DOT_PRODUCTS = ("AVX512VNNI", "AVX512_CLX", "AVX512_ICL", "ASIMDDP")
"""Instructions that add products of 8-bit numbers in 32 bits: of x86-64 and of 64-bit ARM, as NumPy names them, older ones by groups."""


def available_threads() -> int:
    """Return how many threads keep busy what this process may use: the processors it is bound to, within its control group's quota.

    A container or a batch system sets both below the machine's own number; threads beyond them only get in each other's way.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = _quotas(CGROUPS, OWN_CGROUPS)
    return max(1, min([bound, *(math.ceil(quota) for quota in quotas)]))


def _quotas(root: Path, own: Path) -> list[float]:
    """Return the limits in processors of the control groups (version 1 and 2) that this process is in, and of those above them."""
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:  # no Linux, no control groups
        return []
    quotas = []
    for _, controllers, path in (line.split(":", 2) for line in lines if line.count(":") >= 2):
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = root / controllers
        folder = top / path.lstrip("/")
        # In a container the path may be the host's and not be there, and then the top is the container's own group.
        for group in (folder, *folder.parents):
            quotas += _quota(group)
            if group == top:
                break
    return quotas


def _quota(group: Path) -> list[float]:
    """Return a control group's limit in processors; nothing where it sets none."""
    try:
        if (group / "cpu.max").is_file():
            quota, period = (group / "cpu.max").read_text(encoding="ascii").split()
        else:
            quota, period = ((group / f"cpu.cfs_{name}_us").read_text(encoding="ascii") for name in ("quota", "period"))
        return [float(quota) / float(period)] if quota != "max" and float(quota) > 0.0 else []
    except (OSError, ValueError, ZeroDivisionError):
        return []


def has_fast_int8() -> bool:
    """Return whether 8-bit convolutions are fast and exact here; False where it cannot be told.

    Older x86 processors add pairs of products in 16 bits, in which they overflow.
    """
    try:
        umath = import_module("numpy._core._multiarray_umath")  # NumPy asked the processor when it was imported
    except ImportError:
        return False
    features = getattr(umath, "__cpu_features__", {})
    return any(features.get(name, False) for name in DOT_PRODUCTS) or _has_avx_vnni()


def _has_avx_vnni() -> bool:
    """Return whether Linux tells of the dot product of processors without AVX-512, which NumPy does not know."""
    try:
        return "avx_vnni" in CPUINFO.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError):
        return False
