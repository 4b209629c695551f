"""Backbones to choose from: what scores them, and what each learns in each family of methods."""

import functools
import time

import keras
import numpy as np

import keras_transfer as kt
from keras_transfer.recipes.few_labels import by_batches, predict

PLAIN, VIEWS, TUNED = "logistic regression", "logistic regression on views", "fine-tuned"


def score(features, labels):
    """Returns what features say of labels before anything trains on them, `{"log_me": ..., "h_score": ...}`."""
    return {"log_me": kt.metrics.log_me(features, labels), "h_score": kt.metrics.h_score(features, labels)}


def shortlist(scores, number):
    """Returns the names of the backbones with the highest LogME, best first; `scores` is `{name: score(...)}`."""
    return sorted(scores, key=lambda name: -scores[name]["log_me"])[:number]


def recommend(held_out):
    """Returns the arm that tells most held-out pictures right; of equal ones the first.

    Args:
        held_out: `{arm: accuracy}` by cross-validation on labelled pictures, what costs less before what costs more.
    """
    return max(held_out, key=held_out.get)


def folds_of(labels, groups, number):
    """Returns pairs of the places that train and that are held out: a share of each class, groups whole.

    Raises:
        ValueError: if a class has a single picture, or group, that trains, or groups leave none of a class.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    own = np.arange(len(labels)) if groups is None else groups
    number = min(number, *(len(np.unique(own[labels == label])) for label in np.unique(labels)))
    if number < 2:
        raise ValueError(
            "Expected at least 2 labelled pictures of each class beside those that test, or 2 groups, one of which is "
            "held out; received a class with one."
        )
    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    splits = kind(number, shuffle=True, random_state=0).split(labels, labels, groups)
    whole = [(train, held_out) for train, held_out in splits if set(labels[train]) == set(labels)]
    if len(whole) < 2:
        raise ValueError(
            f"Expected at least 2 ways to hold out whole groups that leave every class to train on; received "
            f"{len(whole)} of {number}."
        )
    return whole


class Candidate:
    """A backbone that learns from labelled pictures, in each family.

    Args:
        name: its name.
        encoder: network from pictures to features, which stays as it is.
        x: uint8 array `(n, height, width, 3)`.
        y: int array `(n,)`.
        groups: array `(n,)` of what belongs together, or None.
        augment: layer that makes a view of each picture.
        views: int, views of each picture, itself among them.
        settings: further arguments of `kt.finetuning.tune`.
    """

    def __init__(self, name, encoder, x, y, groups, augment, views, settings):
        self.name, self.encoder, self.augment, self.views, self.settings = name, encoder, augment, views, settings
        self.x, self.y, self.groups = x, y, groups

    @functools.cached_property
    def features(self):
        """The features `(views * n, dim)`, those of the pictures themselves first; views are made and forgotten."""
        found = [kt.backbones.cached_features(self.encoder, self.x, verbose=False)]
        for _ in range(self.views - 1):
            view = by_batches(lambda rows: np.array(self.augment(rows.astype("float32"), training=True)), self.x)
            found.append(kt.backbones.cached_features(self.encoder, np.clip(view, 0, 255), verbose=False))
        return np.concatenate(found)

    def probe(self, places, views):
        """Returns the tuned logistic regression of some pictures, or of their views."""
        rows = (np.arange(views)[:, None] * len(self.y) + places).ravel()
        groups = None if self.groups is None else self.groups[places]
        return kt.metrics.tuned_probe(self.features[rows], self.y[places], views, groups)[0]

    def tuned(self, places):
        """Returns the backbone with a head, fine-tuned on some pictures, which choose all that is chosen."""
        groups = None if self.groups is None else self.groups[places]
        return kt.finetuning.tune(
            self.encoder, self.x[places], self.y[places], self.augment, self.views, groups=groups, **self.settings
        ).model

    def model(self, family):
        """Returns the model of a family that has learned from all pictures."""
        places = np.arange(len(self.y))
        if family == TUNED:
            return self.tuned(places)
        return keras.Sequential([self.encoder, kt.metrics.probe_head(self.probe(places, self._views(family)))])

    def compare(self, family, train, held_out):
        """Returns what a family tells of pictures held out, and how long it took: `accuracy` and `seconds`."""
        self.features  # noqa: B018, once for all regressions
        start, truth = time.perf_counter(), self.y[held_out]
        if family == TUNED:
            told = accuracy(self.tuned(train), self.x[held_out], truth)
        else:
            told = float(self.probe(train, self._views(family)).score(self.features[held_out], truth))
        return {"accuracy": told, "seconds": time.perf_counter() - start}

    def _views(self, family):
        return self.views if family == VIEWS else 1


def accuracy(model, images, labels):
    """Returns the share of right answers."""
    return float((predict(model, images).argmax(-1) == labels).mean())
