"""Step time of two tasks by weighting: `python -m benchmarks.tasks`.

36 x 36 images, batches of 256, Adam. The encoder has three 3 x 3 convolutions of 16, 32 and 64 with pooling, dropout
and a Dense of 128; with `--batch-norm` a BatchNormalization behind each convolution. Every weighting trains through
`fit` in turn, in one process, forwards and backwards; ratios to no weighting, of neighbouring epochs.
Prints, and writes results/tasks.json. About 2 minutes on two cores that are idle otherwise.
"""

import argparse
import json
import os
import pathlib
import time

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import keras_transfer as kt

ROWS, STEPS = 256, 30
WEIGHTINGS = {
    "equal": lambda: None,
    "Uncertainty": kt.weightings.Uncertainty,
    "DynamicWeightAverage": kt.weightings.DynamicWeightAverage,
    "RandomWeighting": kt.weightings.RandomWeighting,
    "GradNorm on the representation": kt.weightings.GradNorm,
    "MGDA on the representation": lambda: kt.weightings.MGDA(on="representation"),
    "MGDA": kt.weightings.MGDA,
    "PCGrad": kt.weightings.PCGrad,
    "CAGrad": kt.weightings.CAGrad,
}


def build(weighting, tasks, batch_norm):
    """Returns a new compiled model."""
    keras.utils.set_random_seed(0)
    parts = [keras.Input((36, 36, 1)), layers.Rescaling(1 / 255)]
    for filters in (16, 32, 64):
        normalization = [layers.BatchNormalization()] if batch_norm else []
        parts += [layers.Conv2D(filters, 3, padding="same"), *normalization, layers.ReLU(), layers.MaxPooling2D()]
    parts += [layers.Flatten(), layers.Dropout(0.3), layers.Dense(128, activation="relu")]
    heads = {task: keras.Sequential([keras.Input((128,)), layers.Dense(10)]) for task in tasks}
    model = kt.models.SharedEncoder(keras.Sequential(parts), heads, weighting)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(), loss, weighted_metrics=[["accuracy"]] * len(tasks))
    return model


def main(rounds, batch_norm, output):
    """Measures, prints, writes."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (STEPS * ROWS, 36, 36, 1)).astype("uint8")
    labels = {task: rng.integers(0, 10, len(images)).astype("int32") for task in ("left", "right")}
    stream = kt.streams.prefetched(tf.data.Dataset.from_tensor_slices((images, labels)).batch(ROWS))
    models = {name: build(make(), labels, batch_norm) for name, make in WEIGHTINGS.items()}
    found, load = {name: [] for name in models}, os.getloadavg()[0]
    for turn in range(rounds + 1):  # the first traces
        for name in list(models)[:: (-1) ** turn]:
            start = time.perf_counter()
            models[name].fit(stream, shuffle=False, verbose=0)
            if turn:
                found[name].append((time.perf_counter() - start) / STEPS * 1e3)
    ratios = {name: np.quantile(np.divide(times, found["equal"]), [0.25, 0.5, 0.75]) for name, times in found.items()}
    result = {
        "network": {"batch_norm": batch_norm, "parameters": models["equal"].count_params()},
        "ratio": {name: values[1] for name, values in ratios.items()},
        "quartiles": {name: [values[0], values[2]] for name, values in ratios.items()},
        "milliseconds": found,
        "load_average": load,
    }
    print(json.dumps(result, indent=2))
    kt.report.write_whole(output, (json.dumps(result, indent=2) + "\n").encode())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8, help="timed epochs of each weighting (default: 8)")
    parser.add_argument("--batch-norm", action="store_true", help="with BatchNormalization")
    parser.add_argument("--output", type=pathlib.Path, default="results/tasks.json", help="where to write")
    main(**vars(parser.parse_args()))
