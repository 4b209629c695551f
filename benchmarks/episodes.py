"""Few-shot episodes per second, against a sampler in Python: `python -m benchmarks.episodes`.

5-way 1-shot with 15 queries, 28 x 28, from as many classes as Omniglot's test has (423 characters in 4 turns, 20 images
of each; random pixels, which cost the same). The Python sampler does what such samplers do: `random.sample` of classes
and of rows, and one array of their images; `from_generator` hands them to `fit` as tensors, as the stream does, and
beside it stands the sampler alone. All take turns in one process. Prints, and writes results/episodes.json.
"""

import argparse
import json
import os
import pathlib
import random
import time

import numpy as np
import tensorflow as tf

import keras_transfer as kt

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


def rate(batches, count, episodes_per_batch):
    """Episodes per second over `count` batches."""
    start = time.perf_counter()
    for _, _ in zip(range(count), batches):
        pass
    return count * episodes_per_batch / (time.perf_counter() - start)


def main(rounds, output):
    """Measures, prints, writes."""
    images = np.random.default_rng(0).integers(0, 256, (CLASSES * ROWS, 28, 28, 1)).astype("uint8")
    labels = np.repeat(np.arange(CLASSES), ROWS)
    sampler = python_sampler(images, labels)
    streams = {
        size: kt.streams.episodes(images, labels, WAYS, SHOTS, QUERIES, size, batches=10**9, seed=0) for size in (1, 32)
    }
    arms = {f"stream, {size} in a batch": (iter(stream), 2000 // size, size) for size, stream in streams.items()}
    signature = tf.nest.map_structure(tf.TensorSpec.from_tensor, tf.nest.map_structure(tf.constant, next(sampler)))
    generated = tf.data.Dataset.from_generator(lambda: sampler, output_signature=signature).prefetch(2)
    arms |= {
        "python, from_generator": (iter(generated), 300, 1),
        "python alone": (python_sampler(images, labels), 900, 1),
    }
    rates = {name: [] for name in arms}
    for number in range(-1, rounds):  # the first round warms up
        for name in list(arms)[:: 1 if number % 2 else -1]:
            found = rate(*arms[name])
            if number >= 0:
                rates[name].append(found)
    ratios = {
        f"{stream} / {python}": np.divide(rates[stream], rates[python]).tolist()
        for stream in list(arms)[:2]
        for python in list(arms)[2:]
    }
    result = {
        "episodes_per_second": {name: float(np.median(values)) for name, values in rates.items()},
        "median_ratio": {name: float(np.median(values)) for name, values in ratios.items()},
        "ratios": ratios,
        "load_average": os.getloadavg()[0],
    }
    print(json.dumps(result, indent=2))
    kt.report.write_whole(output, (json.dumps(result, indent=2) + "\n").encode())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="timed rounds (default: 15)")
    parser.add_argument("--output", type=pathlib.Path, default="results/episodes.json", help="where to write")
    main(**vars(parser.parse_args()))
