"""Outline lower-grade gliomas on brain MRI: the FLAIR abnormality, segmented with a U-Net.

>>> import gliomask
>>> result = gliomask.segment("slice.png")  # doctest: +SKIP
>>> result.save("results/slice")  # doctest: +SKIP
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gliomask.errors import EngineError, GliomaskError, ImplausibleInputError, InputError, ModelError
    from gliomask.io import read
    from gliomask.phantom import draw_phantom
    from gliomask.quality import Quality
    from gliomask.segmentation import Segmentation
    from gliomask.segmenter import Segmenter, segment
    from gliomask.volume import Volume

__version__ = "0.1.0"

# ONNX Runtime would send statistics to its makers from 1.32 on, and keep an identifier of the device for it (its Privacy.md).
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

_HOMES = {
    "EngineError": "errors",
    "GliomaskError": "errors",
    "ImplausibleInputError": "errors",
    "InputError": "errors",
    "ModelError": "errors",
    "Quality": "quality",
    "Segmentation": "segmentation",
    "Segmenter": "segmenter",
    "Volume": "volume",
    "draw_phantom": "phantom",
    "read": "io",
    "segment": "segmenter",
}

__all__ = [
    "EngineError",
    "GliomaskError",
    "ImplausibleInputError",
    "InputError",
    "ModelError",
    "Quality",
    "Segmentation",
    "Segmenter",
    "Volume",
    "draw_phantom",
    "read",
    "segment",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that ``gliomask --help`` waits for nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
