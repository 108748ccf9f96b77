"""How much time measurements take."""

import argparse
from dataclasses import dataclass


@dataclass(frozen=True)
class Effort:
    """How often and how long everything is measured.

    Attributes
    ----------
    rounds
        How many turns each contender has.
    turn_s
        A turn repeats its call until it lasts about so long.
    pause_s
        Between two turns, as the threads of most runtimes spin for some milliseconds after their work.
    at_once
        Whether all contenders are loaded at the same time. It saves time; their loading times mean nothing then.
    """

    rounds: int = 7
    turn_s: float = 1.0
    pause_s: float = 0.2
    at_once: bool = False

    @classmethod
    def of(cls, options: argparse.Namespace) -> "Effort":
        """Return what the command line asks for."""
        if options.tiny:
            return cls(rounds=1, turn_s=0.0, pause_s=0.0, at_once=True)
        return cls(rounds=options.rounds)
