"""BIDS: the FLAIR images of a dataset, and results as a derivatives dataset (BIDS 1.10, "Imaging data types")."""

import json
import re
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gliomask.errors import InputError
from gliomask.io.access import closed, is_lost, lost
from gliomask.io.naming import is_named_post, is_nifti, natural_key, printable, stem_of
from gliomask.io.sources import CaseSource
from gliomask.io.writing import atomic_path, write_text

DESCRIPTION = "dataset_description.json"
BIDS_VERSION = "1.10.0"
IGNORE = ".bidsignore"
README = "README.md"
LABEL = "label-lesion"
GENERATOR = "gliomask"
DERIVATIVES: dict[str, tuple[str, Mapping[str, str]]] = {
    "mask": ("mask", {"Type": "Lesion"}),
    "probability": ("probseg", {}),
    "uncertainty": (
        "desc-uncertainty_probseg",
        {
            "Description": "Entropy of each voxel's calibrated probability, which is not one itself: 0 where the model is sure either "
            "way, 1 at even odds",
            "Units": "bits",
        },
    ),
}
"""What a result's mask and maps are called in a derivatives dataset, and what their sidecars say beside the source.

BIDS has no suffix for uncertainty. Of those that it allows to a segmentation ``probseg`` alone holds fractions, and ``desc-`` tells
derivatives of one suffix apart, so that such a name is valid and nobody who asks for the file without ``desc-`` gets this one. A
suffix of our own would have to be hidden from validators by ``.bidsignore``, and with it from every program that goes by names.
"""


def is_bids(root: Path) -> bool:
    """Return whether the folder is a BIDS dataset: a description beside folders of subjects."""
    return (root / DESCRIPTION).is_file() and any(p.is_dir() for p in root.glob("sub-*"))


def is_derivative(root: Path) -> bool:
    """Return whether a BIDS dataset says that it was derived from another; it is output, not input."""
    try:
        return _description(root).get("DatasetType") == "derivative"
    except InputError:
        return False


def bids_cases(root: Path) -> list[CaseSource]:
    """Return a case for every ``*_FLAIR.nii[.gz]`` of the dataset, its subject's and session's T1 with it.

    T1 with a ``ce-`` entity is post-contrast. Sessions, runs and acquisitions are cases of their
    own; derivatives and source data inside the dataset are passed over. A subject whose folder may
    not be looked into is a case with a problem.

    Raises
    ------
    InputError
        The dataset holds no FLAIR, or its description is damaged.
    """
    _description(root)  # which the derivatives take over: told now rather than when everything has been segmented
    cases = []
    for subject in sorted(root.glob("sub-*"), key=lambda p: natural_key(p.name)):
        try:
            cases.extend(_subject_cases(subject, root))
        except OSError as error:
            cases.append(CaseSource(printable(subject.name), subject, problem=lost(subject) or str(closed(subject, error))))
    if not cases:
        raise InputError(f"{root}: a BIDS dataset without FLAIR. Expected sub-*/[ses-*/]anat/*_FLAIR.nii or .nii.gz in it.")
    return cases


def _subject_cases(subject: Path, root: Path) -> list[CaseSource]:
    """Return the cases of a subject of the dataset."""
    if not (subject.is_dir() or is_lost(subject)):
        return []
    sessions = [p for p in subject.iterdir() if p.name.startswith("ses-")]
    folders = [folder for p in (subject, *sessions) if (folder := p / "anat").is_dir()]
    images = [p for folder in folders for p in folder.iterdir() if is_nifti(p) and stem_of(p).endswith("_FLAIR")]
    gone = [p for p in (*sessions, *(p / "anat" for p in (subject, *sessions))) if is_lost(p)]
    return [CaseSource(printable(subject.name), p, problem=lost(p)) for p in gone] + [
        CaseSource(
            printable(stem_of(path)),
            path,
            (path,),
            problem=lost(path),
            kind="nifti",
            sequences=_t1_beside(path),
            found=True,
            bids=(path.relative_to(root), root),
        )
        for path in sorted(images, key=lambda p: natural_key(str(p)))
    ]


def check_output(cases: Sequence[CaseSource], output: Path) -> None:
    """Raise the InputError that tells why the cases' derivatives cannot go into *output*: each dataset needs one of its own.

    Raises
    ------
    InputError
        The cases are of several datasets, *output* is the dataset or lies in one of its subjects, or it
        holds a dataset that gliomask did not make or the derivatives of another.
    """
    places = sorted({_place(case) for case in cases if case.bids is not None})
    if len(places) > 1:
        raise InputError(
            f"{places[0]} and {places[1]}: two BIDS datasets, whose results would mix in {output}. Give each an --output of its own."
        )
    if not places:
        return
    here = output.resolve()
    if here == places[0] or any(folder.name.startswith("sub-") and folder.parent == places[0] for folder in (here, *here.parents)):
        raise InputError(
            f"{output}: in the BIDS dataset itself, whose images the masks would mix with. "
            f"Choose another --output, such as {places[0] / 'derivatives' / 'gliomask'}."
        )
    if not (output / DESCRIPTION).exists():
        return
    description = _description(output)
    if not _by_gliomask(description):
        raise InputError(
            f"{output / DESCRIPTION}: GeneratedBy does not name gliomask; the dataset is somebody else's. Choose another --output."
        )
    links = description.get("DatasetLinks")
    earlier, ours = links.get("raw") if isinstance(links, dict) else None, _relative(places[0], output)
    if earlier not in (None, ours):
        raise InputError(f"{output}: holds the derivatives of another BIDS dataset ({earlier}, not {ours}). Choose another --output.")


def write_derivative(case: CaseSource, results: Path, output: Path, version: str) -> None:
    """Add to the derivatives dataset in *output* what it lacks of a finished case: mask, maps if there are any, and sidecars.

    What is there stays, since a person may have corrected it.

    Parameters
    ----------
    results
        The case's folder of results, from which the images are copied.
    """
    if case.bids is None:
        return
    image, root = case.bids
    _describe(root, _place(case), output, version)
    for derivative in _derivatives(case, output):
        if not (results / derivative.name).is_file():
            continue
        if not derivative.image.exists():
            with atomic_path(derivative.image) as temporary:
                shutil.copyfile(results / derivative.name, temporary)
        if not derivative.sidecar.exists():
            facts = {"Sources": [f"bids:raw:{image.as_posix()}"], "SpatialReference": "orig", **derivative.facts}
            write_text(json.dumps(facts, indent=2) + "\n", derivative.sidecar)


def make_room(case: CaseSource, output: Path, earlier: Collection[str]) -> None:
    """Remove a case's derivatives before its result is replaced.

    Parameters
    ----------
    earlier
        The files of the result that is to be replaced, whose copies may go.

    Raises
    ------
    InputError
        A file in the way is no copy of these; it is never replaced.
    """
    derivatives = list(_derivatives(case, output))
    if in_the_way := [file for d in derivatives if d.name not in earlier for file in d.files if file.exists()]:
        raise InputError(
            f"{in_the_way[0]}: is there already and belongs to no result that gliomask recorded. Move it away, or choose another --output."
        )
    for derivative in derivatives:  # whatever is there is a copy
        for file in derivative.files:
            file.unlink(missing_ok=True)


@dataclass(frozen=True)
class _Derivative:
    """What a case may have in the derivatives dataset.

    Attributes
    ----------
    name
        The image's name among the case's results.
    image, sidecar
        Where it and its sidecar go.
    facts
        What the sidecar says of images of its kind.
    """

    name: str
    image: Path
    sidecar: Path
    facts: Mapping[str, str]

    @property
    def files(self) -> tuple[Path, Path]:
        return self.image, self.sidecar


def _derivatives(case: CaseSource, output: Path) -> Iterator[_Derivative]:
    """Yield what a case may have in the derivatives dataset."""
    if case.bids is None:
        return
    image, _ = case.bids
    stem = output / image.parent / f"{stem_of(image).removesuffix('_FLAIR')}_space-orig_{LABEL}"
    for kind, (suffix, facts) in DERIVATIVES.items():
        yield _Derivative(f"{case.name}_{kind}.nii.gz", Path(f"{stem}_{suffix}.nii.gz"), Path(f"{stem}_{suffix}.json"), facts)


def _t1_beside(flair: Path) -> tuple[Path | None, Path | None]:
    """Return the first T1 without and with contrast in the FLAIR's folder: with it has the entity ``ce``, or is called so in another."""
    images = sorted((p for p in flair.parent.iterdir() if is_nifti(p) and stem_of(p).endswith("_T1w")), key=lambda p: natural_key(p.name))
    post = [p for p in images if "_ce-" in p.name or is_named_post(" ".join(re.findall(r"_(?:acq|desc)-([^_]+)", p.name)))]
    pre = [p for p in images if p not in post]
    return (pre[0] if pre else None), (post[0] if post else None)


def _place(case: CaseSource) -> Path:
    """Return the dataset of a case where the user has it, which for a zip is not where it was unpacked."""
    return case.path.parents[len(case.bids[0].parts) - 1].resolve() if case.bids else case.path


def _describe(root: Path, place: Path, output: Path, version: str) -> None:
    """Write what makes *output* a dataset, if it is not there yet; *root* is read, *place* is what it names."""
    if (output / DESCRIPTION).exists():
        return
    source = _description(root)
    origin: dict[str, Any] = {key: source[name] for key, name in (("DOI", "DatasetDOI"), ("Version", "DatasetVersion")) if name in source}
    relative = _relative(place, output)
    facts = {
        "Name": f"FLAIR abnormality in {source.get('Name', place.name)}, outlined by gliomask",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": GENERATOR, "Version": version, "Description": "U-Net for lower-grade glioma on FLAIR"}],
        "SourceDatasets": [{"URL": relative} | origin],
        "DatasetLinks": {"raw": relative},
    }
    texts = {
        DESCRIPTION: json.dumps(facts, indent=2) + "\n",
        IGNORE: "/cases\n/cases.csv\n",
        README: "# Lesion masks\n\nMasks of the FLAIR abnormality by gliomask. Research software, not a medical device.\n"
        "`cases/` holds the record, the overview picture and the measurements of every image.\n",
    }
    for name, text in texts.items():
        if not (output / name).exists():
            write_text(text, output / name)


def _description(root: Path) -> dict[str, Any]:
    try:
        content = json.loads((root / DESCRIPTION).read_text(encoding="utf-8-sig"))  # Windows' editors put a mark before it
    except (OSError, ValueError) as error:
        raise InputError(f"{root / DESCRIPTION}: not readable as JSON ({error}). Mend it.") from error
    return content if isinstance(content, dict) else {}


def _by_gliomask(description: dict[str, Any]) -> bool:
    generators = description.get("GeneratedBy")
    return isinstance(generators, list) and any(isinstance(g, dict) and g.get("Name") == GENERATOR for g in generators)


def _relative(root: Path, output: Path) -> str:
    """Return the dataset's place as seen from the output: no folder above the two is named."""
    here, there, up = output.resolve(), root.resolve(), Path()
    while not there.is_relative_to(here):
        here, up = here.parent, up / ".."
    return (up / there.relative_to(here)).as_posix()
