"""Patient-level splits: a committed table of patient and fold, and how it was made.

Slices of one patient resemble each other so much that a split by slice scores memory. The one
split by slice here, :func:`divide_slices`, is for comparison with figures that were got that way.
"""

import csv
import io
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np

from gliomask.dataset.index import Patient, identity, institution
from gliomask.errors import InputError
from gliomask.io import write_text
from gliomask.io.writing import blaming_output
from gliomask.sizes import counted

SEALED = "test"
"""The fold of the patients that nothing may be trained on or tuned to."""

EXPECTED = "Expected a CSV in UTF-8 with the columns patient,fold, separated by commas."

SHOWN_CHARACTERS, SHOWN_PATIENTS = 60, 5
"""What a message shows of a line and of a list."""


def make_folds(patients: Iterable[str], folds: int = 5, seed: int = 0) -> dict[str, str]:
    """Return patient name to fold ``"0".."folds-1"``, each institution spread evenly over the folds.

    Patients are shuffled within their institution and dealt out like cards, the deal going on from
    one institution to the next, so that fold sizes differ by one at the most. Names that tell of none
    are dealt as those of one institution.
    """
    by_institution: dict[str, list[str]] = {}
    for name in sorted(patients):
        by_institution.setdefault(institution(name) or "", []).append(name)
    rng = np.random.default_rng(seed)
    dealt = [str(name) for _, names in sorted(by_institution.items()) for name in rng.permutation(names)]
    return {name: str(position % folds) for position, name in enumerate(dealt)}


def read_split(path: Path | None = None) -> dict[str, str]:
    """Return patient name to fold from a CSV of ``patient,fold``; without a path, the project's own.

    Raises
    ------
    InputError
        The file cannot be read, has other columns, or a line without a patient or a fold, or a patient in two folds.
    """
    source = resources.files("gliomask.dataset").joinpath("lgg_folds.csv") if path is None else path
    try:
        text = source.read_text(encoding="utf-8-sig")  # spreadsheets put a mark before UTF-8
    except UnicodeDecodeError as error:
        raise InputError(f"{source}: not a split file, since byte {error.start} is no UTF-8. {EXPECTED}") from error
    except OSError as error:
        raise InputError(f"{source}: cannot be read ({error.strerror or error}). {EXPECTED}") from error
    rows = csv.DictReader(text.splitlines(), skipinitialspace=True)
    if not {"patient", "fold"} <= set(rows.fieldnames or ()):
        first = text.partition("\n")[0].strip()
        found = f"its first line is '{first[:SHOWN_CHARACTERS]}'" if first else "it is empty"
        raise InputError(f"{source}: not a split file, since {found}. {EXPECTED}")
    cells = [((row["patient"] or "").strip(), (row["fold"] or "").strip()) for row in rows]
    lines = [(patient, fold) for patient, fold in cells if patient or fold]  # spreadsheets leave rows of empty cells
    if lacking := [f"{patient},{fold}" for patient, fold in lines if not patient or not fold]:
        raise InputError(f"{source}: the line '{lacking[0]}' lacks its patient or its fold. Give every patient one fold.")
    split = dict(lines)
    if twice := [patient for patient, fold in lines if split[patient] != fold]:
        raise InputError(f"{source}: {twice[0]} stands in two folds. Give every patient one fold.")
    return split


def write_split(split: dict[str, str], path: Path) -> None:
    """Write the split as CSV, sorted by patient.

    Raises
    ------
    InputError
        The file exists already, or cannot be written.
    """
    if path.exists():
        raise InputError(f"{path}: exists already. Remove it, or choose another --output.")
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([("patient", "fold"), *sorted(split.items())])
    with blaming_output(path):
        write_text(table.getvalue(), path)


def check_folds(patients: Iterable[str], split: Mapping[str, str]) -> None:
    """Make sure that the split has a fold for every patient.

    Raises
    ------
    InputError
        It has none for some.
    """
    if unknown := sorted(set(patients) - set(split)):
        named = ", ".join(unknown[:SHOWN_PATIENTS]) + (", …" if len(unknown) > SHOWN_PATIENTS else "")
        raise InputError(
            f"{counted(len(unknown), 'patient')} without a fold in the split: {named}. Make a new one (gliomask split DATA --output FILE), "
            "and give it with --split."
        )


@cache
def sealed_patients() -> frozenset[str]:
    """Return the names of the sealed test set's patients, which no training may see by accident."""
    return frozenset(name for name, fold in read_split().items() if fold == SEALED)


def is_sealed(patient: str) -> bool:
    """Return whether a patient is of the sealed test set, however the name of TCGA is written."""
    return identity(patient) in _sealed_identities()


@cache
def _sealed_identities() -> frozenset[str]:
    return frozenset(map(identity, sealed_patients()))


def divide(
    patients: Sequence[Patient], split: dict[str, str], held_out: str | None, allowed: Collection[str] = ()
) -> tuple[list[Patient], list[Patient]]:
    """Return ``(training, validation)`` patients, fold *held_out* being the validation; None holds nobody out.

    Patients of the fold ``"test"`` are left out of both, and so are all others of the sealed test
    set that *allowed* does not name, wherever the split puts them.

    Raises
    ------
    InputError
        A patient stands in no fold, *allowed* names a patient that is not there, or one of the two
        parts is empty.
    """
    check_folds((p.name for p in patients), split)
    usable = _usable(patients, {name for name, fold in split.items() if fold == SEALED}, allowed)
    training = [p for p in usable if split[p.name] != held_out]
    validation = [p for p in usable if split[p.name] == held_out]
    for part, name in ((training, "training"), (validation, "validation")):
        if not part and (part is training or held_out is not None):
            folds = ", ".join(sorted(set(split.values())))
            raise InputError(f"fold {held_out!r} leaves no {name} patients; the split has the folds {folds}.")
    return training, validation


def divide_slices(patients: Sequence[Patient], allowed: Collection[str] = ()) -> tuple[list[Patient], list[Patient]]:
    """Return ``(training, validation)``, a random fifth of all slices being the validation: leaky, nearly every patient is in both.

    This is how the project was split that this one started from. What is scored on it says how well
    a network remembers patients, and is good for comparison with figures on such splits alone.

    Raises
    ------
    InputError
        *allowed* names a patient that is not there, or no patients are left.
    """
    usable = _usable(patients, (), allowed)
    places = [(number, z) for number, patient in enumerate(usable) for z in range(len(patient.images))]
    count = round(len(places) / 5)
    if not 0 < count < len(places):
        raise InputError(f"{len(places)} slices cannot be divided; the patients of the sealed test set are left out unless named.")
    drawn = np.random.default_rng(0).permutation(len(places))
    parts = []
    for part in (drawn[count:], drawn[:count]):
        chosen: dict[int, list[int]] = {}
        for number, z in (places[i] for i in sorted(part)):
            chosen.setdefault(number, []).append(z)
        parts.append([_some_slices(usable[number], slices) for number, slices in chosen.items()])
    return parts[0], parts[1]


def _some_slices(patient: Patient, slices: Sequence[int]) -> Patient:
    return Patient(patient.name, tuple(patient.images[z] for z in slices), tuple(patient.masks[z] for z in slices))


def _usable(patients: Sequence[Patient], left_out: Collection[str], allowed: Collection[str]) -> list[Patient]:
    """Return the patients but for those left out and the sealed test set, of both of whom *allowed* names exceptions."""
    if missing := sorted(set(allowed) - {p.name for p in patients}):
        raise InputError(f"patients named but not in the dataset: {', '.join(missing)}.")
    return [p for p in patients if p.name in allowed or not (p.name in left_out or is_sealed(p.name))]
