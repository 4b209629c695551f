"""Step time of two tasks by weighting: `python -m benchmarks.tasks`.

36 x 36 images, batches of 256, Adam. The encoder has three 3 x 3 convolutions of 16, 32 and 64 with pooling, dropout
and a Dense of 128; with `--batch-norm` a BatchNormalization behind each convolution. Every weighting trains through
`fit` in turn, an epoch each; ratios to no weighting.
Prints, and writes results/tasks.json. About 2 minutes on two cores that are idle otherwise.
"""

import argparse
import pathlib

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import keras_transfer as kt
from benchmarks import timing

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
    arms = {name: lambda model=model: model.fit(stream, shuffle=False, verbose=0) for name, model in models.items()}
    found = timing.turns(arms, rounds)
    ratios = {name: timing.compared(found.seconds, name, "equal") for name in models}
    result = {
        "network": {"batch_norm": batch_norm, "parameters": models["equal"].count_params()},
        "ratio": {name: compared["ratio"] for name, compared in ratios.items()},
        "quartiles": {name: compared["quartiles"] for name, compared in ratios.items()},
        "milliseconds": timing.milliseconds(found.seconds, STEPS),
        "load_average": found.load_average,
    }
    timing.write(result, output)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8, help="timed epochs of each weighting (default: 8)")
    parser.add_argument("--batch-norm", action="store_true", help="with BatchNormalization")
    parser.add_argument("--output", type=pathlib.Path, default="results/tasks.json", help="where to write")
    main(**vars(parser.parse_args()))
