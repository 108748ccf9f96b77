"""A segmentation as files: masks, pictures and records."""

from gliomask.report.overlay import contact_sheet, overlay_slice
from gliomask.report.saving import CasesTable, read_result, save_segmentation, summary

__all__ = ["CasesTable", "contact_sheet", "overlay_slice", "read_result", "save_segmentation", "summary"]
