"""Text without what tells whose scan it is about."""

import re
from collections.abc import Iterable

ENDING = r"\.(?:png|jpe?g|tiff?|nii(?:\.gz)?|dcm|ima|zip)\b"
FILE_IN_BRACKETS = rf" ?\([^()]*{ENDING}\)"
ABSOLUTE_PATH = r"(?s)(?<!\w)\(?(?:[A-Za-z]:\\|\\\\|~?/)(?=\S)(?:.+(?=:\s[^/\\]*$)|.+)"
"""A path may hold spaces, commas and brackets, so all that follows goes with it, up to the last colon that ends it or to the end."""

IDENTIFIERS = "|".join(
    (
        "“[^”]*”",  # a file's name as notes quote it
        r"[^\s()'\",;]+[/\\][^\s()'\",;]+[/\\][^\s()'\",;]+",
        rf"[^\s()'\",;]+{ENDING}",
        r"\b\d+(?:\.\d+){4,}\b",  # a DICOM UID
    )
)
NOTE_WORDS = frozenset(
    """acquired adjusted affine as average axial brain bright case channel channels column columns confidence contrast converted copies
    coronal correction cover covered covers cropped damaged dark differ different distance dropped duplicate echo enhanced exif field file
    files first flair flat flip frame frames gantry gap gaps geometry grey grid head header image images inverted irregular its left
    lesion lie lower mask mean missing mm mosaic mri no normal not number of off one only order orientation oriented other over own page
    pages patient phase pixel pixels place plane post pre protocol qform reaches read reformatted removed resampled right rotated
    row rows sagittal same scan scans second sequence series sform shear sheared single skipped slice slices spacing stack study
    swapped t1 t1w t2 taken than the thick thickness thin tilt tilted time times transparency turned uneven unknown unsorted upright
    used view volume volumes voxel voxels with without""".split()  # noqa: SIM905 - a list of 130 quoted words reads worse
)
"""What notes say in their own words: a case of such a name is not told by it, so it stays there, other than in a file's name."""

LEFT_OUT = "[…]"


def without_identifiers(text: str, names: Iterable[str]) -> str:
    """Return the text without the names, those of a case and its slices, and without anything like a file name, a path or a UID.

    A short number or a single letter identifies nobody by itself, and stays.

    >>> without_identifiers("transparency ignored (Doe_3.png); Doe_3 is turned", ["Doe_3"])
    'transparency ignored; […] is turned'
    """
    text = re.sub(FILE_IN_BRACKETS, "", text, flags=re.IGNORECASE)
    text = re.sub(ABSOLUTE_PATH, LEFT_OUT, text)
    for name in sorted(_telling(names), key=len, reverse=True):
        endings = "+" if name.casefold() in NOTE_WORDS else "*"
        text = re.sub(rf"(?<!\w){re.escape(name)}(?:\.\w+){endings}(?!\w)", LEFT_OUT, text, flags=re.IGNORECASE)
    return re.sub(IDENTIFIERS, LEFT_OUT, text, flags=re.IGNORECASE).replace(f" ({LEFT_OUT})", "")


def _telling(names: Iterable[str]) -> set[str]:
    """Return the names that a text may not hold, with and without the ending of a file that is a part of them."""
    whole = set(names)
    found = whole | {re.sub(r"_(?:png|jpe?g|tiff?)$", "", name, flags=re.IGNORECASE) for name in whole}
    return {name for name in found if len(name) > (3 if name.isdecimal() else 1)}
