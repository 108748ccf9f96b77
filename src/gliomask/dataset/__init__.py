"""The LGG MRI segmentation dataset: index, patient-level splits, batches and augmentation."""

from gliomask.dataset.index import Patient, identity, index_dataset, institution
from gliomask.dataset.splits import (
    SEALED,
    check_folds,
    divide,
    divide_slices,
    is_sealed,
    make_folds,
    read_split,
    sealed_patients,
    write_split,
)

__all__ = [
    "SEALED",
    "Patient",
    "check_folds",
    "divide",
    "divide_slices",
    "identity",
    "index_dataset",
    "institution",
    "is_sealed",
    "make_folds",
    "read_split",
    "sealed_patients",
    "write_split",
]
