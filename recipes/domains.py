"""What is trained on two domains, of which one has no labels, and what can be said of it with labels and without.

An arm is trained on rows: the images, or a pretrained backbone's features of them, which each domain's own mean and
deviation standardise.
"""

import functools
import math
import time
from typing import NamedTuple

import keras
import numpy as np
from keras import layers

import keras_transfer as kt
from keras_transfer.recipes import runs

# The highest weight of each method: on a pretrained backbone's features, and where all weights train.
PEAKS = {
    "mcc": (1.0, 1.0),
    "information": (1.0, 1.0),
    "bnm": (1.0, 1.0),
    "dan": (1.0, 1.0),
    "jan": (1.0, 1.0),
    "dann": (0.1, 0.3),
    "cdan": (0.1, 0.3),
    "wdgrl": (0.1, 0.1),
    "mcd": (1.0, 1.0),
    "mdd": (0.1, 0.1),
    "deep_coral": (1.0, 100.0),
    "deep_jdot": (1.0, 1.0),
}
TERMS = {
    "mcc": kt.losses.MCC(),
    "information": kt.losses.negative_information,
    "bnm": kt.losses.negative_nuclear_norm,
}
FLATTERED = ("information", "shot")  # trained on the score that chooses
LEAST = 20  # steps in an epoch, about, where a pass over the source has fewer
MOST = 500  # pictures of each domain by which their distance is measured


class Domain(NamedTuple):
    """Pictures of one domain, and what trains.

    Args:
        images: uint8 array `(n, height, width, channels)`, or `kt.datasets.ImageFiles`.
        rows: the images, or a pretrained backbone's features of them `(n, dim)`.
        labels: integer array `(n,)`, -1 for what has none; None where nothing has.
        groups: array `(n,)` of what belongs together, or None.
        paths: paths of the pictures on disk, or None.
    """

    images: np.ndarray | kt.datasets.ImageFiles
    rows: np.ndarray
    labels: np.ndarray | None = None
    groups: np.ndarray | None = None
    paths: tuple | None = None


class Arm(NamedTuple):
    """What an arm has learned: networks from rows of either domain to features, and from features to logits."""

    source: keras.Model
    target: keras.Model
    head: keras.Model


def scaling(features):
    """Returns the layer that standardises features by these rows, none of them by less than a tenth of the usual."""
    variance = features.var(0, dtype="float64")
    variance = np.maximum(variance, max(1e-2 * variance.mean(), 1e-12))  # what hardly varies here may elsewhere
    return layers.Normalization(mean=features.mean(0, dtype="float64"), variance=variance)


def chain(shape, *parts):
    """Returns networks one after another as one, from an input of a shape."""
    return keras.Sequential([keras.Input(shape), *parts])


def build(shape, classes):
    """Returns new networks: the encoder of features or images of a shape, and a head."""
    if len(shape) == 1:
        encoder = chain(shape, layers.Dropout(0.5), layers.Dense(256, activation="relu"))
    else:
        encoder = kt.backbones.small_cnn(shape, momentum=0.9)
    return encoder, chain(encoder.output_shape[-1:], layers.Dense(classes))


def make(arm, encoder, head, ramp, frozen):
    """Returns the model that an arm trains."""
    m, (dim, classes) = kt.models, (encoder.output_shape[-1], head.output_shape[-1])

    def adversary(inputs=dim, outputs=1):
        return chain((inputs,), layers.Dense(256, activation="relu"), layers.Dense(outputs))

    if arm == "source_only":
        return keras.Sequential([encoder, head])
    weight = ramp(peak=PEAKS[arm][0 if frozen else 1])
    if arm in TERMS:
        return m.TargetTerms(encoder, head, {arm: (TERMS[arm], weight)})
    return {
        "dan": lambda: m.DAN(encoder, head, mmd_weight=weight),
        "jan": lambda: m.JAN(encoder, head, mmd_weight=weight),
        "dann": lambda: m.DANN(encoder, head, adversary(), reversal=weight),
        "cdan": lambda: m.CDAN(encoder, head, adversary(dim * classes), reversal=weight),
        "wdgrl": lambda: m.WDGRL(encoder, head, adversary(), reversal=weight),
        "mcd": lambda: m.MCD(encoder, head, chain((dim,), layers.Dense(classes)), agreement_weight=weight),
        "mdd": lambda: m.MDD(encoder, head, adversary(dim, classes), reversal=weight),
        "deep_coral": lambda: m.DeepCORAL(encoder, head, coral_weight=weight),
        "deep_jdot": lambda: m.DeepJDOT(encoder, head, transport_weight=weight),
    }[arm]()


def train(config, arm, seed, data, classes, frozen, oracle=False):
    """Trains a network on both domains; returns an `Arm` and the history.

    With `oracle` the history holds each epoch's score, and the accuracy on the target that choosing by it would get.
    """
    keras.utils.set_random_seed(seed)
    rows, scales = {name: data[name].rows for name in ("source", "target")}, None
    if frozen:
        scales = {name: scaling(features) for name, features in rows.items()}
        rows = {name: np.asarray(scale(rows[name])) for name, scale in scales.items()}
    size = min(config.batch_size, *map(len, rows.values()))
    stream = kt.streams.domains(
        (rows["source"], data["source"].labels),
        rows["target"],
        size,
        classes=classes,
        seed=seed,
        check_range=not frozen,
    )
    stream = stream.repeat(max(1, LEAST // len(stream)))  # what happens between epochs takes its time
    epochs, shape = math.ceil(config.steps / len(stream)), rows["source"].shape[1:]
    steps, (encoder, head) = epochs * len(stream), build(shape, classes)
    if arm == "source_only":
        stream = stream.map(lambda x, y: (x["source"], y))
    model = make(arm, encoder, head, functools.partial(kt.schedules.DannRamp, config.ramp * steps), frozen)
    rate = keras.optimizers.schedules.CosineDecay(config.learning_rate, steps)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
    watched = [runs.progress(f"{arm}, seed {seed}", epochs)]
    if oracle:
        watched += [
            kt.callbacks.TargetScore(rows["target"], collapse=0.0),
            Oracle(rows["target"], data["target"].labels),
        ]
    history = model.fit(stream, epochs=epochs, shuffle=False, verbose=0, callbacks=watched).history
    both = [chain(shape, scales[name], encoder) if frozen else encoder for name in ("source", "target")]
    return Arm(*both, head), history


def regressions(data, encoder=None, standardise=True):
    """Fits a logistic regression to the source; returns it as the `Arm` of either standardisation of the target.

    `logistic_regression_coral` is fitted to features that `kt.models.align_covariances` gives the target's covariance,
    both standardised by their own domain.

    Args:
        data: `{"source": Domain, "target": Domain}`.
        encoder: network from rows to features; None where rows are features.
        standardise: bool; if False there is the one `logistic_regression`, of features as they are.
    """
    if not standardise:
        probe, _ = kt.metrics.tuned_probe(data["source"].rows, data["source"].labels, standardise=False)
        rows = chain(data["source"].rows.shape[1:], layers.Identity())
        return {"logistic_regression": Arm(rows, rows, chain(rows.output_shape[1:], kt.metrics.probe_head(probe)))}
    shape, before = data["source"].rows.shape[1:], [] if encoder is None else [encoder]
    features = {name: predict(encoder, data[name].rows) if before else data[name].rows for name in ("source", "target")}
    scales = {name: scaling(rows) for name, rows in features.items()}
    standardised = np.asarray(scales["source"](features["source"]))
    probe, _ = kt.metrics.tuned_probe(standardised, data["source"].labels, groups=data["source"].groups)
    source, target = (chain(shape, *before, scales[name]) for name in ("source", "target"))
    head = chain((standardised.shape[1],), kt.metrics.probe_head(probe))
    aligned = kt.models.align_covariances(standardised, np.asarray(scales["target"](features["target"])))
    probe, _ = kt.metrics.tuned_probe(aligned, data["source"].labels, groups=data["source"].groups)
    coral = chain((standardised.shape[1],), kt.metrics.probe_head(probe))
    return {
        "logistic_regression": Arm(source, source, head),
        "logistic_regression_scaled": Arm(source, target, head),
        "logistic_regression_coral": Arm(source, target, coral),
    }


def choose(scores):
    """Returns the arm of which the predictions for the target carry most information.

    Arms that are trained on this score are flattered by it: they are chosen only where there is no other method.

    Args:
        scores: `{arm: information}`, the source alone among them.
    """
    judged = [arm for arm in scores if arm not in FLATTERED]
    methods = [arm for arm in judged if not arm.startswith("source_only")]
    return max(judged if methods else scores, key=scores.get)


class Oracle(keras.callbacks.Callback):
    """Writes the accuracy on the target's test set into the logs, which nothing may be chosen by.

    It is what a choice of the epoch without labels is held against.
    """

    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x, y

    def on_epoch_end(self, epoch, logs=None):
        """Measures."""
        logs["oracle_accuracy"] = float((self.model.predict_on_batch(self.x).argmax(-1) == self.y).mean())


def epochs_chosen(histories):
    """Returns what choosing the epoch costs, `{arm: {epoch: mean accuracy over the seeds}}`.

    Epochs are the `last`, the one of which `target_information` is highest (`score`) and that of the highest accuracy
    on the target's test set (`oracle`).

    Args:
        histories: `{arm: [history of each seed]}`, without those of arms that have none.
    """
    found = {}
    for arm, seeds in histories.items():
        seeds = [(h["target_information"], h["oracle_accuracy"]) for h in seeds if "oracle_accuracy" in h]
        if seeds:
            places = {"last": lambda score, _: -1, "score": lambda score, _: np.argmax(score)}
            places["oracle"] = lambda _, accuracy: np.argmax(accuracy)
            found[arm] = {name: float(np.mean([of[1][place(*of)] for of in seeds])) for name, place in places.items()}
    return found


def predict(network, rows):
    """Returns what a network answers to rows, as an array."""
    return network.predict(rows, batch_size=256, verbose=0)


def nearest_neighbour(data):
    """Returns the metrics of the nearest row of the source, each domain standardised by itself."""
    from sklearn.neighbors import KNeighborsClassifier

    start = time.perf_counter()
    rows = {name: np.asarray(scaling(data[name].rows)(data[name].rows)) for name in ("source", "target")}
    scaled = np.asarray(scaling(data["source"].rows)(data["source_test"].rows))
    neighbours = KNeighborsClassifier(1).fit(rows["source"], data["source"].labels)
    answers = [30.0 * neighbours.predict_proba(of) for of in (scaled, rows["target"])]  # as logits: it is sure
    return measured(*answers, scaled, rows["target"], data, time.perf_counter() - start)[0]


def test(arm, data, seconds):
    """Returns the metrics of an `Arm`, and the share of the target that it predicts to be of each class."""
    source, target = predict(arm.source, data["source_test"].rows), predict(arm.target, data["target"].rows)
    return measured(predict(arm.head, source), predict(arm.head, target), source, target, data, seconds)


def measured(source_logits, logits, source, target, data, seconds):
    """Returns metrics of predictions for both domains, and the share of the target that is told to be of each class.

    `domain_distance` is the proxy A-distance of the features that the head reads, 0 to 2.

    Args:
        source_logits: array `(rows, classes)`, of the source's test.
        logits: array `(n, classes)`, of the target.
        source: array `(rows, dim)`, features of the source's test.
        target: array `(n, dim)`, features of the target.
        data: `{"source_test": Domain, "target": Domain}`.
        seconds: float, what training took.
    """
    labels, answers, p = data["target"].labels, logits.argmax(-1), np.asarray(keras.ops.softmax(logits))
    metrics = {"source_accuracy": float((source_logits.argmax(-1) == data["source_test"].labels).mean())}
    if labels is not None:
        known = labels >= 0
        metrics["target_accuracy"] = float((answers == labels)[known].mean())
    metrics["target_information"] = kt.metrics.information(logits)
    metrics["target_confidence"] = float(p.max(-1).mean())
    few = [rows[np.random.default_rng(0).permutation(len(rows))[:MOST]] for rows in (source, target)]
    metrics["domain_distance"] = kt.metrics.proxy_a_distance(*few)
    shares = np.bincount(answers, minlength=logits.shape[1]) / len(answers)
    return metrics | {"seconds": seconds}, shares.tolist()
