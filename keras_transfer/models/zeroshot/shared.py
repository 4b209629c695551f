"""What zero-shot methods share: classes that are what describes them, those seen in training kept in check."""

from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from keras_transfer import keras_internals
from keras_transfer.batches import check_inputs, check_labels
from keras_transfer.checks import check_finite, check_flag, check_integer, check_number
from keras_transfer.class_matrix import answered, checked_descriptions, class_logits, short, similarities
from keras_transfer.layers.prototypes import ABSENT
from keras_transfer.losses.contrastive import unit_rows
from keras_transfer.metrics.seen_unseen import class_accuracy
from keras_transfer.model import PREDICTION, TransferModel
from keras_transfer.networks import check_features, check_networks
from keras_transfer.signatures import Signature, embedded, named, own_prediction, plain_array, reader

_SCALES = np.geomspace(1.0, 100.0, 41)  # inverse temperatures that calibration chooses from
_NONE_UNKNOWN = -1e9  # no similarity is less
GATE = 4  # numbers of a gate, see `kt.metrics.seen_gate`


class DescribedClasses(TransferModel):
    """Classifies by what describes each class: by texts, by attributes, by whatever the describer takes.

    z       = projector(encoder(x))
    m_c     = mean over the descriptions of class c of describer(description), less the centre
    logit_c = z . m_c / T + b_c - penalty [c is a class seen in training]

    Where similarities are cosines, z, each description and m_c are scaled to length 1; otherwise they are as they are,
    so that the logit is a sum over the attributes of a class. Methods differ in how encoder and projector are found. In
    `fit` the loss knows the seen classes alone. The matrix of the m_c is made once, when the model is, and saved and
    served with it. `calibrate` sets T, b, the penalty or a gate in its place; `grow` returns a model of more classes.

    Args:
        encoder: built network from an input to features `(batch, features)`.
        projector: layer from features to the space of descriptions `(batch, dim)`.
        descriptions: dict of the names of the classes to lists of what describes each: strings, or vectors; of one
            vector alone, such as attributes, the vector itself. In the order of the logits.
        seen: names of the classes that training shows; None: all.
        describer: built network from descriptions to that space; None: they are vectors in it.
        centred: bool, whether the mean over the seen classes is the centre; else it is 0. What all descriptions have in
            common then tells nothing.
    """

    cosine = True
    """Whether similarities are cosines, or plain products."""

    def __init__(self, encoder, projector, descriptions, seen=None, describer=None, centred=False, **kwargs):
        towers = {"encoder": encoder} | ({} if describer is None else {"describer": describer})
        check_networks(projector=projector, **towers)
        super().__init__({"task": 1.0}, **kwargs)
        for name, tower in towers.items():
            if not tower.built:
                raise ValueError(f"Expected a built `{name}`; received {tower.name!r}, which has seen no batch yet.")
        self.descriptions = _checked(descriptions)
        self.seen = None if seen is None else _checked_seen(seen, self.descriptions)
        self.centred = check_flag(centred, "centred")
        self.encoder, self.projector, self.describer = encoder, projector, describer
        is_seen = np.array([self.seen is None or name in self.seen for name in self.descriptions])
        described = self._described()
        means = np.stack([part.mean(0) for part in described])
        centre = means[is_seen].mean(0) if centred else np.zeros(means.shape[1])
        lost = [name for name, row in zip(self.descriptions, means - centre) if not np.linalg.norm(row) > 1e-6]
        if lost:
            raise ValueError(f"Expected descriptions that tell a class; received zeros alone for {', '.join(lost)}.")
        vectors = self._finished(means - centre)
        self.class_matrix, self.centre = self.kept("class_matrix", vectors), self.kept("centre", centre)
        self.bias, self.scale = self.kept("bias", np.zeros(len(means))), self.kept("scale", 1.0)
        self.seen_mask, self.seen_penalty = self.kept("seen_mask", is_seen), self.kept("seen_penalty", 0.0)
        self.gate = self.kept("gate", np.zeros(GATE))
        self.least_similarity = self.kept("least_similarity", _NONE_UNKNOWN)
        width = self._width()
        if width != means.shape[1]:
            raise ValueError(
                f"Expected features of {means.shape[1]} numbers, as the descriptions have; received {width} from "
                f"{projector.name!r}."
            )
        self.built = True

    def kept(self, name, value):
        """Returns a new weight that does not train and begins with a value; in constructors."""
        initializer = lambda shape, dtype: ops.cast(ops.convert_to_tensor(value), dtype)  # noqa: E731
        return self.add_weight(
            shape=np.shape(value), initializer=initializer, trainable=False, autocast=False, name=name
        )

    def _described(self):
        """The vectors of the descriptions of each class, as the describer now is."""
        rows = [row for rows in self.descriptions.values() for row in rows]
        vectors = _vectors(rows) if self.tower is None else self.tower.predict(_array(rows), verbose=0)
        vectors = np.asarray(self._finished(vectors))
        ends = np.cumsum([0, *map(len, self.descriptions.values())])
        return [vectors[a:b] for a, b in zip(ends, ends[1:])]

    def _finished(self, vectors):
        """Vectors of length 1 where similarities are cosines; otherwise as they are."""
        return unit_rows(vectors) if self.cosine else ops.cast(vectors, "float32")

    @property
    def tower(self):
        """The network from descriptions to their vectors; None where they are vectors."""
        return self.describer

    def _width(self):
        """How many numbers `represent` returns; builds the projector."""
        shape = (None, self.encoder.output_shape[-1])
        if not self.projector.built:
            self.projector.build(shape)
        return self.projector.compute_output_shape(shape)[-1]

    def represent(self, x, training=False):
        """Computes features in the space of the descriptions `(batch, dim)`."""
        features = check_features(self.encoder(x, training=training), self.encoder)
        return self.projector(features, training=training)

    def infer(self, x, training=False):
        """Computes the logits `(batch, classes)`; in training those of unseen classes say that they cannot be."""
        found = similarities(self.represent(x, training), self.class_matrix, self.cosine)
        if training:
            return ops.where(self.seen_mask > 0, found * self.scale + self.bias, ABSENT)
        return class_logits(found, self.scale, self.bias, self.seen_mask, self.seen_penalty, self.gate)

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns `task`."""
        return {"task": self.task_loss(y, outputs[PREDICTION], sample_weight)}

    def check_data(self, x=None, y=None, *_, **__):
        """Checks arrays that `fit` and the like are called with."""
        check_inputs(x, self.layers)
        check_labels(y, whole=keras_internals.reads_class_numbers(self.loss), classes=len(self.descriptions))

    def check_training_data(self, x=None, y=None, *_, **__):
        """Refuses labels of classes that are not seen in training: class numbers, or a column for each class."""
        if y is None or self.seen is None:
            return
        y, names = np.asarray(y), list(self.descriptions)
        shown = np.flatnonzero((y > 0).any(0)) if y.shape[1:] == (len(names),) else np.unique(y).astype(int)
        wrong = [names[c] for c in shown if names[c] not in self.seen]
        if wrong:
            raise ValueError(
                f"Expected labels of the {len(self.seen)} classes in `seen` to train on; received some of unseen "
                f"classes: {', '.join(wrong[:5])}{' ...' if len(wrong) > 5 else ''}."
            )

    def calibrate(self, x=None, prior=None, known=None, penalty=0.0, gate=None):
        """Sets temperature, biases, what seen classes lose, and from where on an answer is "unknown"; without labels.

        The temperature is that at which each description is told best by the other ones of all classes; where a class
        has one alone it stays. Each call sets all of these.

        Args:
            x: inputs without labels, such as strings `(rows,)`, of the domain that will be served.
            prior: floats `(classes,)`, the share of each class: the biases are then those at which the mean
                probabilities of the inputs are these. None: they are 0.
            known: float in (0, 1), the share of these inputs that shall be answered; the others, which are least
                similar to any class, are "unknown" (`class_id` -1 where it is served). None: all are answered.
            penalty: float, what the logits of seen classes lose (calibrated stacking), as `kt.metrics.seen_unseen`
                finds it on held-out classes.
            gate: floats `(4,)`, as `kt.metrics.seen_gate` returns them: the probability that a class is a seen one, in
                place of the penalty. None: no gate.

        Returns:
            Dict of `temperature`, `bias`, `least_similarity`, `penalty` and `gate`.

        Raises:
            ValueError: if a prior is no shares of the classes, there are no inputs that it, or `known`, needs, or a
                penalty or gate comes where all classes are seen.
        """
        if x is None and (prior is not None or known is not None):
            raise ValueError("Expected inputs `x` for a `prior` or for `known`; received none.")
        check_number(penalty, "penalty")
        gate = np.zeros(GATE) if gate is None else np.asarray(gate, "float64")
        if gate.shape != (GATE,) or not np.isfinite(gate).all():
            raise ValueError(f"Expected a `gate` of {GATE} finite numbers; received {gate.tolist()}.")
        if (penalty or gate.any()) and np.asarray(self.seen_mask).all():
            raise ValueError("Expected classes that are not seen for a `penalty` or a `gate`; received none.")
        scale = _best_scale(
            [part - np.asarray(self.centre) for part in self._described()] if self.cosine else [],
            float(ops.convert_to_numpy(self.scale)),
        )
        bias, least = np.zeros(len(self.descriptions)), _NONE_UNKNOWN
        if x is not None:
            found = self._similarities(x)
            if prior is not None:
                bias = _bias_of(scale * found, _checked_prior(prior, len(bias)))
            if known is not None:
                check_number(known, "known", above=0, below=1)
                least = float(np.quantile(found.max(1), 1 - known))
        self.scale.assign(scale)
        self.bias.assign(bias)
        self.least_similarity.assign(least)
        self.seen_penalty.assign(penalty)
        self.gate.assign(gate)
        found = {"temperature": float(1 / scale), "bias": np.asarray(bias).tolist(), "least_similarity": least}
        return {**found, "penalty": float(penalty), "gate": gate.tolist()}

    def _similarities(self, x):
        features = self.encoder.predict(x if hasattr(x, "element_spec") else _array(x), verbose=0)
        return np.asarray(similarities(self.projector(features), self.class_matrix, self.cosine))

    def grow(self, descriptions):
        """Returns a new model of these and more classes, which are not seen and have the mean of the biases.

        Args:
            descriptions: dict of the names of further classes to what describes them.
        """
        twice = sorted(set(descriptions) & set(self.descriptions))
        if twice:
            raise ValueError(f"Expected further classes; received {', '.join(twice)} again.")
        own = {name: getattr(self, name) for name in self._config_names()}
        seen = list(self.descriptions) if self.seen is None else self.seen
        own |= {"descriptions": {**self.descriptions, **descriptions}, "seen": seen}
        grown = type(self)(**own, name=self.name)
        number, centre = len(self.descriptions), np.asarray(self.centre)
        means = np.stack([part.mean(0) for part in grown._described()[number:]])
        new = self._finished(means - centre)
        grown.class_matrix.assign(ops.concatenate([self.class_matrix, new]))
        bias = np.asarray(self.bias)
        grown.bias.assign(np.append(bias, np.full(len(descriptions), bias.mean())))
        for name in ("centre", "scale", "least_similarity", "seen_penalty", "gate"):
            getattr(grown, name).assign(getattr(self, name))
        return grown

    def signatures(self, x, classes=None, prepare=None, input_name="images", outputs=None):
        """Returns `serving_default`, `embed`, `embed_class`, `score` and `score_all`.

        Classes can come with a request. `embed` takes inputs to their features in the space of the descriptions, and
        `embed_class` the `descriptions` of one class to its `class_vector` (1, dim). `score` takes inputs, and for each
        of them a matrix `classes` (batch, classes, dim), so that a server may join requests; `score_all` takes one
        matrix (classes, dim) for all of a request, and must not be batched. Both answer as `serving_default` does,
        without biases, penalty or gate.
        """
        if classes is not None or outputs is not None:
            raise ValueError("Expected no `classes` or `outputs`: the descriptions name them; received some.")
        request, names = named(x, input_name), list(self.descriptions)
        read = reader(x, request, prepare)
        matrix = np.asarray(self.class_matrix)
        rows = len(next(iter(request.values())))
        said = plain_array(_array([row for rows in self.descriptions.values() for row in rows][:16]))

        def features(inputs):
            return self.represent(read(inputs))

        def serving_default(inputs):
            found = similarities(features(inputs), self.class_matrix, self.cosine)
            logits = class_logits(found, self.scale, self.bias, self.seen_mask, self.seen_penalty, self.gate)
            return answered(found, logits, self.least_similarity, names)

        def expected(inputs):
            return {"logits": own_prediction(self, read(inputs))}

        def embed(inputs):
            return embedded(features(inputs))

        def embed_class(inputs):
            vectors = inputs["descriptions"]
            vectors = vectors if self.tower is None else check_features(self.tower(vectors), self.tower)
            mean = ops.mean(self._finished(vectors), axis=0, keepdims=True)
            return {"class_vector": self._finished(mean - self.centre)}

        def score(inputs):
            found = similarities(features(inputs), inputs["classes"], self.cosine)
            return answered(found, found * self.scale, self.least_similarity)

        each, dim = {**request, "classes": np.repeat(matrix[None], rows, axis=0)}, matrix.shape[-1]
        return {
            "serving_default": Signature(serving_default, request, expected=expected, classes=names),
            "embed": Signature(embed, request),
            "embed_class": Signature(embed_class, {"descriptions": said}, rowwise=False),
            "score": Signature(score, each, shapes={"classes": (None, None, dim)}),
            "score_all": Signature(score, {**request, "classes": matrix}, rowwise=False),
        }


def _checked(descriptions):
    return checked_descriptions(descriptions, least=2)


def _checked_seen(seen, descriptions):
    unknown = [name for name in seen if name not in descriptions]
    if unknown or len(seen) < 2 or len(set(seen)) < len(seen):
        raise ValueError(
            f"Expected at least two names of classes that are described, each once, as `seen`; received "
            f"{short(unknown or list(seen))}."
        )
    return list(seen)


def _checked_prior(prior, classes):
    prior = np.asarray(prior, "float64")
    if prior.shape != (classes,) or not (prior > 0).all() or abs(prior.sum() - 1) > 1e-3:
        raise ValueError(f"Expected a `prior` of {classes} positive shares that sum to 1; received {prior.tolist()}.")
    return prior


def _vectors(rows):
    """Vectors that describe classes, float32, after a check that they are such."""
    vectors = np.asarray(rows)
    if vectors.ndim != 2 or vectors.dtype.kind not in "biuf":
        raise ValueError(
            f"Expected descriptions that are vectors (dim,) where there is no `describer`; received {rows[0]!r}."
        )
    check_finite(vectors, "descriptions")
    return vectors.astype("float32")


def _array(rows):
    """Rows as Keras takes them: strings as objects."""
    array = np.asarray(rows)
    if array.dtype == "float64":
        return array.astype("float32")
    return array.astype(object) if array.dtype.kind in "UO" else array


def _best_scale(described, scale):
    """The inverse temperature at which each description is told best by the others; as it was where one is alone."""
    if not described or min(map(len, described)) < 2:
        return scale
    sums, losses = [part.sum(0) for part in described], np.zeros(len(_SCALES))
    for label, part in enumerate(described):
        for row in part:
            means = np.stack([total - row if place == label else total for place, total in enumerate(sums)])
            found = means @ row / (np.linalg.norm(means, axis=1) * np.linalg.norm(row))
            logits = _SCALES[:, None] * found
            losses += np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1)) + logits.max(1) - logits[:, label]
    return float(_SCALES[losses.argmin()])


def _bias_of(logits, prior, rounds=200):
    """The biases at which the mean probabilities are the prior."""
    bias = np.zeros(len(prior))
    for _ in range(rounds):
        shifted = logits + bias
        p = np.exp(shifted - shifted.max(1, keepdims=True))
        bias += 0.5 * np.log(prior / np.maximum((p / p.sum(1, keepdims=True)).mean(0), 1e-12))
    return bias - bias.mean()


# Projectors in closed form: of the sums of the seen classes, and the matrix of second moments of all rows.


class Moments(NamedTuple):
    """What closed forms need of features.

    Attributes:
        gram: float64 `(features, features)`, X^T X over the rows of the classes.
        sums: float64 `(classes, features)`, of the rows of each class.
        counts: float64 `(classes,)`, rows of each class.
        vectors: float64 `(classes, dim)`, the descriptions.
    """

    gram: np.ndarray
    sums: np.ndarray
    counts: np.ndarray
    vectors: np.ndarray


def solved(cls, solver, grid, x, y, descriptions, encoder, describer, centred, folds, seed):
    """Returns a model of the class `cls` whose projector is solved for, at the penalties that tell held-out classes.

    Args:
        cls: method with the arguments `encoder, projector, descriptions, seen, describer, centred`.
        solver: function from `Moments` to a basis `(features, features)` and a function from penalties to the
            projector's matrix in that basis `(features, dim)`.
        grid: list of penalties; of one alone nothing is chosen.
        x: inputs, or without an encoder features `(rows, features)`.
        y: integer labels `(rows,)`, places among the descriptions. The classes that they name are the seen ones.
        descriptions: see `DescribedClasses`.
        encoder: built network, or None.
        describer: built network, or None.
        centred: bool.
        folds: int, parts of the classes, each of which is held out once.
        seed: int, draws the parts.
    """
    y = np.asarray(y)
    names = list(descriptions)
    if y.ndim != 1 or y.dtype.kind not in "iu" or not len(y) or y.min() < 0 or y.max() >= len(names):
        raise ValueError(
            f"Expected integer labels (rows,) from 0 to {len(names) - 1}, places among the descriptions; received "
            f"{y.dtype} of shape {y.shape}{f', {y.min()} up to {y.max()}' if y.size else ''}."
        )
    classes, places = np.unique(y, return_inverse=True)
    if len(grid) > 1 and len(classes) < 2 * check_integer(folds, "folds", 2):
        raise ValueError(
            f"Expected at least {2 * folds} seen classes to choose penalties on {folds} parts of them; received "
            f"{len(classes)}. Pass one of each penalty."
        )
    if encoder is None:
        if not hasattr(x, "dtype") or len(np.shape(x)) != 2:
            found = f"shape {np.shape(x)}" if hasattr(x, "dtype") else type(x).__name__
            raise ValueError(f"Expected an array of features (rows, features) without an `encoder`; received {found}.")
        check_finite(x, "x")
        encoder = keras.Sequential([keras.Input(np.shape(x)[1:]), keras.layers.Identity()], name="features")
    width = encoder.output_shape[-1]
    vectors = next(iter(descriptions.values())) if describer is None else None
    dim = np.shape(vectors)[-1] if describer is None else describer.output_shape[-1]
    projector = keras.layers.Dense(dim, use_bias=False, name="projector")
    model = cls(encoder, projector, descriptions, [names[c] for c in classes], describer, centred)
    features = encoder.predict(x, verbose=0)
    if not features.any():
        raise ValueError("Expected features that say something; received zeros alone.")
    if len(features) != len(y):
        raise ValueError(f"Expected a label for each of {len(features)} rows; received {len(y)}.")
    matrix = np.asarray(model.class_matrix, "float64")[classes]
    sums = np.zeros((len(classes), width))
    np.add.at(sums, places, features)
    moments = Moments(_gram(features), sums, np.bincount(places).astype("float64"), matrix)
    chosen = grid[0]
    if len(grid) > 1:
        scores = _held_out_scores(solver, grid, features, places, moments, cls.cosine, folds, seed)
        chosen = grid[int(np.argmax(scores))]
    basis, matrix_at = solver(moments)
    projector.set_weights([(basis @ matrix_at(chosen)).astype("float32")])
    return model


def _gram(features):
    return features.T.astype("float64") @ features.astype("float64")


def _held_out_scores(solver, grid, features, places, moments, cosine, folds, seed):
    """The accuracy of each penalty on classes held out, told among themselves; the mean over the parts."""
    scores = np.zeros(len(grid))
    for held in np.array_split(np.random.default_rng(seed).permutation(len(moments.counts)), folds):
        rest = np.setdiff1d(np.arange(len(moments.counts)), held)
        rows = np.isin(places, held)
        inside = features[rows]
        basis, matrix_at = solver(Moments(moments.gram - _gram(inside), *(part[rest] for part in moments[1:])))
        turned, labels = inside @ basis.astype("float32"), np.searchsorted(np.sort(held), places[rows])
        vectors = moments.vectors[np.sort(held)]
        for i, penalties in enumerate(grid):
            found = turned @ matrix_at(penalties).astype("float32")
            found = np.asarray(unit_rows(found)) if cosine else found
            scores[i] += class_accuracy(labels, found @ vectors.T.astype("float32"))
    return scores / folds
