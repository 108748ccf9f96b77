"""What each verb of the command line does with its options; exit codes come back.

Each imports what it needs when it runs, so that ``--help`` waits for none of it.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TextIO

from gliomask.errors import EngineError, GliomaskError, InputError

OF_A_MODEL = (
    *("cross_validation", "fold", "split", "flair_alone", "single_slices", "brain_masks"),
    *("model", "threshold", "threads", "device", "precision", "engine"),
)
"""Options of an evaluation that say which model is run, and how."""

DONE, SOME_FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

FIRST_LINE_S = 60.0
"""When a training that is not on a terminal first tells how long it will take, by the seconds since its first step."""


def say(line: str) -> None:
    """Write a line to standard error."""
    _write(sys.stderr, line)


def _print(text: str) -> None:
    _write(sys.stdout, text)


def _write(stream: TextIO, text: str) -> None:
    """Write a line, with what a file's name may hold beyond the stream's encoding, or beyond Unicode, written out."""
    encoding = stream.encoding or "utf-8"
    stream.write(f"{text.encode(encoding, 'backslashreplace').decode(encoding)}\n")


def segment(options: argparse.Namespace) -> int:
    """Segment cases and write their results."""
    from gliomask.batch import Outcome, segment_cases
    from gliomask.io import find_cases, with_choices
    from gliomask.io.alone import load_nibabel
    from gliomask.io.naming import stem_of
    from gliomask.segmenter import Segmenter

    inputs = _without_repeats(options.inputs)
    load_nibabel()  # every result has a NIfTI file, and no case is worked on yet
    settings = {"threshold": options.threshold, "min_lesion_ml": options.min_lesion_ml, **_runtime(options)}
    wanted = {"overwrite": options.overwrite, "maps": options.maps}
    names = [stem_of(path) for path in inputs]
    outcomes: list[Outcome] = []
    try:
        cases = find_cases(inputs)
        names = [case.name for case in cases]
        cases = with_choices(cases, options.pre, options.post, options.series)
        segmenter = Segmenter(options.model, **settings, force=options.force, all_lesions=options.all_lesions)
        for outcome in segment_cases(cases, segmenter, options.output, **wanted, progress=_progress_bar(options.json)):
            outcomes.append(outcome)
            if not options.json:
                (_print if outcome.content else say)(outcome.sentence)
                for note in outcome.notes:
                    _print(f"  {note}")
    except (GliomaskError, OSError) as error:  # what keeps all cases from being worked on is each one's reason
        outcomes = outcomes or [Outcome(name, "failed", reason=str(error)) for name in names]
        raise
    finally:  # an interrupted run tells what it has done
        if options.json:
            _print(json.dumps([outcome.as_json() for outcome in outcomes], indent=2))
    failed = sum(outcome.content is None for outcome in outcomes)
    if not options.json:
        _print(f"{len(outcomes) - failed} of {len(outcomes)} cases done; table: {options.output / 'cases.csv'}")
    return SOME_FAILED if failed else DONE


def _without_repeats(inputs: Sequence[Path]) -> list[Path]:
    """Return the inputs without those that lead to the same place as one before, and say which."""
    first: dict[str, Path] = {}
    for path in inputs:
        place = os.path.realpath(path)
        if place in first:
            say(f"gliomask: {path}: the same input as {first[place]}; it is segmented once.")
        first.setdefault(place, path)
    return list(first.values())


def measure(options: argparse.Namespace) -> int:
    """Measure masks."""
    from gliomask.measure import measurements
    from gliomask.sizes import format_measurements

    outcomes: list[dict[str, Any]] = []
    for path in options.masks:
        outcome: dict[str, Any] = {"mask": str(path), "status": "done", "reason": "", "measurements": None}
        try:
            mask, affine, oriented = _read_mask(path)
            outcome["measurements"] = measurements(mask, affine, oriented=oriented)
        except (GliomaskError, OSError) as error:
            outcome |= {"status": "failed", "reason": str(error)}
            say(f"gliomask: {error}")
        else:
            if not options.json:
                _print(format_measurements(str(path), outcome["measurements"]))
        outcomes.append(outcome)
    if options.json:
        _print(json.dumps(outcomes, indent=2))
    return SOME_FAILED if any(outcome["status"] == "failed" for outcome in outcomes) else DONE


def _read_mask(path: Path) -> tuple[Any, Any, bool]:
    """Return a mask (z, y, x), its affine, None for an image file, and whether that tells the patient's directions."""
    from gliomask.io import read_mask
    from gliomask.io.headers import is_dicom
    from gliomask.io.naming import NIFTI_ENDINGS, OTHER_ENDINGS, map_values, stem_of

    if path.is_dir():
        raise InputError(f"{path}: a folder. Give the mask itself, such as <case>_mask.nii.gz in a case's folder of results.")
    if path.is_file() and (path.suffix.casefold() == ".dcm" or is_dicom(path)):
        case = path.stem.removesuffix("_seg") if path.stem.endswith("_seg") else "<case>"
        raise InputError(
            f"{path}: DICOM. Masks are read from NIfTI, PNG and TIFF: give {case}_mask.nii.gz beside it, which has the same voxels."
        )
    if values := map_values(path):  # where nothing was found it has as few of them as labels
        stem = stem_of(path)
        raise InputError(f"{path}: {values} by its name, not a mask. Give {stem.rpartition('_')[0]}_mask{path.name[len(stem) :]}.")
    if path.is_file() and path.name.casefold().endswith(OTHER_ENDINGS):
        raise InputError(f"{path}: in a format that is not read. Masks are NIfTI, PNG, JPEG or TIFF: convert it to NIfTI (.nii.gz).")
    if not path.name.casefold().endswith(NIFTI_ENDINGS):
        return read_mask(path), None, False
    from gliomask.io.nifti import is_oriented, read_nifti_mask

    return (*read_nifti_mask(path), is_oriented(path))


def report(options: argparse.Namespace) -> int:
    """Write a case's page."""
    from gliomask.report.page import write_report

    for file in write_report(options.case, options.output, pdf=options.pdf, with_identifiers=options.with_identifiers):
        _print(f"written: {file}")
    return DONE


def _progress_bar(quiet: bool) -> Any:
    from tqdm import tqdm

    def wrap(cases: Sequence[Any]) -> Any:
        return tqdm(cases, unit="case", disable=quiet or len(cases) < 2 or not sys.stderr.isatty())

    return wrap


def evaluate(options: argparse.Namespace) -> int:
    """Score a model or masks."""
    from gliomask.evaluation import format_table

    if options.output is not None:
        from gliomask.evaluation.files import check_output, write_evaluation

        check_output(options.output)
    evaluation = _evaluated(options)
    _print(json.dumps(evaluation.as_json(), indent=2) if options.json else format_table(evaluation))
    if options.output is not None:
        for file in write_evaluation(evaluation, options.output):
            (say if options.json else _print)(f"written: {file}")
    return DONE


def _evaluated(options: argparse.Namespace) -> Any:
    """Return the evaluation that the options ask for: of masks, of one model for each fold, or of one model."""
    from gliomask.evaluation import Protocol, cross_validate, evaluate_masks, evaluate_model
    from gliomask.segmenter import Segmenter

    if options.reference_masks is not None:
        if given := [name for name in OF_A_MODEL if getattr(options, name) != options.parser.get_default(name)]:
            flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            options.parser.error(f"with --reference-masks no model is run: leave out {flags}")
        return evaluate_masks(options.data, options.reference_masks, pictures=options.output is not None)
    protocol = Protocol(
        options.split, options.fold, options.flair_alone, options.single_slices, options.brain_masks, pictures=options.output is not None
    )
    progress = _progress_bar(options.json)
    if options.cross_validation is None:
        segmenter = Segmenter(options.model, threshold=options.threshold, **_runtime(options), force=True)
        return evaluate_model(options.data, segmenter, protocol, progress)
    if options.fold or options.model != options.parser.get_default("model"):
        options.parser.error("--cross-validation scores every fold with its own model: leave out --fold and --model")
    wanted = {"threshold": options.threshold, "runtime": _runtime(options), "progress": progress}
    with fold_runs(options.cross_validation) as runs:
        return cross_validate(options.data, runs, protocol, **wanted)


@contextmanager
def fold_runs(given: Path) -> Iterator[Path]:
    """Yield a folder with a model for each fold: the one given, or a temporary one of the members of the ensemble given.

    As for ``--model``, a bundled model's name goes before a folder of that name.
    """
    from gliomask.models import bundled_models, find_model

    if str(given) not in (bundled := bundled_models()):
        if given.is_dir():
            yield given
            return
        if not given.is_file():
            raise InputError(
                f"{given}: no such folder, file or bundled model ({', '.join(bundled)}). Give a folder with one model for each fold, as "
                "gliomask train writes them, or an ensemble of such models, by name or as .onnx."
            )
    model = find_model(given)
    try:
        from gliomask.training.members import unpack_members
    except ImportError as error:
        raise EngineError(f"{given}: taking an ensemble apart needs {error.name}. Install it: pip install 'gliomask[train]'.") from error
    with TemporaryDirectory(prefix=f"{model.path.stem}-members-") as folder:
        unpack_members(model, Path(folder))
        try:
            yield Path(folder)
        except InputError as error:
            raise InputError(str(error).replace(folder, str(given))) from error


def _runtime(options: argparse.Namespace) -> dict[str, Any]:
    """Return what a segmenter is told of the runtime."""
    return {name: getattr(options, name) for name in ("threads", "device", "precision", "engine")}


def calibrate(options: argparse.Namespace) -> int:
    """Fit calibration and expected Dice."""
    from gliomask.evaluation.calibrate import calibrate, format_calibrated, write_to_records
    from gliomask.evaluation.cross_validation import fold_models
    from gliomask.io.writing import check_can_be_folder
    from gliomask.models import read_record

    for path in options.write:  # before the long work, not after it
        read_record(path)
        check_can_be_folder(path.parent)
    with fold_runs(options.cross_validation) as runs:
        if options.write and any("members" in model.training for model in fold_models(runs).values()):
            raise InputError(
                f"{options.cross_validation}: its models are ensembles, whose members are calibrated one by one. Give a cross-validation "
                "of single networks, or leave out --write."
            )
        calibrated = calibrate(options.data, runs, options.split, options.threads, _progress_bar(options.json))
    _print(json.dumps(calibrated.as_json(), indent=2) if options.json else format_calibrated(calibrated))
    for record in write_to_records(calibrated, options.write):
        (say if options.json else _print)(f"written: {record.path.with_suffix('.json')}")
    return DONE


def split(options: argparse.Namespace) -> int:
    """Divide patients into folds."""
    from gliomask.dataset import SEALED, index_dataset, is_sealed, make_folds, write_split
    from gliomask.sizes import counted

    names = {patient.name for patient in index_dataset(options.data)}
    sealed = set(filter(is_sealed, names))
    usable = names - sealed
    if len(usable) < options.folds:
        aside = f" beside {len(sealed)} of the sealed test set" if sealed else ""
        raise InputError(f"{options.data}: {counted(len(usable), 'patient')}{aside} for {options.folds} folds. Give fewer --folds.")
    write_split(make_folds(usable, options.folds, options.seed) | dict.fromkeys(sealed, SEALED), options.output)
    aside = f", {len(sealed)} of the sealed test set aside" if sealed else ""
    _print(f"{counted(len(usable), 'patient')} in {counted(options.folds, 'fold')}{aside}: {options.output}")
    return DONE


def train(options: argparse.Namespace) -> int:
    """Train a model."""
    from gliomask.training.command import run_training  # Keras: seconds and a gigabyte

    with _training_progress() as (report, show):
        run_training(options, report, show)
    return DONE


@contextmanager
def _training_progress() -> Iterator[tuple[Callable[[str], None], Callable[[Any], None]]]:
    """Yield what prints a line of a training and what shows its pace.

    That is a bar on a terminal, and in a log a line once a minute has gone; after it the epochs' lines tell it.
    """
    from tqdm import tqdm

    told = False

    def report(line: str) -> None:
        bar.clear()
        _print(line)
        sys.stdout.flush()  # a log is looked at while it grows

    def draw(pace: Any) -> None:
        bar.set_description_str(str(pace), refresh=False)
        bar.update(pace.share - bar.n)

    def tell_once(pace: Any) -> None:
        nonlocal told
        if not told and pace.elapsed_s >= FIRST_LINE_S and pace.left_s > 0:
            told = True
            report(str(pace))

    in_a_log = not sys.stderr.isatty()
    # With a delay it is drawn at the first pace and not before: what is refused is refused without a bar.
    with tqdm(total=1.0, bar_format="{percentage:3.0f}%|{bar}| {desc}", miniters=0, delay=1e-9, leave=False, disable=in_a_log) as bar:
        yield report, tell_once if in_a_log else draw


def ensemble(options: argparse.Namespace) -> int:
    """Make one model of several."""
    try:
        from gliomask.training.ensemble import export_ensemble
    except ImportError as error:
        raise EngineError(f"an ensemble needs {error.name}. Install it: pip install 'gliomask[train]'.") from error
    record = export_ensemble(options.members, options.output, options.name)
    _print(f"written: {record.path} and its record, {record.path.stat().st_size / 1e6:.1f} MB, {len(options.members)} networks")
    return DONE


def quantise(options: argparse.Namespace) -> int:
    """Make a network in int8."""
    try:
        from gliomask.training.quantise import format_comparison, quantise
    except ImportError as error:
        raise EngineError(f"quantisation needs {error.name}. Install it: pip install 'gliomask[train]'.") from error
    record = quantise(options.model, options.data, _progress_bar(False))
    _print(format_comparison(record))
    if record.quantised is not None:
        _print(f"written: {record.folder / record.quantised.file} and {record.path.with_suffix('.json')}")
    return DONE


def app(options: argparse.Namespace) -> int:
    """Serve the web page."""
    import logging

    from gliomask.app import launch

    def announce(address: str) -> None:
        _print(f"The page is at {address} until you press Ctrl-C here.")
        sys.stdout.flush()

    logging.basicConfig(format="%(message)s")
    logging.getLogger("gliomask").setLevel(logging.INFO)
    return launch(options.host, options.port, browser=not options.no_browser, announce=announce)


def info(options: argparse.Namespace) -> int:
    """Tell versions, models and their checksums."""
    from gliomask.info import facts, format_facts

    found = facts()
    _print(json.dumps(found, indent=2) if options.json else format_facts(found))
    return DONE if all(model["checksum"] == "ok" for model in found["models"]) else SOME_FAILED
