"""An evaluation as files: a page for people, JSON and CSV for programs."""

import csv
import io
import json
from pathlib import Path

from gliomask.errors import InputError
from gliomask.evaluation.outcome import Evaluation
from gliomask.evaluation.plots import require_matplotlib
from gliomask.evaluation.report import MARK, evaluation_page
from gliomask.io import write_text

PAGE, RECORD, TABLE = "report.html", "evaluation.json", "patients.csv"


def check_output(folder: Path) -> None:
    """Make sure that the files can be written, before hours of work depend on it.

    Raises
    ------
    InputError
        A file is in the way, or a report in the folder is none of an evaluation.
    EngineError
        The extra for the plots is not installed.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: a file. Give a folder for --output.")
    page = folder / PAGE
    if page.exists() and MARK not in page.read_text(encoding="utf-8", errors="replace"):
        raise InputError(f"{page}: is there already and is no report of an evaluation. Choose another --output.")
    require_matplotlib()


def write_evaluation(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Write ``report.html``, ``evaluation.json`` and ``patients.csv`` and return their paths.

    Raises
    ------
    InputError, EngineError
        As :func:`check_output`.
    """
    check_output(folder)
    content = evaluation.as_json()
    write_text(json.dumps(content, indent=2) + "\n", folder / RECORD)
    table = io.StringIO()
    rows = content["patients"]
    writer = csv.DictWriter(table, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(table.getvalue(), folder / TABLE)
    write_text(evaluation_page(evaluation), folder / PAGE)
    return [folder / name for name in (PAGE, RECORD, TABLE)]
