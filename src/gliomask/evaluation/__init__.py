"""Scores per patient and over all, with the patients a model was trained on told apart."""

from gliomask.evaluation.protocol import Evaluation, PatientScore, Protocol, evaluate_masks, evaluate_model, evaluate_patients, summarise
from gliomask.evaluation.table import format_table

__all__ = ["Evaluation", "PatientScore", "Protocol", "evaluate_masks", "evaluate_model", "evaluate_patients", "format_table", "summarise"]
