"""The errors a user can do something about, by what has to be done."""


class GliomaskError(Exception):
    """Base of every error that gliomask raises on purpose; its message is written for the user."""


class InputError(GliomaskError):
    """A file, its geometry or its content cannot be used: give another one."""


class ModelError(GliomaskError):
    """A model is missing, altered or not of a kind that can be run: choose or repair the model."""


class EngineError(GliomaskError):
    """The inference runtime or its optional package is not there: install or choose another."""
