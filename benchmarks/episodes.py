"""Few-shot episodes per second, against a sampler in Python: `python -m benchmarks.episodes`.

5-way 1-shot with 15 queries, 28 x 28, from as many classes as Omniglot's test has (423 characters in 4 turns, 20 images
of each; random pixels, which cost the same). The Python sampler does what such samplers do: `random.sample` of classes
and of rows, and one array of their images; `from_generator` hands them to `fit` as tensors, as the stream does, and
beside it stands the sampler alone. Prints, and writes results/episodes.json.
"""

import argparse
import itertools
import pathlib
import random

import numpy as np
import tensorflow as tf

import keras_transfer as kt
from benchmarks import timing

CLASSES, ROWS, WAYS, SHOTS, QUERIES = 4 * 423, 20, 5, 1, 15


def python_sampler(images, labels):
    """Yields episodes as `kt.streams.episodes` does."""
    rows = {c: np.flatnonzero(labels == c).tolist() for c in np.unique(labels)}
    classes = list(rows)
    numbers = np.repeat(np.arange(WAYS, dtype="int32"), SHOTS), np.repeat(np.arange(WAYS, dtype="int32"), QUERIES)
    while True:
        support, query = [], []
        for c in random.sample(classes, WAYS):
            drawn = random.sample(rows[c], SHOTS + QUERIES)
            support += drawn[:SHOTS]
            query += drawn[SHOTS:]
        x = np.stack([images[i] for i in support])[None], np.stack([images[i] for i in query])[None]
        yield {"support": (x[0], numbers[0][None]), "query": x[1]}, numbers[1][None]


def main(rounds, output):
    """Measures, prints, writes."""
    images = np.random.default_rng(0).integers(0, 256, (CLASSES * ROWS, 28, 28, 1)).astype("uint8")
    labels = np.repeat(np.arange(CLASSES), ROWS)
    sampler = python_sampler(images, labels)
    streams = {
        size: kt.streams.episodes(images, labels, WAYS, SHOTS, QUERIES, size, batches=10**9, seed=0) for size in (1, 32)
    }
    sources = {f"stream, {size} in a batch": (iter(stream), 2000 // size, size) for size, stream in streams.items()}
    signature = tf.nest.map_structure(tf.TensorSpec.from_tensor, tf.nest.map_structure(tf.constant, next(sampler)))
    generated = tf.data.Dataset.from_generator(lambda: sampler, output_signature=signature).prefetch(2)
    sources |= {
        "python, from_generator": (iter(generated), 300, 1),
        "python alone": (python_sampler(images, labels), 900, 1),
    }

    def take(batches, count):
        for _ in itertools.islice(batches, count):
            pass

    arms = {name: lambda source=source: take(*source[:2]) for name, source in sources.items()}
    found = timing.turns(arms, rounds)
    rates = {name: np.divide(count * size, found.seconds[name]) for name, (_, count, size) in sources.items()}
    pairs = {f"{stream} / {python}": (stream, python) for stream in list(sources)[:2] for python in list(sources)[2:]}
    compared = {name: timing.compared(rates, *pair) for name, pair in pairs.items()}
    result = {
        "episodes_per_second": timing.medians(rates),
        "median_ratio": {name: found["ratio"] for name, found in compared.items()},
        "ratios": {name: found["ratios"] for name, found in compared.items()},
        "load_average": found.load_average,
    }
    timing.write(result, output)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="timed rounds (default: 15)")
    parser.add_argument("--output", type=pathlib.Path, default="results/episodes.json", help="where to write")
    main(**vars(parser.parse_args()))
