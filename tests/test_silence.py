"""Silence is the whole process's: whoever is being read beside another stays silent, and afterwards all is as before."""

import logging
import warnings

import pytest

from gliomask.io.silence import unwarned


def test_the_first_to_end_does_not_end_the_others_silence() -> None:
    pydicom = logging.getLogger("pydicom")
    before = (pydicom.level, list(warnings.filters))
    first, second = unwarned(), unwarned()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    warnings.warn("quotes a patient", stacklevel=1)
    assert not pydicom.isEnabledFor(logging.CRITICAL)
    second.__exit__(None, None, None)
    assert (pydicom.level, list(warnings.filters)) == before
    with pytest.raises(UserWarning, match="is heard again"):
        warnings.warn("is heard again", stacklevel=1)


def test_an_error_ends_the_silence() -> None:
    before = list(warnings.filters)
    with pytest.raises(ValueError, match="inside"), unwarned():
        raise ValueError("inside")
    assert list(warnings.filters) == before
