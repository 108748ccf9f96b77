"""Whether what has a name can be reached: the words for links to nothing and for what the system keeps closed."""

from pathlib import Path

from gliomask.errors import InputError


def is_lost(path: Path) -> bool:
    """Return whether the path is a link to something that is not there."""
    return path.is_symlink() and not path.exists()


def lost(path: Path) -> str:
    """Return what is to be said of a link to something that is not there; empty for anything else."""
    if not is_lost(path):
        return ""
    return f"{path}: a link to {path.readlink()}, which is not there. Fetch it (git annex get, datalad get), or mend the link."


def no_folder(path: Path) -> str:
    """Return what is to be said of a path that is no folder where one is wanted."""
    return f"{path}: {'a file' if path.exists() else 'no such folder'}."


def closed(path: Path, error: OSError) -> InputError:
    """Return the error that tells why the system does not read a file or folder."""
    if isinstance(error, PermissionError):
        return InputError(f"{path}: may not be read ({error.strerror}). Give yourself the permission to, or leave it out.")
    return InputError(f"{path}: cannot be read ({error.strerror or error}). Mend what holds it, or leave it out.")


def check_opens(path: Path) -> None:
    """Raise the InputError that tells why a file is not there or may not be read, if so.

    Raises
    ------
    InputError
        There is no such file, it is a link to none, or the system does not let it be read.
    """
    if not path.is_file():
        raise InputError(lost(path) or f"{path}: no such file.")
    try:
        path.open("rb").close()
    except OSError as error:
        raise closed(path, error) from error
