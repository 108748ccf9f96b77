"""nibabel, loaded without a package that it asks for and that nothing here needs of it."""

import sys


def load_nibabel() -> None:
    """Load nibabel without pydicom, which it would else load wherever that is installed, in half a second.

    nibabel only uses it to take apart DICOM headers that somebody put into a NIfTI header; without it they stay bytes.
    For a moment pydicom cannot be imported, so this is to be called before threads are started. Where either is loaded
    already, nothing is done.
    """
    if "pydicom" in sys.modules or "nibabel" in sys.modules:
        return
    sys.modules["pydicom"] = None  # type: ignore[assignment]  # so the import system is told that there is none
    try:
        import nibabel  # noqa: F401
    finally:
        del sys.modules["pydicom"]
