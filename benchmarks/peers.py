"""Which peers take part."""

import argparse

STUDENT, BUDA = "student", "buda"


def add_argument(parser: argparse.ArgumentParser) -> None:
    """Add the choice; both by default, although they take most of the time."""
    parser.add_argument("--peers", nargs="*", choices=(STUDENT, BUDA), default=[STUDENT, BUDA], help="whom to compare with (default: both)")
