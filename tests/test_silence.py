"""Silence is the whole process's: whoever is being read beside another stays silent, and afterwards all is as before."""

import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from gliomask import draw_phantom
from gliomask.io import write_png
from gliomask.io.silence import unwarned


def test_the_first_to_end_does_not_end_the_others_silence() -> None:
    pydicom = logging.getLogger("pydicom")
    before = (pydicom.level, list(warnings.filters))
    first, second = unwarned(), unwarned()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    warnings.warn("quotes a patient", stacklevel=1)
    assert not pydicom.isEnabledFor(logging.CRITICAL)
    second.__exit__(None, None, None)
    assert (pydicom.level, list(warnings.filters)) == before
    with pytest.raises(UserWarning, match="is heard again"):
        warnings.warn("is heard again", stacklevel=1)


def test_an_error_ends_the_silence() -> None:
    before = list(warnings.filters)
    with pytest.raises(ValueError, match="inside"), unwarned():
        raise ValueError("inside")
    assert list(warnings.filters) == before


def test_nothing_is_kept_of_a_run_beside_its_results(tmp_path: Path) -> None:
    """ONNX Runtime's telemetry would leave a device's identifier and a queue of events in the user's folders, and look its server up."""
    homes = {name: tmp_path / name.lower() for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")}
    for home in homes.values():
        home.mkdir()
    write_png(draw_phantom().voxels[6], tmp_path / "head.png")
    left = {**os.environ, **{name: str(home) for name, home in homes.items()}, "PYTHONDONTWRITEBYTECODE": "1"}
    left.pop("ORT_DISABLE_TELEMETRY", None)
    command = [sys.executable, "-m", "gliomask", "segment", str(tmp_path / "head.png"), "--output", str(tmp_path / "out")]
    assert subprocess.run(command, env=left, capture_output=True, check=False).returncode == 0
    assert [path for home in homes.values() for path in home.rglob("*")] == []
