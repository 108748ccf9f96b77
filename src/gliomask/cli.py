"""The command line: parse, call, show."""

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from gliomask.arguments import make_parser
from gliomask.commands import INTERRUPTED, SOME_FAILED, say, segment, train
from gliomask.errors import GliomaskError

GOES_ON = " What is finished is kept; the same command goes on from there."
"""What holds of the two commands that keep each case or the last checkpoint; the others begin anew."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 0 done, 1 some case failed or nothing could be done, 2 wrong usage."""
    options = make_parser().parse_args(arguments)
    try:
        with _ended_in_order():
            code: int = options.run(options)
    except BrokenPipeError:  # the reader of our output, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SOME_FAILED
    except (GliomaskError, OSError) as error:
        say(f"gliomask: {error}")
        return SOME_FAILED
    except KeyboardInterrupt:
        say(f"gliomask: interrupted.{GOES_ON if options.run in (segment, train) else ''}")
        return INTERRUPTED
    return code


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """Let SIGTERM, and a terminal that is closed, end the program as an exit does, so that what was unpacked of a patient's data goes."""
    if threading.current_thread() is not threading.main_thread():  # only there can signals be handled
        yield
        return

    def leave(number: int, frame: object) -> NoReturn:
        raise SystemExit(128 + number)

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]  # Windows has no second
    # What is ignored stays so, as nohup has the second.
    before = {number: handler for number in numbers if (handler := signal.getsignal(number)) != signal.SIG_IGN}
    for number in before:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)  # None: set by another language's code


def entry() -> NoReturn:
    """Run the command line and leave with its exit code: what the installed command calls."""
    raise SystemExit(main())
