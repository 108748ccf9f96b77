"""Uploaded masks, predicted and reference, scored against each other; what a file was called never becomes a path."""

import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path, PurePosixPath

from gliomask.app.settings import MAX_FILES, MAX_PIXELS, MAX_SESSION_MB
from gliomask.app.uploads import Upload, clean_name, from_start, image_header
from gliomask.errors import InputError
from gliomask.evaluation import Evaluation
from gliomask.evaluation.mask_pictures import ScanOf, scan_among
from gliomask.evaluation.masks import MaskKey, draw_pairs, holds_nifti, pair_masks, score_pairs
from gliomask.io.archives import extracted
from gliomask.io.naming import MASK_SUFFIX, NO_MASK_SUFFIX, is_image, is_mask, is_nifti, is_zip, natural_key, numbered, stem_of

SHOWN = 5
"""Names that a message lists."""

NO_ROOM = "The computer that runs this page has no room left on its disk for these files. Score them with the command line."


@dataclass(frozen=True)
class Named:
    """A file: the folder in which its owner has it (empty where none is known), its name, where it lies, and the archive it came in."""

    folder: str
    name: str
    path: Path
    archive: str = ""

    @property
    def owners(self) -> Path:
        """What its owner calls it; no place here."""
        return Path(self.folder, self.name)


def evaluate_uploads(predicted: Sequence[Upload], reference: Sequence[Upload]) -> Evaluation:
    """Return the scores of uploaded masks against uploaded reference masks, as ``gliomask evaluate --reference-masks`` does.

    Images or NIfTI; what *reference* holds decides. Images that differ by a last number are a patient's slices, unless
    archives have them in several folders, or both sides several archives of the same names: these are the patients then. Scans that were
    uploaded with masks are shown under their outlines, if they are named as it says at
    :func:`~gliomask.evaluation.mask_pictures.scan_among`. Nothing of it all stays on the disk.

    Raises
    ------
    InputError
        There are no masks, too many or too large ones, reference masks have no counterpart, or a pair does not fit together.
    """
    with tempfile.TemporaryDirectory(prefix="gliomask-") as temporary:
        stored: dict[str, list[Named]] = {}
        try:
            for side, uploads in (("predicted", predicted), ("reference", reference)):
                folder = Path(temporary, side)
                folder.mkdir()
                stored[side] = _received(uploads, folder)
            return _evaluated(stored["predicted"], stored["reference"])
        except InputError as error:
            names = {str(file.path): str(file.owners) for files in stored.values() for file in files}
            raise InputError(_in_owners_words(str(error), names)) from error


def _evaluated(predicted: Sequence[Named], reference: Sequence[Named]) -> Evaluation:
    if not any(is_nifti(Path(file.name)) or is_image(Path(file.name)) for file in reference):
        raise InputError("Among the reference masks is no NIfTI file and no image.")
    images = not holds_nifti(Path("Reference masks"), [file.owners for file in reference])
    predicted, reference = _in_patients_folders(predicted, reference, nifti=not images)
    mine, theirs = (keyed(masks_among(files, nifti=not images), nifti=not images) for files in (predicted, reference))
    for side, masks in (("reference", theirs), ("predicted", mine)):
        if not masks:
            raise InputError(
                f"Among the {side} masks is no {'image' if images else 'NIfTI file'}. Give both sides as the same kind of file."
            )
    partners = pair_masks(mine, theirs)
    if missing := [str(file.owners) for key, file in theirs.items() if key not in partners]:
        more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        raise InputError(
            f"{len(missing)} reference mask{'s have' if len(missing) > 1 else ' has'} no predicted mask of the same name: "
            f"{', '.join(missing[:SHOWN])}{more}. Leaving out what was missed would flatter the scores, so give a mask for each."
        )
    pairs = {key: (mine[partners[key]].path, file.path) for key, file in theirs.items()}
    for pair in pairs.values():
        for path in pair:
            _check_size(path)
    scores, unit, turned = score_pairs(pairs, nifti=not images)
    pictures, notes = draw_pairs(pairs, scores, nifti=not images, scan_of=_scan_of(predicted, reference))
    called = {f"{f.path.parent.name}/{f.path.name}": str(f.owners) for f in (*predicted, *reference)}
    return Evaluation(
        "uploaded masks against uploaded reference masks",
        scores,
        unit=unit,
        pictures=pictures,
        ignored_masks=len(mine) - len(partners),
        notes=(*turned, *(_in_owners_words(note, called) for note in notes)),
    )


def _in_patients_folders(*sides: Sequence[Named], nifti: bool) -> list[list[Named]]:
    """Return the files of both sides in folders that tell patients apart: those in which they lie, else archives of the same names.

    One folder around all masks of a side says nothing: they are told apart by their own names.
    """
    masks = [masks_among(side, nifti=nifti) for side in sides]
    placed = [list(side) for side in sides]
    if all(len({mask.folder for mask in side} - {""}) <= 1 for side in masks):
        placed = [[replace(file, folder="") for file in side] for side in sides]
    archives = [{mask.archive for mask in side} for side in masks]
    if len(archives[0]) > 1 and all(names == archives[0] for names in archives):
        placed = [[replace(file, folder=file.folder or file.archive) for file in side] for side in placed]
    return placed


def _scan_of(*sides: Sequence[Named]) -> ScanOf:
    """Return what finds the scan that was uploaded on a mask's side, by the names that their owner has for them."""
    paths = [{file.owners: file.path for file in files} for files in sides]
    owners = {file.path: (file.owners, stored) for files, stored in zip(sides, paths, strict=True) for file in files}

    def find(mask: Path) -> Path | None:
        name, stored = owners[mask]
        scan = scan_among(name, (other for other in stored if other.parent == name.parent))
        if scan is None:
            return None
        _check_size(stored[scan])
        return stored[scan]

    return find


def masks_among(files: Iterable[Named], *, nifti: bool) -> list[Named]:
    """Return the files of a kind that are masks by their names; all of that kind where no name says so."""
    kind = [f for f in files if (is_nifti if nifti else is_image)(Path(f.name)) and not NO_MASK_SUFFIX.search(stem_of(Path(f.name)))]
    said = [f for f in kind if (MASK_SUFFIX.search(stem_of(Path(f.name))) if nifti else is_mask(Path(f.name)))]
    return said or kind


def keyed(files: Iterable[Named], *, nifti: bool) -> dict[MaskKey, Named]:
    """Return masks by their patient's folder and their own name, by which they are paired.

    Raises
    ------
    InputError
        Two have the same.
    """
    masks: dict[MaskKey, Named] = {}
    for file in sorted(files, key=lambda f: natural_key(f"{f.folder}/{f.name}")):
        stem = MASK_SUFFIX.sub("", stem_of(Path(file.name)))
        folder = file.folder or ("" if nifti else numbered(stem)[0] or "slices")
        if (folder, stem) in masks:
            other = masks[folder, stem]
            raise InputError(f"{file.owners} and {other.owners} are of the same name. Give one mask for each scan or slice.")
        masks[folder, stem] = file
    return masks


def _received(uploads: Sequence[Upload], folder: Path) -> list[Named]:
    """Store uploaded files, and what is in archives among them, under numbers.

    Raises
    ------
    InputError
        They are too many or too large together, or an archive cannot be unpacked, which is told by its owner's name.
    """
    room = MAX_SESSION_MB * 2**20
    files: list[Named] = []
    numbers = count()
    for upload in uploads:
        room -= upload.size
        _check_bounds(len(files) + 1, room)
        path = _place(folder, next(numbers), upload.name)
        name = clean_name(upload.name)
        try:
            with path.open("xb") as file:
                shutil.copyfileobj(from_start(upload), file)
        except OSError as error:  # such as a container's temporary file system, smaller than what is allowed here
            raise InputError(NO_ROOM) from error
        if is_zip(Path(upload.name)):
            try:
                inside = _unpacked(path, folder, numbers, room, stem_of(Path(name)))
            except InputError as error:
                raise InputError(_in_owners_words(str(error), {str(path): name})) from error
            room -= sum(file.path.stat().st_size for file in inside)
            files += inside
            _check_bounds(len(files), room)
        else:
            files.append(Named("", name, path))
    return files


def _check_bounds(files: int, room: int) -> None:
    """Raise if that many files are too many, or no room is left for the last of them."""
    if files > MAX_FILES or room < 0:
        raise InputError(f"At most {MAX_FILES:,} files of {MAX_SESSION_MB} MB in all are scored here. Use the command line for more.")


def _unpacked(archive: Path, folder: Path, numbers: Iterator[int], room: int, name: str) -> list[Named]:
    """Store the images and NIfTI files of an archive that its owner calls *name*.

    Raises
    ------
    InputError
        It is damaged, or says that it unpacks to more than there is room for; more than it says is never unpacked.
    """
    with suppress(zipfile.BadZipFile, OSError, ValueError, NotImplementedError), zipfile.ZipFile(archive) as opened:
        entries = opened.infolist()  # what is no zip is told by the reader below
        if len(entries) > MAX_FILES or sum(entry.file_size for entry in entries) > room:
            raise InputError(f"{archive}: unpacks to more than is scored here. Use the command line.")
    files: list[Named] = []
    with extracted(archive) as unpacked:
        for path in sorted(p for p in unpacked.rglob("*") if p.is_file()):
            if not (is_image(path) or is_nifti(path)):
                continue
            inside = path.parent.relative_to(unpacked)
            target = _place(folder, next(numbers), path.name)
            shutil.move(path, target)
            files.append(Named(clean_name(inside.name) if inside.name else "", clean_name(path.name), target, name))
    archive.unlink()
    return files


def _place(folder: Path, number: int, name: str) -> Path:
    """Return where a file is stored: readers go by its ending, and by nothing else of its name."""
    known = PurePosixPath(name).name.casefold()
    endings = (".nii.gz", ".nii", ".zip", ".png", ".jpg", ".jpeg", ".tif", ".tiff")
    return folder / f"mask-{number:05d}{next((ending for ending in endings if known.endswith(ending)), '')}"


def _check_size(path: Path) -> None:
    """Refuse a mask with more pixels than a case may have, before they are read."""
    if is_nifti(path):
        from gliomask.io.nifti import nifti_shape  # nibabel: half a second that image masks need not wait for

        try:
            shape = nifti_shape(path)
        except Exception:  # noqa: BLE001 - the reader says it in its own words
            return
    else:
        shape = image_header(path) or ()
    pixels = 1
    for size in shape:
        pixels *= int(size)
    if pixels > MAX_PIXELS:
        raise InputError(
            f"{path}: {pixels / 2**20:,.0f} million voxels; at most {MAX_PIXELS // 2**20} are scored here. Use the command line."
        )


def _in_owners_words(text: str, names: Mapping[str, str]) -> str:
    """Return a message with the owners' names in place of the stored ones."""
    for stored in sorted(names, key=len, reverse=True):
        text = text.replace(stored, names[stored])
    return text
