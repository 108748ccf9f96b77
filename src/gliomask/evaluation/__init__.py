"""Scores per patient and over all, with the patients a model was trained on told apart."""

from gliomask.evaluation.cross_validation import cross_validate
from gliomask.evaluation.masks import evaluate_masks
from gliomask.evaluation.outcome import Evaluation
from gliomask.evaluation.protocol import Protocol, evaluate_model, evaluate_patients
from gliomask.evaluation.scores import PatientScore
from gliomask.evaluation.summary import summarise
from gliomask.evaluation.table import format_table

__all__ = [
    "Evaluation",
    "PatientScore",
    "Protocol",
    "cross_validate",
    "evaluate_masks",
    "evaluate_model",
    "evaluate_patients",
    "format_table",
    "summarise",
]
