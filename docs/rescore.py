"""Score a bundled model again on the patients that were held out of its training, and write the scores into its record.

    python docs/rescore.py kaggle_3m/ [--model fast] [--brain-masks brains/]

For when something behind the network has changed, such as postprocessing or calibration.
``python docs/figures.py`` then brings the documents up to date. Without brain masks (made by
``docs/brain_masks.py``) there are no scores without skull.
"""

import argparse
from pathlib import Path

from gliomask.dataset import index_dataset, read_split
from gliomask.models import DEFAULT, find_model
from gliomask.training.command import add_scores, describe


def main() -> None:
    """Score the model and print its main figure."""
    parser = argparse.ArgumentParser(description="Score a bundled model again and write the scores into its record.")
    parser.add_argument("data", type=Path, help="the dataset's folder")
    parser.add_argument("--model", default=DEFAULT)
    parser.add_argument("--brain-masks", type=Path)
    options = parser.parse_args()
    record, split = find_model(options.model), read_split(None)
    held_out = [p for p in index_dataset(options.data) if split.get(p.name) == record.training["held_out_fold"]]
    print(describe(add_scores(record, held_out, options.brain_masks)))  # noqa: T201


if __name__ == "__main__":
    main()
