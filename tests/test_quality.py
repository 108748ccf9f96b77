import numpy as np
import pytest

from gliomask import ImplausibleInputError, Segmenter, Volume
from gliomask.quality import check


def test_the_phantom_is_plausible(phantom: Volume) -> None:
    assert check(phantom.voxels).plausible


def test_a_refusal_names_the_file_what_was_seen_and_the_way_out(segmenter: Segmenter) -> None:
    white = Volume(np.full((1, 64, 64, 1), 255, np.uint8), "white")
    with pytest.raises(ImplausibleInputError, match=r"^white: .* one shade .* Expected axial FLAIR .*--force") as refused:
        segmenter.segment(white)
    assert refused.value.reasons == check(white.voxels).reasons


def test_what_is_forced_is_segmented_and_says_so(segmenter: Segmenter) -> None:
    result = segmenter.segment(np.full((64, 64), 255, np.uint8), force=True)
    assert not result.quality.plausible
    assert any("by force" in note for note in result.notes)
    assert set(result.quality.reasons) <= set(result.notes)
