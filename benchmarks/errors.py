"""Why something has no figure."""


class NotMeasuredError(Exception):
    """What is to be measured is not there; the message says what to install or to give."""


class BenchmarkError(Exception):
    """A contender failed; its figures would be of something else."""
