"""A small problem of classes that come in pairs, each pair in directions of its own."""

import keras
import numpy as np

import keras_transfer as kt

FEATURES, CLASSES = 8, 6
PAIRS = [[0, 1], [2, 3], [4, 5]]


def networks(outputs=CLASSES, units=24):
    encoder = keras.Sequential([keras.Input((FEATURES,)), keras.layers.Dense(units, activation="relu")])
    return encoder, keras.Sequential([keras.Input((units,)), keras.layers.Dense(outputs)])


def buffer(networks):
    """A buffer of ten rows for each of six classes."""
    return kt.layers.ReplayBuffer(60, (FEATURES,), networks[1].output_shape[-1], logits=True)


def rows(seed=0, number=240):
    rng = np.random.default_rng(seed)
    y = np.arange(number) % CLASSES
    centres = 2.5 * np.random.default_rng(7).normal(size=(CLASSES, FEATURES))
    return (centres[y] + rng.normal(size=(number, FEATURES))).astype("float32"), y.astype("int32")


def tasks(seed=0, relabel=False):
    return kt.streams.tasks(*rows(seed), PAIRS, relabel=relabel)


def compiled(model, rate=0.01, tasks=None, **arguments):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    metrics = ["accuracy"]
    if tasks is not None:
        loss, metrics = kt.losses.TaskCrossentropy(tasks), [kt.metrics.TaskAccuracy(tasks)]
    model.compile(keras.optimizers.Adam(rate), loss, metrics=metrics, **arguments)
    return model


def fit(model, x, y, epochs=8, seed=0):
    memory = model.memory if model.streams else None
    stream = kt.streams.replay((x, y), memory, 16, seed=seed)
    return model.fit(stream, epochs=epochs, shuffle=False, verbose=0)


def learn(model, seed=0, epochs=8, relabel=False):
    """Trains a model on all pairs, one after the other; returns the accuracy on each."""
    for x, y in tasks(seed, relabel):
        if model.fitted_first:
            fit(model, x, y, epochs)
            model.consolidate(x, y)
        else:
            model.consolidate(x, y)
            kept = model.memory.held()
            fit(model, kept["x"], kept["y"], epochs)
    return [model.evaluate(*one, verbose=0, return_dict=True)["accuracy"] for one in tasks(seed + 1, relabel)]
