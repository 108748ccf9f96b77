"""The options of the command line: every verb with its help and an example."""

import argparse
from pathlib import Path
from typing import Any, NoReturn

from gliomask import __version__, commands

THREADS = "processor threads (default, and at most: all this process may use)"


class _Parser(argparse.ArgumentParser):
    """Errors in one line that says where help is."""

    def error(self, message: str) -> NoReturn:
        self.exit(commands.USAGE, f"{self.prog}: {message}\nSee: {self.prog} --help\n")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser, each verb's function in its ``run``."""
    parser = _Parser(
        prog="gliomask",
        description="Outline lower-grade gliomas on brain MRI (FLAIR abnormality). Research software, not a medical device.",
        epilog="Exit codes: 0 done; 1 some case failed, or nothing could be done; 2 wrong usage; 130 interrupted. "
        "Nothing leaves this machine: no network, no telemetry.",
    )
    parser.add_argument("--version", action="version", version=f"gliomask {__version__}")
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
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
        _add_quantise,
        _add_split,
    ):
        add(verbs)
    return parser


def _add_segment(verbs: Any) -> None:
    parser = _command(
        verbs, "segment", commands.segment,
        "outline the abnormality in slices, NIfTI, DICOM and BIDS",
        "gliomask segment study/ --output results/",
        "An input is a FLAIR volume as NIfTI (.nii, .nii.gz); a folder or a zip of DICOM files, in which the FLAIR series is found; a "
        "BIDS dataset; a PNG, JPEG or TIFF slice (a grey one counts as FLAIR); a folder of slices (one case); or a folder of any of "
        "these. Files named *_mask.*, of NIfTI also *_seg.*, are reference masks and passed over, as are *_probability.* and "
        "*_uncertainty.*. Masks lie on the input's own grid. A case that fails is named and stops no other; the exit code is then 1. "
        "Run again, finished cases are kept.",
    )  # fmt: skip
    parser.add_argument("inputs", nargs="+", type=_path, metavar="INPUT", help="file or folder")
    parser.add_argument(
        "--output", type=_path, required=True, metavar="DIR",
        help="where DIR/<case>/ and DIR/cases.csv are written; of a BIDS dataset DIR/cases/<case>/, and the masks as derivatives",
    )  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="replace the results of an earlier run")
    parser.add_argument(
        "--save-probability", action="append_const", const="probability", dest="maps", default=[],
        help="write probabilities too, in the same formats as the masks",
    )  # fmt: skip
    parser.add_argument(
        "--save-uncertainty", action="append_const", const="uncertainty", dest="maps", default=[],
        help="write uncertainty too, each probability's entropy in bits: NIfTI, and PNG for images (DICOM SEG has no such kind)",
    )  # fmt: skip
    parser.add_argument("--pre", type=_path, metavar="T1", help="NIfTI: T1 before contrast, in the same space as FLAIR")
    parser.add_argument("--post", type=_path, metavar="T1CE", help="NIfTI: T1 after contrast, in the same space as FLAIR")
    parser.add_argument("--series", metavar="SERIES", help="DICOM: the FLAIR series' UID, number or part of its description")
    parser.add_argument("--all-lesions", action="store_true", help="mark all that reaches the threshold, small lesions and faint ends too")
    parser.add_argument("--force", action="store_true", help="segment what does not look like axial brain FLAIR too")
    parser.add_argument(
        "--min-lesion-ml", type=_volume, metavar="ML",
        help="leave out lesions smaller than this (default: keep all); not for image files, which carry no spacing",
    )  # fmt: skip
    _model_options(parser)
    _json_option(parser)


def _add_measure(verbs: Any) -> None:
    parser = _command(
        verbs, "measure", commands.measure,
        "measure masks of this or another tool: millilitres, lesions, diameters",
        "gliomask measure results/case/case_mask.nii.gz",
        "A mask is NIfTI (.nii, .nii.gz; whatever is not 0 is inside), or a PNG or TIFF, which carry no spacing and give voxels alone. "
        "Diameters are the longest axial one and its perpendicular, as in the RANO criteria.",
    )  # fmt: skip
    parser.add_argument("masks", nargs="+", type=_path, metavar="MASK", help="mask file")
    _json_option(parser)


def _add_report(verbs: Any) -> None:
    parser = _command(
        verbs, "report", commands.report,
        "write a page on a case's results that anyone can open or print",
        "gliomask report results/case --pdf",
        "The page holds its pictures and fetches nothing. Names of the case and its files stay out of it unless asked for.",
    )  # fmt: skip
    parser.add_argument("case", type=_path, metavar="CASE", help="a case's folder of results, as gliomask segment writes it")
    parser.add_argument("--output", type=_path, metavar="FILE", help="the page (default: CASE/report.html)")
    parser.add_argument("--pdf", action="store_true", help="print it as PDF too, with WeasyPrint, Chromium or Chrome if one is installed")
    parser.add_argument("--with-identifiers", action="store_true", help="name the case, its slices and files in the page")


def _add_evaluate(verbs: Any) -> None:
    parser = _command(
        verbs, "evaluate", commands.evaluate,
        "score a model, or masks written by any tool, against reference masks",
        "gliomask evaluate kaggle_3m/ --fold 0",
        "Without --reference-masks, DATA is the LGG dataset: its slices are segmented and scored against its masks, patient by "
        "patient. With it, DATA holds masks of this or another tool, images or NIfTI, that are scored against those in DIR; images named "
        "*_mask.* are taken alone where there are any. They are paired by folder and name, or by name, _mask, _seg or _flair aside. The "
        "report shows them over the scans beside them, such as a.tif beside a_mask.tif. "
        "Where both masks of a patient are empty, Dice and IoU are 1. Distances are in pixels, with NIfTI in mm. "
        "Needs the extra [evaluate].",
    )  # fmt: skip
    parser.add_argument("data", type=_path, metavar="DATA", help="the dataset's folder, or a folder of masks")
    parser.add_argument("--output", type=_path, metavar="DIR", help="write DIR/report.html, evaluation.json and patients.csv too")
    parser.add_argument("--reference-masks", type=_path, metavar="DIR", help="score the masks in DATA against those in DIR")
    parser.add_argument(
        "--cross-validation", type=_path, metavar="RUNS|ENSEMBLE",
        help="score each fold's patients with the model in RUNS/*/ that was trained without that fold, and pool all; an ensemble's name "
        "or .onnx (such as ensemble, the bundled one) has its members scored so, with the extra [train]",
    )  # fmt: skip
    parser.add_argument("--fold", metavar="FOLD", help="score this fold's patients alone (default: all)")
    parser.add_argument("--flair-alone", action="store_true", help="leave out the contrast channels")
    parser.add_argument("--single-slices", action="store_true", help="give every slice by itself, not the whole volume")
    parser.add_argument("--brain-masks", type=_path, metavar="DIR", help="remove the skull by DIR/<patient>/<slice>_mask.png first")
    _split_option(parser)
    _model_options(parser)
    _json_option(parser)


def _add_calibrate(verbs: Any) -> None:
    parser = _command(
        verbs, "calibrate", commands.calibrate,
        "fit calibration and expected Dice on patients that the models were not trained on",
        "gliomask calibrate kaggle_3m/ --cross-validation runs/ --write runs/fold0/model.json",
        "Tells how the fits hold on folds that they had no part of. Needs models of two folds or more, and the extra [evaluate].",
    )  # fmt: skip
    parser.add_argument("data", type=_path, metavar="DATA", help="the dataset's folder")
    parser.add_argument("--cross-validation", type=_path, required=True, metavar="RUNS|ENSEMBLE", help="as of gliomask evaluate")
    parser.add_argument("--write", type=_path, nargs="+", default=[], metavar="RECORD", help="models' records (.json) to set the fits in")
    parser.add_argument("--threads", type=_positive, metavar="N", help=THREADS)
    _split_option(parser)
    _json_option(parser)


def _add_train(verbs: Any) -> None:
    parser = _command(
        verbs, "train", commands.train,
        "train a model on the LGG dataset (needs the extra [train])",
        "gliomask train kaggle_3m/ --recipe fast --fold 0 --output runs/fast",
        "Run the same command again to resume a training that was stopped. Writes checkpoint.npz, from which it resumes, history.csv, "
        "history.png, the same for TensorBoard in tensorboard/, and the network as NAME.keras and NAME.onnx with its record (NAME.json), "
        "scored on the held-out patients.",
    )  # fmt: skip
    parser.add_argument("data", type=_path, metavar="DATA", help="the dataset's folder")
    parser.add_argument("--output", type=_path, required=True, metavar="DIR", help="the run's folder")
    parser.add_argument(
        "--recipe",
        choices=("fast", "fast-dice", "original"),
        default="fast",
        help="how to train: fast; fast-dice, a last round from the --initial-weights that fast left; or the reference project's original "
        "(default: %(default)s)",
    )
    parser.add_argument("--name", type=_plain_name, default="model", help="what to call the exported model (default: %(default)s)")
    parser.add_argument(
        "--fold",
        default="0",
        type=lambda fold: None if fold == "none" else fold,
        help="the fold held out for validation (default: %(default)s); none: train on all, for use and not for scores",
    )
    parser.add_argument(
        "--leaky",
        action="store_true",
        help="hold out a random fifth of all slices instead of patients, for comparison with figures on such splits: patients lie on both "
        "sides, so scores are too good",
    )
    parser.add_argument("--sealed", nargs="+", default=[], metavar="PATIENT", help="patients of the sealed test set to use all the same")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="(default: %(default)s)")
    parser.add_argument("--epochs", type=_positive, metavar="N", help="in place of the recipe's")
    parser.add_argument("--steps-per-epoch", type=_positive, metavar="N", help="in place of the recipe's")
    parser.add_argument("--width", type=_positive, metavar="N", help="filters of the first level (fast: a multiple of 8)")
    parser.add_argument("--seed", type=_seed, default=0, help="(default: %(default)s)")
    parser.add_argument(
        "--initial-weights",
        type=_path,
        metavar="MODEL",
        help="start from a trained network of the recipe's kind: its .keras or, from Keras on TensorFlow, its .onnx; the name of a bundled "
        "one; of an ensemble the member that was trained without the --fold",
    )
    parser.add_argument(
        "--average-initial", action="store_true", help="export the mean of the initial weights and of those that the training ends with"
    )
    parser.add_argument(
        "--brain-masks", type=_path, metavar="DIR", help="DIR/<patient>/<slice>_mask.png for removing the skull as brain extraction does"
    )
    _split_option(parser)


def _add_ensemble(verbs: Any) -> None:
    parser = _command(
        verbs, "ensemble", commands.ensemble,
        "make one model of several: the mean of their probabilities (needs the extra [train])",
        "gliomask ensemble runs/fold?/model.onnx --name ensemble --output models/",
        "Weights are stored in 8 bits, or in 16 where these cost accuracy. Slices are seen mirrored too.",
    )  # fmt: skip
    parser.add_argument("members", type=_path, nargs="+", metavar="MODEL", help="networks (.onnx) with their records beside them")
    parser.add_argument("--output", type=_path, required=True, metavar="DIR", help="the folder to write NAME.onnx and NAME.json into")
    parser.add_argument("--name", type=_plain_name, default="ensemble", help="what to call the model (default: %(default)s)")


def _add_quantise(verbs: Any) -> None:
    parser = _command(
        verbs, "quantise", commands.quantise,
        "make a model's network in int8, faster on processors, beside its float32 (needs the extra [train])",
        "gliomask quantise kaggle_3m/ --model runs/fold0/model.onnx",
        "Ranges come from slices of the patients that the model was trained on. The masks of both are then compared on those that were "
        "held out, or, where nobody was, on the same ones, and where int8 is worse by more than 0.002 in mean Dice, nothing is kept. Else "
        "it is written beside FILE as NAME-int8.onnx, and the record names it.",
    )  # fmt: skip
    parser.add_argument("data", type=_path, metavar="DATA", help="the dataset's folder")
    parser.add_argument("--model", type=_path, required=True, metavar="FILE", help="the network (.onnx) with its record beside it")


def _add_split(verbs: Any) -> None:
    parser = _command(
        verbs, "split", commands.split,
        "divide patients into folds, each institution spread evenly",
        "gliomask split kaggle_3m/ --output folds.csv",
        "The same patients and seed give the same folds. Patients of the sealed test set get a fold of their own, test.",
    )  # fmt: skip
    parser.add_argument("data", type=_path, metavar="DATA", help="the dataset's folder")
    parser.add_argument("--output", type=_path, required=True, metavar="FILE", help="the CSV to write")
    parser.add_argument("--folds", type=_positive, default=5, help="(default: %(default)s)")
    parser.add_argument("--seed", type=_seed, default=0, help="(default: %(default)s)")


def _add_app(verbs: Any) -> None:
    parser = _command(
        verbs, "app", commands.app,
        "open the web page (needs the extra [app])",
        "gliomask app",
        "The page is served on this machine alone unless --host says otherwise.",
    )  # fmt: skip
    parser.add_argument("--host", default="localhost", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=_positive, default=8501, help="(default: %(default)s)")
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser")


def _add_info(verbs: Any) -> None:
    parser = _command(verbs, "info", commands.info, "print versions, models and whether their checksums hold", "gliomask info", "")
    _json_option(parser)


def _command(verbs: Any, name: str, run: Any, summary: str, example: str, details: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(
        name, help=summary, description=f"{summary[0].upper()}{summary[1:]}. {details}".strip(), epilog=f"example: {example}"
    )
    parser.set_defaults(run=run, parser=parser)
    return parser


def _model_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        default="fast",
        metavar="NAME|PATH",
        help="bundled model (fast, ensemble), or an .onnx with its record (.json) beside it, or a .keras file (default: %(default)s)",
    )
    parser.add_argument(
        "--threshold",
        type=_probability,
        metavar="P",
        help="calibrated probability from which a pixel is marked (default: the model's own)",
    )
    parser.add_argument("--threads", type=_positive, metavar="N", help=THREADS)
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto takes CUDA where onnxruntime-gpu is installed and works"
    )
    parser.add_argument(
        "--precision", choices=("auto", "float32", "int8"), default="auto",
        help="auto takes int8 where the model has it and the processor is faster with it",
    )  # fmt: skip
    parser.add_argument(
        "--engine", choices=("onnxruntime", "openvino"), default="onnxruntime",
        help="what runs the network (default: %(default)s; openvino needs the extra [openvino])",
    )  # fmt: skip


def _split_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--split", type=_path, metavar="FILE", help="CSV of patient,fold (default: the project's own)")


def _json_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON for a program to read")


def _path(text: str) -> Path:
    if not text:  # which a script's unset variable gives, and Path takes for the current folder
        raise argparse.ArgumentTypeError("an empty name is no file or folder. Give . for the current folder")
    return Path(text)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive whole number")
    return int(text)


def _volume(text: str) -> float:
    value = _number(text)
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a volume in millilitres above 0")
    return value


def _probability(text: str) -> float:
    value = _number(text)
    if not 0.0 < value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text} is not a probability above 0 and up to 1")
    return value


def _number(text: str) -> float:
    """Return the number that a text is; of any other text one that lies in no range."""
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 0 to {2**32 - 1}")
    return int(text)


def _plain_name(text: str) -> str:
    if not text or Path(text).name != text:
        raise argparse.ArgumentTypeError(f"{text} is not a plain name")
    return text
