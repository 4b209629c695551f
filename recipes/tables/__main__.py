"""Writes what was measured into README and docs/; `--check` only says what differs."""

import dataclasses
import pathlib
import sys

import tyro

import keras_transfer as kt
from keras_transfer.recipes import tables

ROOT = pathlib.Path(__file__).parents[2]


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of one run."""

    check: bool = False
    """Change nothing, and end with status 1 if a page or the picture differs from the results."""


def main(config, root=ROOT):
    """Writes the pages and the picture that differ, or only names them; returns the exit status."""
    found = tables.outdated(root)
    for path, content in found.items():
        print(path.relative_to(root))
        if not config.check:
            kt.report.write_whole(path, content)
    return int(config.check and bool(found))


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Config, description=__doc__)))
