"""Scores per patient and over all, with the patients a model was trained on told apart."""

from gliomask.evaluation.protocol import Evaluation, PatientScore, evaluate_masks, evaluate_model
from gliomask.evaluation.table import format_table

__all__ = ["Evaluation", "PatientScore", "evaluate_masks", "evaluate_model", "format_table"]
