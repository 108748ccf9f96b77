"""Measurements of gliomask's speed, size and memory as commands: ``python -m benchmarks <name>``, from a clone."""
