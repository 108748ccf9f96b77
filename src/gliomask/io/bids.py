"""BIDS: the FLAIR images of a dataset, and results as a derivatives dataset (BIDS 1.10, "Imaging data types")."""

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gliomask.errors import InputError
from gliomask.io.naming import natural_key, printable, stem_of
from gliomask.io.sources import CaseSource
from gliomask.io.writing import atomic_path, write_text

DESCRIPTION = "dataset_description.json"
BIDS_VERSION = "1.10.0"
IGNORE = ".bidsignore"
README = "README.md"
LABEL = "label-lesion"


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
    own; derivatives and source data inside the dataset are passed over.

    Raises
    ------
    InputError
        The dataset holds no FLAIR.
    """
    images = [*root.glob("sub-*/anat/*_FLAIR.nii*"), *root.glob("sub-*/ses-*/anat/*_FLAIR.nii*")]
    cases = []
    for path in sorted(images, key=lambda p: natural_key(str(p))):
        if stem_of(path).endswith("_FLAIR"):
            cases.append(
                CaseSource(
                    printable(stem_of(path)),
                    path,
                    (path,),
                    kind="nifti",
                    sequences=_t1_beside(path),
                    found=True,
                    bids=(path.relative_to(root), root),
                )
            )
    if not cases:
        raise InputError(f"{root}: a BIDS dataset without FLAIR. Expected sub-*/[ses-*/]anat/*_FLAIR.nii or .nii.gz in it.")
    return cases


def check_output(cases: Sequence[CaseSource], output: Path) -> None:
    """Raise the InputError that tells why the cases' derivatives cannot share *output*: each dataset needs one of its own.

    Raises
    ------
    InputError
        The cases are of several datasets, or *output* holds the derivatives of another.
    """
    places = sorted({_place(case) for case in cases if case.bids is not None})
    if len(places) > 1:
        raise InputError(
            f"{places[0]} and {places[1]}: two BIDS datasets, whose results would mix in {output}. Give each an --output of its own."
        )
    if not places or not (output / DESCRIPTION).exists():
        return
    links = _description(output).get("DatasetLinks")
    earlier, ours = links.get("raw") if isinstance(links, dict) else None, _relative(places[0], output)
    if earlier not in (None, ours):
        raise InputError(f"{output}: holds the derivatives of another BIDS dataset ({earlier}, not {ours}). Choose another --output.")


def write_derivative(case: CaseSource, results: Path, output: Path, version: str) -> None:
    """Add a finished case to the derivatives dataset in *output*: mask, probabilities if there are any, and sidecars.

    Parameters
    ----------
    results
        The case's folder of results, from which the images are copied.
    """
    if case.bids is None:
        return
    image, root = case.bids
    _describe(root, _place(case), output, version)
    entities = stem_of(image).removesuffix("_FLAIR")
    for kind, suffix, facts in (("mask", "mask", {"Type": "Lesion"}), ("probability", "probseg", {})):
        source = results / f"{case.name}_{kind}.nii.gz"
        target = output / image.parent / f"{entities}_space-orig_{LABEL}_{suffix}.nii.gz"
        if not source.is_file():
            target.unlink(missing_ok=True)  # of an earlier run with other settings
            target.with_name(f"{stem_of(target)}.json").unlink(missing_ok=True)
            continue
        with atomic_path(target) as temporary:
            shutil.copyfile(source, temporary)
        sidecar = {"Sources": [f"bids:raw:{image.as_posix()}"], "SpatialReference": "orig"} | facts
        write_text(json.dumps(sidecar, indent=2) + "\n", target.with_name(f"{stem_of(target)}.json"))


def _t1_beside(flair: Path) -> tuple[Path | None, Path | None]:
    """Return the first T1 without and with contrast in the FLAIR's folder."""
    images = sorted((p for p in flair.parent.glob("*_T1w.nii*") if stem_of(p).endswith("_T1w")), key=lambda p: natural_key(p.name))
    post = [p for p in images if re.search(r"_ce-", p.name)]
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
        "GeneratedBy": [{"Name": "gliomask", "Version": version, "Description": "U-Net for lower-grade glioma on FLAIR"}],
        "SourceDatasets": [{"URL": relative} | origin],
        "DatasetLinks": {"raw": relative},
    }
    write_text(json.dumps(facts, indent=2) + "\n", output / DESCRIPTION)
    write_text("/cases\n/cases.csv\n", output / IGNORE)
    write_text(
        "# Lesion masks\n\nMasks of the FLAIR abnormality by gliomask. Research software, not a medical device.\n"
        "`cases/` holds the record, the overview picture and the measurements of every image.\n",
        output / README,
    )


def _description(root: Path) -> dict[str, Any]:
    try:
        content = json.loads((root / DESCRIPTION).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{root / DESCRIPTION}: not readable as JSON ({error}). Mend it.") from error
    return content if isinstance(content, dict) else {}


def _relative(root: Path, output: Path) -> str:
    """Return the dataset's place as seen from the output: no folder above the two is named."""
    here, there, up = output.resolve(), root.resolve(), Path()
    while not there.is_relative_to(here):
        here, up = here.parent, up / ".."
    return (up / there.relative_to(here)).as_posix()
