"""The errors a user can do something about, by what has to be done."""

from collections.abc import Mapping


class GliomaskError(Exception):
    """Base of every error that gliomask raises on purpose; its message is written for the user."""


class InputError(GliomaskError):
    """A file, its geometry or its content cannot be used: give another one."""


class ImplausibleInputError(InputError):
    """What was given does not look like axial brain FLAIR: give such a slice or scan, or force the segmentation.

    Attributes
    ----------
    reasons
        Sentences on what was seen in it, as :class:`gliomask.Quality` has them.
    """

    def __init__(self, message: str, reasons: tuple[str, ...] = ()) -> None:
        """Keep the reasons beside the message that holds them."""
        super().__init__(message)
        self.reasons = reasons


class SeriesError(InputError):
    """No series of a DICOM study says that it is FLAIR, or the one taken cannot be read and others could be: name the one to take.

    Attributes
    ----------
    problem
        What is wrong, for those who see the series beside it.
    series
        What each is called, by its UID.
    """

    def __init__(self, message: str, problem: str, series: Mapping[str, str]) -> None:
        """Keep the series beside the message that lists them."""
        super().__init__(message)
        self.problem, self.series = problem, series


class ModelError(GliomaskError):
    """A model is missing, altered or not of a kind that can be run: choose or repair the model."""


class EngineError(GliomaskError):
    """The inference runtime or its optional package is not there: install or choose another."""
