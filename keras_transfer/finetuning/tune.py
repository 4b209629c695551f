"""Fine-tuning on few labels with its settings chosen by cross-validation on these labels alone."""

import itertools
import time
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from keras_transfer.checks import check_finite, check_integer, check_number
from keras_transfer.finetuning.freezing import train_only
from keras_transfer.finetuning.interpolation import interpolate
from keras_transfer.finetuning.split import cut, part
from keras_transfer.finetuning.statistics import reestimate_batch_norm
from keras_transfer.keras_internals import all_layers
from keras_transfer.metrics.probes import linear_probe, probe_head, tuned_probe
from keras_transfer.metrics.scikit_learn import sklearn
from keras_transfer.networks import copy_network

LEAST = 4  # examples of a class, by fewer of which nothing is chosen
ROWS = 128  # by which BatchNormalization's statistics are estimated


class Setting(NamedTuple):
    """One way to fine-tune.

    Attributes:
        depth: share of the encoder's layers that train, from the output; 0 is the head alone.
        rate: learning rate of Adam at the start of a cosine decay to 0.
        steps: training steps.
        share: how far the weights go from where fine-tuning began (0) to where it ended (1), see `interpolate`.
    """

    depth: float
    rate: float
    steps: int
    share: float


class Tuned(NamedTuple):
    """What `tune` found.

    Attributes:
        model: `keras.Sequential` of the encoder's copy and the head, from inputs to logits `(batch, classes)`.
        chosen: the `Setting`; its share is 0 where the head alone was the best.
        scores: `{Setting: accuracy}` on examples held out; empty where there was nothing to choose or to choose by.
        probes: the fitted scikit-learn pipelines, which are the baseline: `plain` of the examples' frozen features, and
            `views` of those of all views.
        began: which of them the head began as, the better one.
        ends: weights of `model` before and after fine-tuning, for `interpolate`.
        fit: function of another `Setting`, of the depths that were passed, that fine-tunes `model` in that way on all
            labels and returns its `ends`.
        seconds: what it took.
    """

    model: keras.Model
    chosen: Setting
    scores: dict
    probes: dict
    began: str
    ends: tuple
    fit: Callable
    seconds: float


def tune(
    encoder,
    x,
    y,
    augment=None,
    views=16,
    depths=(0.5, 0.25),
    rates=(3e-4, 1e-3),
    steps=(100,),
    shares=(0.5, 1.0),
    folds=2,
    batch_size=16,
    groups=None,
    seed=0,
    verbose=True,
):
    """Fine-tunes a pretrained encoder on few labels; depth, rate, steps and share are chosen on these labels alone.

    A logistic regression of the frozen features, its penalty chosen by cross-validation, on plain examples or on views,
    whichever is better, is the head that everything begins from. Then the upper part of the encoder trains with it, the
    statistics of BatchNormalization are estimated anew, and the weights go back a share of the way.

    Every depth, rate and number of steps trains on all folds but the first and is tried on that; one of them goes
    through the other folds too, on which the shares, and the head alone as the last, are held out. What is taken is
    the first that is within one standard error of the best, paired by example: few labels tell little, so where they
    do not tell, the order of the arguments counts. With fewer than 4 examples of a class nothing is chosen: the first
    of each is taken.

    What does not train runs once: below the cut the features of all views are kept in memory. That needs an encoder of
    Keras layers with a place where one tensor goes on; any other trains as a whole, at any depth.

    Args:
        encoder: built network from inputs to features `(batch, dim)`. It stays as it is.
        x: array `(rows, ...)` of inputs.
        y: int array `(rows,)` of classes from 0; at least two examples of each are better than one.
        augment: layer or function from inputs to views of them; None trains on the examples as they are.
        views: int, views of each example, the example among them.
        depths: floats above 0, at most 1: shares of the layers with a kernel that train, from the output.
        rates: floats, learning rates.
        steps: ints, training steps.
        shares: floats above 0, at most 1, in the order of preference, as are depths, rates and steps.
        folds: int of at least 2.
        batch_size: int, rows in a step.
        groups: array `(rows,)` of what belongs together and is never held out in part, or None.
        seed: int.
        verbose: bool, whether to show a progress bar.

    Returns:
        A `Tuned`.

    Raises:
        ValueError: if there is no row, or not a label for each; a setting is out of range or has no value; classes are
            not 0, 1, ... without a gap, or fewer than two.

    Example:

    ```python
    backbone = kt.backbones.from_applications("MobileNetV2", input_shape=(128, 128, 3))
    flip = keras.Sequential([keras.layers.RandomFlip("horizontal"), keras.layers.RandomTranslation(0.1, 0.1)])
    tuned = kt.finetuning.tune(backbone, images, labels, flip)
    print(tuned.chosen, tuned.scores)
    kt.export(tuned.model, "saved_models/pets", images, classes=names)
    ```

    Reference:
        Kumar et al., Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution, ICLR 2022,
        arXiv:2202.10054 (the head first); Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022,
        arXiv:2109.01903 (the share).
    """
    start = time.perf_counter()
    x, y = np.asarray(x), np.asarray(y)
    _check(x, y, depths, rates, steps, shares)
    views = 1 if augment is None else check_integer(views, "views", 1)
    folds, batch_size = check_integer(folds, "folds", 2), check_integer(batch_size, "batch_size", 1)
    keras.utils.set_random_seed(seed)
    encoder = copy_network(encoder)
    untouched, logits = encoder.get_weights(), keras.layers.Dense(int(y.max()) + 1, name="logits")
    cuts = {depth: cut(encoder, depth) for depth in depths}
    parts, features = _parts(encoder, logits, cuts, _with_views(x, augment, views), y, views, batch_size)
    head = _Head(features, y, views, groups)
    different = {cuts[depth]: depth for depth in reversed(depths)}.values()  # of one cut the first depth
    tried = [depth for depth in depths if depth in different]
    ways = [Setting(*way, shares[0]) for way in itertools.product(tried, rates, steps)]
    held_out = _folds(y, groups, folds) if len(ways) * len(shares) > 1 else []
    fits = 1 + (len(ways) + len(held_out) - 1 if held_out else 0)
    bar = keras.utils.Progbar(fits, verbose=int(verbose), unit_name="fit")

    def right(way, fold):
        """Whether the held-out examples of a fold are told right, `{share: bools}`; share 0 is the head."""
        train = np.setdiff1d(np.arange(len(y)), fold)
        one = parts[way.depth]
        ends = one.fit(head.fitted(train), way, train, seed)
        bar.add(1)
        found = {share: one.predict(interpolate(*ends, share), fold) for share in (*shares, 0.0)}
        return {share: answers == y[fold] for share, answers in found.items()}

    chosen, scores = ways[0], {}
    if held_out:
        first = {way: right(way, held_out[0]) for way in ways}
        chosen = _preferred({way: max((first[way][share] for share in shares), key=np.mean) for way in ways})
        every = [first[chosen], *(right(chosen, fold) for fold in held_out[1:])]
        told = {share: np.concatenate([fold[share] for fold in every]) for share in (*shares, 0.0)}
        scores = {chosen._replace(share=share): float(one.mean()) for share, one in told.items()}
        chosen = chosen._replace(share=_preferred(told))

    def fit(way):
        """Fine-tunes on all labels; returns the weights of the whole model before and after."""
        encoder.set_weights(untouched)  # another depth has changed them
        one = parts[way.depth]
        ends = one.fit(head.fitted(everything), way, everything, seed)
        check_finite(ends[1], f"weights after fine-tuning at the rate {way.rate}")
        return tuple(one.whole(model, weights) for weights in ends)

    model, everything = keras.Sequential([encoder, logits]), np.arange(len(y))
    ends = fit(chosen)
    bar.add(1)
    model.set_weights(interpolate(*ends, chosen.share))
    return Tuned(model, chosen, scores, head.probes, head.began, ends, fit, time.perf_counter() - start)


def _check(x, y, depths, rates, steps, shares):
    if x.ndim == 0 or x.dtype == object:
        raise ValueError(f"Expected `x` to be an array of numbers; received {x.dtype} of shape {x.shape}.")
    if len(x) == 0 or y.shape != (len(x),):
        raise ValueError(f"Expected rows and a label for each; received {len(x)} rows and labels of shape {y.shape}.")
    if not np.issubdtype(y.dtype, np.integer) or not np.array_equal(np.unique(y), np.arange(max(2, y.max() + 1))):
        raise ValueError(
            f"Expected labels of at least two classes 0, 1, ..., each of them there; received {np.unique(y)[:20]}."
        )
    for name, values in {"depths": depths, "rates": rates, "steps": steps, "shares": shares}.items():
        if not len(values):
            raise ValueError(f"Expected at least one of `{name}`; received none.")
    for value in (*depths, *shares):
        check_number(value, "depths` and `shares", above=0, most=1)
    for rate in rates:
        check_number(rate, "rates", above=0)
    for number in steps:
        check_integer(number, "steps", 1)


def _with_views(x, augment, views):
    """The examples, then their views, block by block, of the examples' type."""
    made = [ops.convert_to_numpy(_augmented(augment, x)) for _ in range(views - 1)]
    if x.dtype == np.uint8:
        made = [np.clip(np.rint(view), 0, 255).astype("uint8") for view in made]
    return np.concatenate([x, *made])


def _augmented(augment, x):
    x = ops.convert_to_tensor(x, "float32")
    return augment(x, training=True) if isinstance(augment, keras.Layer) else augment(x)


def _folds(y, groups, folds):
    """Places to hold out, fold by fold; none where a class has too few examples or groups.

    Groups may leave a fold empty, or training without a class: such a fold tells nothing.
    """
    own = np.arange(len(y)) if groups is None else np.asarray(groups)
    least = min(len(np.unique(own[y == label])) for label in np.unique(y))
    if least < LEAST:
        return []
    split = sklearn("model_selection").StratifiedGroupKFold(min(folds, least), shuffle=True, random_state=0)
    return [fold for train, fold in split.split(y, y, own) if len(fold) > 1 and set(y[train]) == set(y)]


def _preferred(told):
    """The first key whose answers are within a standard error of the best one's, paired by example."""
    best = max(told.values(), key=np.mean).astype(float)
    behind = {key: best - right for key, right in told.items()}
    return next(key for key, by in behind.items() if by.mean() <= by.std(ddof=1) / np.sqrt(len(by)))


class _Head:
    """The logistic regression that fine-tuning begins from: on plain examples or on views, with its penalty."""

    def __init__(self, features, y, views, groups):
        self.features, self.y, self.blocks = features, y, views
        found = {"plain": tuned_probe(features[: len(y)], y, 1, groups)}
        if views > 1:
            found["views"] = tuned_probe(features, y, views, groups)
        self.probes = {name: probe for name, (probe, _) in found.items()}
        self.began = max(found, key=lambda name: max(found[name][1].values(), default=0.0))
        scores = found[self.began][1]
        self.penalty = max(scores, key=scores.get, default=1.0)

    def fitted(self, places):
        """Returns the head, as a layer, that learned from some examples."""
        blocks = self.blocks if self.began == "views" else 1
        rows = (np.arange(blocks)[:, None] * len(self.y) + places).ravel()
        return probe_head(linear_probe(self.features[rows], np.tile(self.y[places], blocks), self.penalty / blocks))


def _parts(encoder, head, cuts, rows, y, views, batch_size):
    """Returns `{depth: _Part}` and the features of all rows, in one pass through the encoder as it is."""
    parts, below, inputs, upper = {}, None, rows, encoder
    for depth, place in sorted(cuts.items(), reverse=True):
        if place is not None and place != below:
            inputs = part(encoder, below, place).predict(inputs, batch_size=64, verbose=0)
            below, upper = place, part(encoder, place, None)
        parts[depth] = _Part(upper, head, inputs, y, views, batch_size)
    return parts, upper.predict(inputs, batch_size=64, verbose=0)


class _Part:
    """The upper part of an encoder and a head, with what reaches it of every row."""

    def __init__(self, upper, head, inputs, y, views, batch_size):
        self.upper, self.inputs, self.y, self.views, self.batch_size = upper, inputs, y, views, batch_size
        train_only(self.upper, ".*")
        self.model = keras.Sequential([self.upper, head])
        self.model.build(self.upper.input_shape)
        self.begin = self.upper.get_weights()
        self.schedule = _Cosine()
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self.model.compile(keras.optimizers.Adam(self.schedule), loss)
        self.model.optimizer.build(self.model.trainable_variables)
        self.first = [variable.numpy() for variable in self.model.optimizer.variables]  # no zeros: a loss has a scale

    def fit(self, head, way, places, seed):
        """Trains on all views of some examples; returns the weights of part and head before and after."""
        rows = (np.arange(self.views)[:, None] * len(self.y) + places).ravel()
        begin = [*self.begin, *head.get_weights()]
        self.model.set_weights(begin)
        for variable, value in zip(self.model.optimizer.variables, self.first):
            variable.assign(value)
        self.schedule.rate.assign(way.rate)
        self.schedule.steps.assign(way.steps)
        rng, count = np.random.default_rng(seed), way.steps * self.batch_size
        order = np.concatenate([rng.permutation(rows) for _ in range(-(-count // len(rows)))])[:count]
        labels = np.tile(self.y, self.views)
        self.model.fit(self.inputs[order], labels[order], self.batch_size, shuffle=False, verbose=0)
        if any(isinstance(layer, keras.layers.BatchNormalization) for layer in all_layers(self.upper)):
            reestimate_batch_norm(self.upper, self.inputs[rng.permutation(rows)[:ROWS]], 2 * self.batch_size)
        return begin, self.model.get_weights()

    def predict(self, weights, places):
        """Returns the classes that the model with such weights tells of some examples."""
        self.model.set_weights(weights)
        return self.model.predict(self.inputs[places], batch_size=64, verbose=0).argmax(-1)

    def whole(self, model, weights):
        """Returns the weights of the whole model that go with those of part and head."""
        self.model.set_weights(weights)
        return model.get_weights()


class _Cosine(keras.optimizers.schedules.LearningRateSchedule):
    """A cosine decay to 0 whose start and length are variables, so that one trained graph takes any."""

    def __init__(self):
        self.rate, self.steps = (keras.Variable(1.0, trainable=False) for _ in range(2))

    def __call__(self, step):
        done = ops.minimum(ops.cast(step, "float32") / self.steps, 1.0)
        return self.rate * 0.5 * (1 + ops.cos(np.pi * done))

    def get_config(self):
        return {}
