"""Tables for pasting into a document, as the scripts here print them."""

from collections.abc import Sequence


def print_head(headings: Sequence[str]) -> None:
    """Print the first two lines of a table, after the empty line that Markdown has before one."""
    print(flush=True)  # noqa: T201
    print_row(headings)
    print_row(["---"] * len(headings))


def print_row(cells: Sequence[str]) -> None:
    """Print a line of a table at once, so that a long run shows how far it is."""
    print(f"| {' | '.join(cells)} |", flush=True)  # noqa: T201
