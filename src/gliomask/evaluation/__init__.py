"""Scores per patient and over all, with the patients a model was trained on told apart."""

from gliomask.evaluation.protocol import Evaluation, PatientScore, Protocol, evaluate_masks, evaluate_model, summarise
from gliomask.evaluation.table import format_table

__all__ = ["Evaluation", "PatientScore", "Protocol", "evaluate_masks", "evaluate_model", "format_table", "summarise"]
