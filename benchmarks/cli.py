"""The benchmarks' command line."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from benchmarks import install, machine, memory, network, pipeline, scaling, startup, training
from benchmarks.errors import BenchmarkError, NotMeasuredError
from gliomask.processor import available_threads

BENCHMARKS: tuple[ModuleType, ...] = (network, pipeline, startup, memory, install, training, scaling)
"""Each has a NAME, ``add_arguments(parser)`` and ``run(options) -> Report``; its docstring is its help."""

EXAMPLES = {
    "network": "python -m benchmarks network --batches 1 8 --threads 2",
    "pipeline": "python -m benchmarks pipeline --dataset kaggle_3m/ --cases 20",
    "startup": "python -m benchmarks startup --rounds 10",
    "memory": "python -m benchmarks memory --output memory.json",
    "install": "python -m benchmarks install --extras app",
    "training": "python -m benchmarks training --recipes fast",
    "scaling": "python -m benchmarks scaling --plot docs/performance-scaling.svg",
}


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all benchmarks."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure gliomask on this machine. A table goes to standard output, ready for docs/performance.md.",
        epilog="Let nothing else run meanwhile. Everything that is compared is measured in one run, in turns.",
    )
    verbs = parser.add_subparsers(dest="benchmark", required=True, metavar="benchmark")
    for benchmark in BENCHMARKS:
        text = (benchmark.__doc__ or "").strip()
        epilog = f"example:\n  {EXAMPLES[benchmark.NAME]}"
        verb = verbs.add_parser(
            benchmark.NAME,
            help=text.partition("\n")[0],
            description=text,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        verb.add_argument("--rounds", type=_positive, default=7, metavar="N", help="turns that each contender has (default: 7)")
        verb.add_argument(
            "--threads", type=_positive, default=available_threads(), metavar="N", help="processor threads (default: all that may be used)"
        )
        verb.add_argument("--output", type=Path, metavar="FILE.json", help="write every figure and every turn as JSON too")
        verb.add_argument("--tiny", action="store_true", help="seconds of work, to see that it still runs; the figures mean nothing")
        benchmark.add_arguments(verb)
        verb.set_defaults(run=benchmark.run)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 0 done, 1 nothing could be measured, 2 wrong usage."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options = make_parser().parse_args(arguments)
    options.command = shlex.join(["python", "-m", "benchmarks", *arguments])
    found = machine.facts()  # before anything runs, so that the load is that of other work
    try:
        report = replace(options.run(options), facts=found)
    except (BenchmarkError, NotMeasuredError) as error:
        sys.stderr.write(f"benchmarks: {error}\n")
        return 1
    sys.stdout.write(f"{report.as_markdown()}\n")
    if options.output is not None:
        report.write(options.output)
    return 0


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected 1 or more")
    return number
