"""What a few labels are worth on features, and on all weights: each choice is made by a validation part."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import keras_transfer as kt
from keras_transfer.recipes import runs

PENALTIES = (0.01, 0.1, 1.0)  # inverse ones, of probes
RATES = (1e-3, 3e-3)  # of Adam


def draw(labels, per_class, seed):
    """Returns the places of the labelled images."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.permutation(np.flatnonzero(labels == c))[:per_class] for c in np.unique(labels)])


def probe_few(features, labels, few):
    """Returns the probe of few labels whose penalty the validation part likes best, and its accuracies there."""
    train = features["train"][few], labels["train"][few]
    probes = [kt.metrics.linear_probe(*train, penalty, steps=200) for penalty in PENALTIES]
    scores = [probe.score(features["validation"], labels["validation"]) for probe in probes]
    best = probes[np.argmax(scores)]
    return best, {"validation": max(scores), "test": best.score(features["test"], labels["test"])}


def fit_few(config, encoder, head, x, y, rate, seed, augmentation):
    """Trains an encoder and a head on few labels with the augmentation of the pretraining; returns the classifier."""
    shown = runs.progress(f"{len(x)} labels, seed {seed}, rate {rate}", config.steps, "step")
    keras.utils.set_random_seed(seed)
    augment = augmentation(config, x.shape[1:])
    rows = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(x), seed=seed).repeat().batch(64)
    stream = kt.streams.prefetched(rows.map(lambda x, y: (augment(x), y)))
    model = keras.Sequential([encoder, head])
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, config.steps))
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    model.fit(stream, steps_per_epoch=config.steps, shuffle=False, verbose=0, callbacks=[shown])
    return model


def best_of(train, x, y):
    """Trains at each of `RATES`; returns what the one gets that the validation part likes best, and its rate."""

    def accuracy(model, part):
        return float((model.predict(x[part], batch_size=500, verbose=0).argmax(-1) == y[part]).mean())

    models = [train(rate) for rate in RATES]
    scores = [accuracy(model, "validation") for model in models]
    best = int(np.argmax(scores))
    return {"validation": scores[best], "test": accuracy(models[best], "test"), "rate": RATES[best]}


def compare(config, seed, encoder, build_encoder, augmentation, x, y):
    """Compares what few labels are worth on a pretrained encoder, on a new one and on pixels.

    Args:
        config: settings, with `labels_per_class` and `steps`.
        seed: int, of the draw of the labels and of the trainings.
        encoder: pretrained network from images to features.
        build_encoder: function of an image's shape that returns a new network like it.
        augmentation: function of settings and an image's shape that returns the layers that make a view.
        x: `{part: images}` of `train`, `validation` and `test`.
        y: `{part: labels}`.

    Returns:
        `{arm: {"validation": accuracy, "test": accuracy}}`.
    """
    few = draw(y["train"], config.labels_per_class, seed)
    labelled, shape = (x["train"][few], y["train"][few]), x["train"].shape[1:]
    features = {part: encoder.predict(rows, batch_size=500, verbose=0) for part, rows in x.items()}
    pixels = {part: rows.reshape(len(rows), -1) / np.float32(255) for part, rows in x.items()}
    probe, found = probe_few(features, y, few)

    def lp_ft(rate):
        copy = build_encoder(shape)
        copy.set_weights(encoder.get_weights())
        return fit_few(config, copy, kt.metrics.probe_head(probe), *labelled, rate, seed, augmentation)

    def twin(rate):
        keras.utils.set_random_seed(seed)
        head = layers.Dense(len(np.unique(y["train"])))
        return fit_few(config, build_encoder(shape), head, *labelled, rate, seed, augmentation)

    arms = {"probe": found, "lp_ft": best_of(lp_ft, x, y), "twin": best_of(twin, x, y)}
    return arms | {"pixels_probe": probe_few(pixels, y, few)[1]}
