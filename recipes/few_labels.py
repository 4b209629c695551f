"""What a few labels are worth on features, and on all weights: nothing but these labels chooses anything."""

import functools

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import keras_transfer as kt
from keras_transfer.recipes import runs

VIEWS = 5  # of each labelled image, for the probes of views
RATES = (1e-3, 3e-3)  # of Adam, to choose from
FOLDS = 5  # one part in so many of the labelled images chooses the rate
PIXELS = 32  # the largest side of images whose pixels are probed
READ, BATCH = 256, 64  # images in memory at once, and in a pass through a network


def draw(labels, per_class, seed):
    """Returns the places of the labelled images."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.permutation(np.flatnonzero(labels == c))[:per_class] for c in np.unique(labels)])


def pixels(images):
    """Returns images as rows of numbers in 0-1, larger ones reduced."""
    height, width = (min(PIXELS, side) for side in images.shape[1:3])
    if images.shape[1:3] != (height, width):
        images = np.array(kt.layers.RandomResizedCrop(height, width)(images, training=False))
    return np.asarray(images, "float32").reshape(len(images), -1) / 255


def features_of(encoder):
    """Returns the function from images to the features of an encoder."""
    return functools.partial(encoder.predict, batch_size=BATCH, verbose=0)


def by_batches(read, images):
    """Returns what a function makes of images in memory or on disk, of which a batch at a time is read."""
    return np.concatenate([read(images[start : start + READ]) for start in range(0, len(images), READ)])


def predict(network, images):
    """Returns what a network answers to images in memory or on disk."""
    return by_batches(features_of(network), images)


def probes(read, augment, few, test):
    """Measures logistic regressions of features, whose penalties cross-validation on the labels chooses.

    Args:
        read: function from images `(n, height, width, channels)` to features `(n, dim)`.
        augment: layer that makes a view of each image.
        few: the labelled images and their labels, and their groups or None.
        test: pair of features and labels.

    Returns:
        `{"probe": found, "views_probe": found}`, of the images as they are and of `VIEWS` views of each too; what is
        found are the accuracies `validation`, in cross-validation, and `test`, and the `penalty`, an inverse one.
    """
    (x, y, groups), found = few, {}
    rows = np.concatenate([by_batches(read, view) for view in (x, *(np.array(augment(x)) for _ in range(VIEWS)))])
    for name, views in (("probe", 1), ("views_probe", 1 + VIEWS)):
        probe, scores = kt.metrics.tuned_probe(rows[: views * len(x)], y, views, groups)
        penalty = max(scores, key=scores.get, default=1.0)
        accuracy = float(probe.score(*test))
        found[name] = {"validation": scores.get(penalty), "test": accuracy, "penalty": penalty}
    return found


def held_out(labels, groups=None):
    """Returns which labelled images choose the rate, bool `(n,)`: a share of each class, groups kept whole.

    None do where a class has but one, or one group, since no others of it would be left to train on.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    chosen, own = np.zeros(len(labels), bool), np.arange(len(labels)) if groups is None else groups
    folds = min(FOLDS, *(len(np.unique(own[labels == label])) for label in np.unique(labels)))
    if folds > 1:
        kind = StratifiedKFold if groups is None else StratifiedGroupKFold
        train, places = next(kind(folds, shuffle=True, random_state=0).split(labels, labels, groups))
        chosen[places] = set(labels[train]) == set(labels)
    return chosen


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


def best_of(train, few, test):
    """Trains at each of `RATES` without a part of the labelled images, and on all at the one that this part likes best.

    Args:
        train: function of images, labels, groups or None, and a rate that returns a classifier.
        few: the labelled images and their labels, and their groups or None.
        test: pair of images, in memory or on disk, and labels.

    Returns:
        The accuracies `validation`, on the part, None without one, and `test`, and the `rate`.
    """

    def accuracy(model, images, labels):
        return float((predict(model, images).argmax(-1) == labels).mean())

    (x, y, groups), scores = few, {}
    part = held_out(y, groups)
    for rate in RATES if part.any() else ():
        model = train(x[~part], y[~part], None if groups is None else groups[~part], rate)
        scores[rate] = accuracy(model, x[part], y[part])
    best = max(scores, key=scores.get, default=RATES[0])
    return {"validation": scores.get(best), "test": accuracy(train(*few, best), *test), "rate": best}


def arms(config, seed, encoder, new_encoder, others, augmentation, few, test, classes):
    """Returns what few labels can be used for, on a pretrained encoder and on what it is compared with.

    Args:
        config: settings, with `steps`.
        seed: int, of the trainings.
        encoder: pretrained network from images to features.
        new_encoder: function without arguments that returns a network like it, not pretrained here.
        others: `{name: function from images to features}` whose probes are baselines.
        augmentation: function of settings and an image's shape that returns the layers that make a view.
        few: the labelled images and their labels, and their groups or None.
        test: pair of images, in memory or on disk, and labels.
        classes: int.

    Returns:
        `{name: function}` of functions without arguments that return `{arm: {"validation": accuracy, "test": accuracy,
        ...}}`: of `probes` of the pretrained encoder and of each of the others, and of two trainings of all weights,
        `lp_ft`, which begins at the pretrained encoder and its probe, and `twin`, which begins anew.
    """
    shape = few[0].shape[1:]
    seen = {"": features_of(encoder), **{f"{name}_": read for name, read in others.items()}}

    def probed(prefix):
        keras.utils.set_random_seed(seed)
        tested = by_batches(seen[prefix], test[0]), test[1]
        found = probes(seen[prefix], augmentation(config, shape), few, tested)
        return {f"{prefix}{arm}": one for arm, one in found.items()}

    def trained(arm):
        def train(x, y, groups, rate):
            keras.utils.set_random_seed(seed)
            network, head = new_encoder(), layers.Dense(classes)
            if arm == "lp_ft":
                network.set_weights(encoder.get_weights())
                head = kt.metrics.probe_head(kt.metrics.tuned_probe(by_batches(seen[""], x), y, groups=groups)[0])
            return fit_few(config, network, head, x, y, rate, seed, augmentation)

        return {arm: best_of(train, few, test)}

    found = {f"{prefix}probes": functools.partial(probed, prefix) for prefix in seen}
    return found | {arm: functools.partial(trained, arm) for arm in ("lp_ft", "twin")}
