"""The tests themselves: what it takes to run them."""

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]


def test_the_suite_starts_without_pytest_xdist() -> None:
    options = ("-p", "no:xdist", "--collect-only", "-q", "tests/test_volume.py")
    done = subprocess.run([sys.executable, "-m", "pytest", *options], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
