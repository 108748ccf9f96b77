"""``python -m benchmarks``."""

from benchmarks.cli import main

if __name__ == "__main__":  # workers of the benchmarks import this module too
    raise SystemExit(main())
