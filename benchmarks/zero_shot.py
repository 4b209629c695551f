"""What a closed form takes: `python -m benchmarks.zero_shot`.

`kt.models.ESZSL.solve` on drawn features of the size of CUB: 11,788 rows of 2,048, 200 classes with 312 attributes,
150 of them seen, 7 by 7 penalties chosen on 5 parts of the classes. Prints, and writes results/zero_shot_costs.json.
"""

import argparse

import numpy as np

import keras_transfer as kt
from benchmarks import timing

ROWS, FEATURES, CLASSES, SEEN, ATTRIBUTES = 11_788, 2048, 200, 150, 312


def world():
    """Returns features, labels of seen classes, and what describes all classes."""
    rng = np.random.default_rng(0)
    attributes = rng.random((CLASSES, ATTRIBUTES)).astype("float32")
    y = rng.integers(0, SEEN, ROWS)
    mix = rng.normal(size=(ATTRIBUTES, FEATURES)) / ATTRIBUTES**0.5
    x = attributes[y] @ mix + rng.normal(size=(ROWS, FEATURES))
    return np.maximum(x, 0.0).astype("float32"), y, {f"class {c}": row for c, row in enumerate(attributes)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="timed rounds")
    parser.add_argument("--output", default="results/zero_shot_costs.json", help="the JSON file to write")
    arguments = parser.parse_args()
    x, y, described = world()
    turns = timing.turns({"eszsl": lambda: kt.models.ESZSL.solve(x, y, described)}, arguments.rounds)
    timing.write({"seconds": timing.medians(turns.seconds)}, arguments.output)
