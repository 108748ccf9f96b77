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
from gliomask.io.naming import cell
from gliomask.io.writing import blaming_output, check_can_be_folder

PAGE, RECORD, TABLE = "report.html", "evaluation.json", "patients.csv"


def check_output(folder: Path) -> None:
    """Make sure that the files can be written, before hours of work depend on it.

    Raises
    ------
    InputError
        A file is in the way or a folder of a file's name, the folder may not be written to, a report in it is none of an
        evaluation, or there is a record or a table without a report, which then is somebody else's.
    EngineError
        The extra for the plots is not installed.
    """
    check_can_be_folder(folder)
    page = folder / PAGE
    if taken := [path for name in (PAGE, RECORD, TABLE) if (path := folder / name).is_dir()]:
        raise InputError(f"{taken[0]}: is a folder. Choose another --output.")
    if page.exists() and MARK not in page.read_text(encoding="utf-8", errors="replace"):
        raise InputError(f"{page}: is there already and is no report of an evaluation. Choose another --output.")
    if not page.exists() and (foreign := [path for name in (RECORD, TABLE) if (path := folder / name).exists()]):
        raise InputError(f"{foreign[0]}: is there already, without the {PAGE} of an evaluation. Choose another --output.")
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
    page = evaluation_page(evaluation)
    table = io.StringIO()
    rows = content["patients"]
    with blaming_output(folder):
        write_text(page, folder / PAGE)  # first: what an interruption leaves is known as an evaluation's by it
        write_text(json.dumps(content, indent=2) + "\n", folder / RECORD)
        writer = csv.DictWriter(table, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(row | {"patient": cell(row["patient"])} for row in rows)
        write_text(table.getvalue(), folder / TABLE)
    return [folder / name for name in (PAGE, RECORD, TABLE)]
