"""The command line: parse, call, show."""

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from gliomask import __version__
from gliomask.errors import EngineError, GliomaskError

DONE, SOME_FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

# Each command imports what it needs when it runs, so that --help waits for none of it.


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 0 done, 1 some case failed or nothing could be done, 2 wrong usage."""
    options = _parser().parse_args(arguments)
    try:
        with _ended_by_sigterm():
            code: int = options.run(options)
    except BrokenPipeError:  # the reader of our output, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SOME_FAILED
    except (GliomaskError, OSError) as error:
        _say(f"gliomask: {error}")
        return SOME_FAILED
    except KeyboardInterrupt:
        _say("gliomask: interrupted. What is finished is kept; the same command goes on from there.")
        return INTERRUPTED
    return code


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end the program as an exit does, so that what was unpacked of a patient's data goes away."""
    if threading.current_thread() is not threading.main_thread():  # only there can signals be handled
        yield
        return

    def leave(number: int, frame: object) -> NoReturn:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)  # None: set by another language's code


def entry() -> NoReturn:
    """Run the command line and leave with its exit code: what the installed command calls."""
    raise SystemExit(main())


def _say(line: str) -> None:
    sys.stderr.write(f"{_printable(line)}\n")


def _print(text: str) -> None:
    sys.stdout.write(f"{_printable(text)}\n")


def _printable(text: str) -> str:
    """Return the text with what a file's name may hold beyond Unicode written out."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _segment(options: argparse.Namespace) -> int:
    from gliomask.batch import Outcome, segment_cases
    from gliomask.io import find_cases, with_choices
    from gliomask.segmentation import Segmenter

    try:
        cases = with_choices(find_cases(options.inputs), options.pre, options.post, options.series)
    except (GliomaskError, OSError) as error:
        if options.json:  # a program that reads the output learns of it there
            _print(json.dumps([Outcome(path.stem, "failed", reason=str(error)).as_json() for path in options.inputs], indent=2))
        raise
    settings = {"threshold": options.threshold, "threads": options.threads, "min_lesion_ml": options.min_lesion_ml}
    segmenter = Segmenter(options.model, **settings, force=options.force, all_lesions=options.all_lesions)
    wanted = {"overwrite": options.overwrite, "save_probability": options.save_probability}
    outcomes = []
    try:
        for outcome in segment_cases(cases, segmenter, options.output, **wanted, progress=_progress_bar(options.json)):
            outcomes.append(outcome)
            if not options.json:
                (_print if outcome.content else _say)(outcome.sentence)
                for note in outcome.notes:
                    _print(f"  {note}")
    finally:  # an interrupted run tells what it has done
        if options.json:
            _print(json.dumps([outcome.as_json() for outcome in outcomes], indent=2))
    failed = sum(outcome.content is None for outcome in outcomes)
    if not options.json:
        _print(f"{len(outcomes) - failed} of {len(outcomes)} cases done; table: {options.output / 'cases.csv'}")
    return SOME_FAILED if failed else DONE


def _measure(options: argparse.Namespace) -> int:
    from gliomask.measure import format_measurements, measurements

    outcomes: list[dict[str, Any]] = []
    for path in options.masks:
        outcome: dict[str, Any] = {"mask": str(path), "status": "done", "reason": "", "measurements": None}
        try:
            outcome["measurements"] = measurements(*_read_mask(path))
        except (GliomaskError, OSError) as error:
            outcome |= {"status": "failed", "reason": str(error)}
            _say(f"gliomask: {error}")
        else:
            if not options.json:
                _print(format_measurements(str(path), outcome["measurements"]))
        outcomes.append(outcome)
    if options.json:
        _print(json.dumps(outcomes, indent=2))
    return SOME_FAILED if any(outcome["status"] == "failed" for outcome in outcomes) else DONE


def _read_mask(path: Path) -> tuple[Any, Any]:
    """Return a mask (z, y, x) and its affine, None for an image file."""
    from gliomask.errors import InputError
    from gliomask.io import read_mask
    from gliomask.io.headers import is_dicom

    if path.is_dir():
        raise InputError(f"{path}: a folder. Give the mask itself, such as <case>_mask.nii.gz in a case's folder of results.")
    if path.is_file() and (path.suffix.casefold() == ".dcm" or is_dicom(path)):
        case = path.stem.removesuffix("_seg") if path.stem.endswith("_seg") else "<case>"
        raise InputError(
            f"{path}: DICOM. Masks are read from NIfTI, PNG and TIFF: give {case}_mask.nii.gz beside it, which has the same voxels."
        )
    if not path.name.casefold().endswith((".nii", ".nii.gz")):
        return read_mask(path), None
    from gliomask.io.nifti import read_nifti_mask

    return read_nifti_mask(path)


def _report(options: argparse.Namespace) -> int:
    from gliomask.report.page import write_report

    for file in write_report(options.case, options.output, pdf=options.pdf, with_identifiers=options.with_identifiers):
        _print(f"written: {file}")
    return DONE


def _progress_bar(quiet: bool) -> Any:
    from tqdm import tqdm

    def wrap(cases: Sequence[Any]) -> Any:
        return tqdm(cases, unit="case", disable=quiet or len(cases) < 2 or not sys.stderr.isatty())

    return wrap


def _evaluate(options: argparse.Namespace) -> int:
    from gliomask.evaluation import format_table

    if options.output is not None:
        from gliomask.evaluation.files import check_output, write_evaluation

        check_output(options.output)
    evaluation = _evaluated(options)
    _print(json.dumps(evaluation.as_json(), indent=2) if options.json else format_table(evaluation))
    if options.output is not None:
        for file in write_evaluation(evaluation, options.output):
            (_say if options.json else _print)(f"written: {file}")
    return DONE


def _evaluated(options: argparse.Namespace) -> Any:
    """Return the evaluation that the options ask for: of masks, of one model for each fold, or of one model."""
    from gliomask.evaluation import Protocol, cross_validate, evaluate_masks, evaluate_model
    from gliomask.segmentation import Segmenter

    if options.reference_masks is not None:
        sees = options.flair_alone or options.single_slices or options.brain_masks
        if options.fold or options.split or sees or options.threshold or options.cross_validation:
            options.parser.error("with --reference-masks no model is run: leave out --fold, --split, --threshold and what it sees")
        return evaluate_masks(options.data, options.reference_masks)
    protocol = Protocol(
        options.split, options.fold, options.flair_alone, options.single_slices, options.brain_masks, pictures=options.output is not None
    )
    progress = _progress_bar(options.json)
    if options.cross_validation is None:
        segmenter = Segmenter(options.model, threshold=options.threshold, threads=options.threads, force=True)
        return evaluate_model(options.data, segmenter, protocol, progress)
    if options.fold or options.model != options.parser.get_default("model"):
        options.parser.error("--cross-validation scores every fold with its own model: leave out --fold and --model")
    wanted = {"threshold": options.threshold, "threads": options.threads, "progress": progress}
    return cross_validate(options.data, options.cross_validation, protocol, **wanted)


def _calibrate(options: argparse.Namespace) -> int:
    from gliomask.evaluation.calibrate import calibrate, format_calibrated, write_to_records

    calibrated = calibrate(options.data, options.cross_validation, options.split, options.threads, _progress_bar(options.json))
    _print(json.dumps(calibrated.as_json(), indent=2) if options.json else format_calibrated(calibrated))
    for record in write_to_records(calibrated, options.write):
        (_say if options.json else _print)(f"written: {record.path.with_suffix('.json')}")
    return DONE


def _split(options: argparse.Namespace) -> int:
    from gliomask.dataset import SEALED, index_dataset, make_folds, sealed_patients, write_split

    names = {patient.name for patient in index_dataset(options.data)}
    sealed = names & sealed_patients()
    write_split(make_folds(names - sealed, options.folds, options.seed) | dict.fromkeys(sealed, SEALED), options.output)
    aside = f", {len(sealed)} of the sealed test set aside" if sealed else ""
    _print(f"{len(names - sealed)} patients in {options.folds} folds{aside}: {options.output}")
    return DONE


def _train(options: argparse.Namespace) -> int:
    from gliomask.training.command import run_training  # Keras: seconds and a gigabyte

    run_training(options, _print)
    return DONE


def _ensemble(options: argparse.Namespace) -> int:
    try:
        from gliomask.training.ensemble import export_ensemble
    except ImportError as error:
        raise EngineError(f"an ensemble needs {error.name}. Install it: pip install 'gliomask[train]'.") from error
    record = export_ensemble(options.members, options.output, options.name)
    _print(f"written: {record.path} and its record, {record.path.stat().st_size / 1e6:.1f} MB, {len(options.members)} networks")
    return DONE


def _app(options: argparse.Namespace) -> int:
    from gliomask.app import launch

    def announce(address: str) -> None:
        _print(f"The page is at {address} until you press Ctrl-C here.")
        sys.stdout.flush()

    return launch(options.host, options.port, browser=not options.no_browser, announce=announce)


def _info(options: argparse.Namespace) -> int:
    from gliomask.info import facts, format_facts

    found = facts()
    _print(json.dumps(found, indent=2) if options.json else format_facts(found))
    return DONE if all(model["checksum"] == "ok" for model in found["models"]) else SOME_FAILED


class _Parser(argparse.ArgumentParser):
    """Errors in one line that says where help is."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"{self.prog}: {message}\nSee: {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="gliomask",
        description="Outline lower-grade gliomas on brain MRI (FLAIR abnormality). Research software, not a medical device.",
        epilog="Nothing leaves this machine: no network, no telemetry.",
    )
    parser.add_argument("--version", action="version", version=f"gliomask {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in (
        _add_segment,
        _add_measure,
        _add_report,
        _add_evaluate,
        _add_calibrate,
        _add_app,
        _add_info,
        _add_train,
        _add_ensemble,
        _add_split,
    ):
        add(commands)
    return parser


def _add_segment(commands: Any) -> None:
    parser = _command(
        commands, "segment", _segment,
        "outline the abnormality in slices, NIfTI, DICOM and BIDS",
        "gliomask segment study/ --output results/",
        "An input is a FLAIR volume as NIfTI (.nii, .nii.gz); a folder or a zip of DICOM files, in which the FLAIR series is found; a "
        "BIDS dataset; a PNG, JPEG or TIFF slice (a grey one counts as FLAIR); a folder of slices (one case); or a folder of any of "
        "these. Files named *_mask.* are reference masks and passed over. Masks lie on the input's own grid.",
    )  # fmt: skip
    parser.add_argument("inputs", nargs="+", type=Path, metavar="INPUT", help="file or folder")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="where DIR/<case>/ and DIR/cases.csv are written")
    parser.add_argument("--overwrite", action="store_true", help="replace the results of an earlier run")
    parser.add_argument("--save-probability", action="store_true", help="write probabilities too, in the same formats as the masks")
    parser.add_argument("--pre", type=Path, metavar="T1", help="NIfTI: T1 before contrast, in the same space as FLAIR")
    parser.add_argument("--post", type=Path, metavar="T1CE", help="NIfTI: T1 after contrast, in the same space as FLAIR")
    parser.add_argument("--series", metavar="SERIES", help="DICOM: the FLAIR series' UID, number or part of its description")
    parser.add_argument("--all-lesions", action="store_true", help="keep lesions much smaller than the largest, which are left out else")
    parser.add_argument("--force", action="store_true", help="segment what does not look like axial brain FLAIR too")
    parser.add_argument("--min-lesion-ml", type=_volume, metavar="ML", help="leave out lesions smaller than this (default: keep all)")
    _model_options(parser)
    _json_option(parser)


def _add_measure(commands: Any) -> None:
    parser = _command(
        commands, "measure", _measure,
        "measure masks of this or another tool: millilitres, lesions, diameters",
        "gliomask measure results/case/case_mask.nii.gz",
        "A mask is NIfTI (.nii, .nii.gz; whatever is not 0 is inside), or a PNG or TIFF, which carry no spacing and give voxels alone. "
        "Diameters are the longest axial one and its perpendicular, as in the RANO criteria.",
    )  # fmt: skip
    parser.add_argument("masks", nargs="+", type=Path, metavar="MASK", help="mask file")
    _json_option(parser)


def _add_report(commands: Any) -> None:
    parser = _command(
        commands, "report", _report,
        "write a page on a case's results that anyone can open or print",
        "gliomask report results/case --pdf",
        "The page holds its pictures and fetches nothing. Names of the case and its files stay out of it unless asked for.",
    )  # fmt: skip
    parser.add_argument("case", type=Path, metavar="CASE", help="a case's folder of results, as gliomask segment writes it")
    parser.add_argument("--output", type=Path, metavar="FILE", help="the page (default: CASE/report.html)")
    parser.add_argument("--pdf", action="store_true", help="print it as PDF too, with WeasyPrint, Chromium or Chrome if one is installed")
    parser.add_argument("--with-identifiers", action="store_true", help="name the case, its slices and files in the page")


def _add_evaluate(commands: Any) -> None:
    parser = _command(
        commands, "evaluate", _evaluate,
        "score a model, or masks written by any tool, against reference masks",
        "gliomask evaluate kaggle_3m/ --fold 0",
        "Without --reference-masks, DATA is the LGG dataset: its slices are segmented and scored against its masks, patient by "
        "patient. With it, DATA holds masks of this or another tool, *_mask.* images or NIfTI, that are scored against those in DIR. "
        "Where both masks of a patient are empty, Dice and IoU are 1. Distances are in pixels, with NIfTI in mm. "
        "Needs the extra [evaluate].",
    )  # fmt: skip
    parser.add_argument("data", type=Path, metavar="DATA", help="the dataset's folder, or a folder of masks")
    parser.add_argument("--output", type=Path, metavar="DIR", help="write DIR/report.html, evaluation.json and patients.csv too")
    parser.add_argument("--reference-masks", type=Path, metavar="DIR", help="score the masks in DATA against those in DIR")
    parser.add_argument(
        "--cross-validation", type=Path, metavar="RUNS",
        help="score each fold's patients with the model in RUNS/*/ that was trained without that fold, and pool all",
    )  # fmt: skip
    parser.add_argument("--fold", metavar="FOLD", help="score this fold's patients alone (default: all)")
    parser.add_argument("--flair-alone", action="store_true", help="leave out the contrast channels")
    parser.add_argument("--single-slices", action="store_true", help="give every slice by itself, not the whole volume")
    parser.add_argument("--brain-masks", type=Path, metavar="DIR", help="remove the skull by DIR/<patient>/<slice>_mask.png first")
    _split_option(parser)
    _model_options(parser)
    _json_option(parser)


def _add_calibrate(commands: Any) -> None:
    parser = _command(
        commands, "calibrate", _calibrate,
        "fit calibration and expected Dice on patients that the models were not trained on",
        "gliomask calibrate kaggle_3m/ --cross-validation runs/ --write runs/fold0/fold0.json",
        "Tells how the fits hold on folds that they had no part of. Needs models of two folds or more, and the extra [evaluate].",
    )  # fmt: skip
    parser.add_argument("data", type=Path, metavar="DATA", help="the dataset's folder")
    parser.add_argument("--cross-validation", type=Path, required=True, metavar="RUNS", help="as of gliomask evaluate")
    parser.add_argument("--write", type=Path, nargs="+", default=[], metavar="RECORD", help="models' records (.json) to set the fits in")
    parser.add_argument("--threads", type=_positive, metavar="N", help="processor threads (default: all this process may use)")
    _split_option(parser)
    _json_option(parser)


def _add_train(commands: Any) -> None:
    parser = _command(
        commands, "train", _train,
        "train a model on the LGG dataset (needs the extra [train])",
        "gliomask train kaggle_3m/ --recipe fast --fold 0 --output runs/fast",
        "Run the same command again to resume a training that was stopped. Writes history.csv, history.png and the network as "
        "NAME.keras and NAME.onnx with its record, scored on the held-out patients.",
    )  # fmt: skip
    parser.add_argument("data", type=Path, metavar="DATA", help="the dataset's folder")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="the run's folder")
    parser.add_argument("--recipe", choices=("fast", "original"), default="fast", help="how to train (default: %(default)s)")
    parser.add_argument("--name", type=_plain_name, default="model", help="what to call the exported model (default: %(default)s)")
    parser.add_argument("--fold", default="0", help="the fold held out for validation (default: %(default)s)")
    parser.add_argument("--sealed", nargs="+", default=[], metavar="PATIENT", help="patients of the sealed test set to use all the same")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="(default: %(default)s)")
    parser.add_argument("--epochs", type=_positive, metavar="N", help="in place of the recipe's")
    parser.add_argument("--steps-per-epoch", type=_positive, metavar="N", help="in place of the recipe's")
    parser.add_argument("--width", type=_positive, metavar="N", help="filters of the first level (fast: a multiple of 8)")
    parser.add_argument("--seed", type=_seed, default=0, help="(default: %(default)s)")
    parser.add_argument("--initial-weights", type=Path, metavar="FILE", help="start from a trained network of the same recipe's (.keras)")
    parser.add_argument(
        "--brain-masks", type=Path, metavar="DIR", help="DIR/<patient>/<slice>_mask.png for removing the skull as brain extraction does"
    )
    _split_option(parser)


def _add_ensemble(commands: Any) -> None:
    parser = _command(
        commands, "ensemble", _ensemble,
        "make one model of several: the mean of their probabilities (needs the extra [train])",
        "gliomask ensemble runs/fold*/fold*.onnx --name ensemble --output runs/ensemble",
        "Weights are stored in half precision. Slices are seen mirrored too.",
    )  # fmt: skip
    parser.add_argument("members", type=Path, nargs="+", metavar="MODEL", help="networks (.onnx) with their records beside them")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="the folder to write NAME.onnx and NAME.json into")
    parser.add_argument("--name", type=_plain_name, default="ensemble", help="what to call the model (default: %(default)s)")


def _add_split(commands: Any) -> None:
    parser = _command(
        commands, "split", _split,
        "divide patients into folds, each institution spread evenly",
        "gliomask split kaggle_3m/ --output folds.csv",
        "The same patients and seed give the same folds. Patients of the sealed test set get a fold of their own, test.",
    )  # fmt: skip
    parser.add_argument("data", type=Path, metavar="DATA", help="the dataset's folder")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the CSV to write")
    parser.add_argument("--folds", type=_positive, default=5, help="(default: %(default)s)")
    parser.add_argument("--seed", type=_seed, default=0, help="(default: %(default)s)")


def _add_app(commands: Any) -> None:
    parser = _command(
        commands, "app", _app,
        "open the web page (needs the extra [app])",
        "gliomask app",
        "The page is served on this machine alone unless --host says otherwise.",
    )  # fmt: skip
    parser.add_argument("--host", default="localhost", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=_positive, default=8501, help="(default: %(default)s)")
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser")


def _add_info(commands: Any) -> None:
    parser = _command(commands, "info", _info, "print versions, models and whether their checksums hold", "gliomask info", "")
    _json_option(parser)


def _command(commands: Any, name: str, run: Any, summary: str, example: str, details: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=f"{summary[0].upper()}{summary[1:]}. {details}".strip(), epilog=f"example: {example}"
    )
    parser.set_defaults(run=run, parser=parser)
    return parser


def _model_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", default="fast", metavar="NAME|PATH", help="bundled model, or an .onnx or .keras file (default: %(default)s)"
    )
    parser.add_argument("--threshold", type=float, metavar="P", help="probability from which a pixel is marked (default: the model's)")
    parser.add_argument("--threads", type=_positive, metavar="N", help="processor threads (default: all this process may use)")


def _split_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--split", type=Path, metavar="FILE", help="CSV of patient,fold (default: the project's own)")


def _json_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON for a program to read")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive whole number")
    return int(text)


def _volume(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a volume in millilitres above 0")
    return value


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 0 to {2**32 - 1}")
    return int(text)


def _plain_name(text: str) -> str:
    if not text or Path(text).name != text:
        raise argparse.ArgumentTypeError(f"{text} is not a plain name")
    return text
