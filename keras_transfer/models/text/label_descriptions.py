"""Zero-shot classification: a class is what a few texts say of it, and new classes come by their texts alone."""

import keras
import numpy as np
from keras import ops

from keras_transfer.checks import check_number
from keras_transfer.losses.checks import check_temperature
from keras_transfer.losses.contrastive import unit_rows
from keras_transfer.model import PREDICTION, TransferModel
from keras_transfer.networks import check_features, check_networks
from keras_transfer.signatures import Signature, classified, embedded, named, own_prediction, reader

_SCALES = np.geomspace(1.0, 100.0, 41)  # inverse temperatures that calibration chooses from


@keras.saving.register_keras_serializable(package="keras_transfer")
class LabelDescriptions(TransferModel):
    """Classifies inputs without a labelled example: by what describes each class, in the encoder's own terms.

    m_c     = mean of the features of the descriptions of class c, each scaled to length 1, and scaled so again
    logit_c = m_c . z / T + b_c,  z = encoder(x), scaled to length 1

    Several descriptions of a class are better than its name. They are embedded when the model is made, once; the class
    matrix is saved and served with it. `calibrate` sets the temperature T, the biases b of known shares of the classes,
    and from where on an answer is "unknown". `grow` returns a model of more classes. `fit` on labelled rows tunes the
    encoder from there, by the compiled loss; the class matrix stays.

    Args:
        encoder: built network from inputs, such as strings `(batch,)`, to features `(batch, dim)`, such as
            `kt.backbones.minilm()`. It must place descriptions and inputs in one space.
        descriptions: dict of the names of the classes to lists of inputs that describe them, in the order of the
            logits.
        temperature: positive float T, until it is calibrated.

    Raises:
        ValueError: if the encoder is not built, there are fewer than two classes, one has no description or two have
            the same ones, or the temperature is not positive.

    Example:

    ```python
    encoder = kt.backbones.minilm()
    model = kt.models.LabelDescriptions(encoder, {"person": ["Who is it?"], "place": ["Where is it?"]})
    model.calibrate(texts, known=0.95)
    kt.export(model, "saved_models/questions", texts)
    kt.serving.add_classes("saved_models/questions", {"number": ["How many are there?"]})
    ```

    Reference:
        Chang et al., Importance of Semantic Representation: Dataless Classification, AAAI 2008; several texts for each
        class as in Radford et al., Learning Transferable Visual Models From Natural Language Supervision, ICML 2021,
        arXiv:2103.00020, section 3.1.4.
    """

    def __init__(self, encoder, descriptions, temperature=0.05, **kwargs):
        check_networks(encoder=encoder)
        super().__init__({"task": 1.0}, **kwargs)
        if not encoder.built:
            raise ValueError(f"Expected a built `encoder`; received {encoder.name!r}, which has seen no batch yet.")
        self.encoder, self.descriptions = encoder, _checked(descriptions)
        self.temperature = check_temperature(temperature)
        means = np.stack([part.mean(0) for part in self._described()])
        self.class_matrix = self._kept("class_matrix", np.asarray(unit_rows(means)))
        self.bias = self._kept("bias", np.zeros(len(means)))
        self.scale = self._kept("scale", 1.0 / temperature)
        self.least_similarity = self._kept("least_similarity", -2.0)  # none is unknown
        self.built = True

    def _kept(self, name, value):
        initializer = lambda shape, dtype: ops.cast(ops.convert_to_tensor(value), dtype)  # noqa: E731
        return self.add_weight(
            shape=np.shape(value), initializer=initializer, trainable=False, autocast=False, name=name
        )

    def _described(self):
        """The features of the descriptions of each class, of length 1, as the encoder now is."""
        rows = [row for rows in self.descriptions.values() for row in rows]
        features = np.asarray(unit_rows(self.encoder.predict(_array(rows), verbose=0)))
        ends = np.cumsum([0, *map(len, self.descriptions.values())])
        return [features[a:b] for a, b in zip(ends, ends[1:])]

    def infer(self, x, training=False):
        """Computes the logits `(batch, classes)`."""
        features = check_features(self.encoder(x, training=training), self.encoder)
        return similarities(features, self.class_matrix) * self.scale + self.bias

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns `task`."""
        return {"task": self.task_loss(y, outputs[PREDICTION], sample_weight)}

    def calibrate(self, x=None, prior=None, known=None):
        """Sets temperature, biases, and from where on an answer is "unknown"; no label is needed.

        The temperature is that at which each description is told best by the other ones of all classes; where a class
        has one alone it stays.

        Args:
            x: inputs without labels, such as strings `(rows,)`, of the domain that will be served.
            prior: floats `(classes,)`, the share of each class: the biases are then those at which the mean
                probabilities of the inputs are these. None: they are 0.
            known: float in (0, 1), the share of these inputs that shall be answered; the others, which are least
                similar to any class, are "unknown" (`class_id` -1 where it is served). None: all are answered.

        Returns:
            Dict of `temperature`, `bias` and `least_similarity`.

        Raises:
            ValueError: if a prior is no shares of the classes, or there are no inputs that it, or `known`, needs.
        """
        if x is None and (prior is not None or known is not None):
            raise ValueError("Expected inputs `x` for a `prior` or for `known`; received none.")
        scale = _best_scale(self._described(), float(ops.convert_to_numpy(self.scale)))
        bias, least = np.zeros(len(self.descriptions)), -2.0
        if x is not None:
            features = self.encoder.predict(x if hasattr(x, "element_spec") else _array(x), verbose=0)
            found = np.asarray(similarities(features, self.class_matrix))
            if prior is not None:
                bias = _bias_of(scale * found, _checked_prior(prior, len(bias)))
            if known is not None:
                check_number(known, "known", above=0, below=1)
                least = float(np.quantile(found.max(1), 1 - known))
        self.scale.assign(scale)
        self.bias.assign(bias)
        self.least_similarity.assign(least)
        return {"temperature": float(1 / scale), "bias": np.asarray(bias).tolist(), "least_similarity": least}

    def grow(self, descriptions):
        """Returns a new model of these and more classes, which have the mean of the biases; what is known stays.

        Args:
            descriptions: dict of the names of further classes to lists of what describes them.
        """
        twice = sorted(set(descriptions) & set(self.descriptions))
        if twice:
            raise ValueError(f"Expected further classes; received {', '.join(twice)} again.")
        grown = type(self)(self.encoder, {**self.descriptions, **descriptions}, self.temperature, name=self.name)
        known, new = self.class_matrix, grown.class_matrix[len(self.descriptions) :]
        grown.class_matrix.assign(ops.concatenate([known, new]))
        bias = np.asarray(self.bias)
        grown.bias.assign(np.append(bias, np.full(len(descriptions), bias.mean())))
        grown.scale.assign(self.scale)
        grown.least_similarity.assign(self.least_similarity)
        return grown

    def signatures(self, x, classes=None, prepare=None, input_name="images", outputs=None):
        """Returns `serving_default`, `embed`, `embed_class`, `score` and `score_all`.

        Classes can come with a request. `embed_class` takes descriptions of one class to its `class_vector` (1, dim).
        `score` takes inputs, and for each of them a matrix `classes` (batch, classes, dim), so that a server may join
        requests; `score_all` takes one matrix (classes, dim) for all of a request, and must not be batched. Both answer
        as `serving_default` does, without biases.
        """
        if classes is not None or outputs is not None:
            raise ValueError("Expected no `classes` or `outputs`: the descriptions name them; received some.")
        request, names = named(x, input_name), list(self.descriptions)
        read = reader(x, request, prepare)
        matrix = np.asarray(self.class_matrix)
        rows = len(next(iter(request.values())))

        def features(inputs):
            return check_features(self.encoder(read(inputs), training=False), self.encoder)

        def serving_default(inputs):
            found = similarities(features(inputs), self.class_matrix)
            return answered(found, self.scale, self.bias, self.least_similarity, names)

        def expected(inputs):
            return {"logits": own_prediction(self, read(inputs))}

        def embed(inputs):
            return embedded(features(inputs))

        def embed_class(inputs):
            mean = ops.mean(unit_rows(features(inputs)), axis=0, keepdims=True)
            return {"class_vector": unit_rows(mean)}

        def score(inputs):
            found = similarities(features(inputs), inputs["classes"])
            return answered(found, self.scale, 0.0, self.least_similarity)

        each, dim = {**request, "classes": np.repeat(matrix[None], rows, axis=0)}, matrix.shape[-1]
        any_number = {"classes": (None, None, dim)}
        return {
            "serving_default": Signature(serving_default, request, expected=expected, classes=names),
            "embed": Signature(embed, request),
            "embed_class": Signature(embed_class, request, rowwise=False),
            "score": Signature(score, each, shapes=any_number),
            "score_all": Signature(score, {**request, "classes": matrix}, rowwise=False),
        }


def similarities(features, classes):
    """Returns the cosines `(batch, classes)` of features `(batch, dim)` with classes.

    Args:
        features: tensor `(batch, dim)`.
        classes: tensor `(classes, dim)`, or one for each row `(batch, classes, dim)`.
    """
    features, classes = unit_rows(features), unit_rows(classes)
    if len(classes.shape) == 2:
        return ops.matmul(features, ops.transpose(classes))
    return ops.einsum("bd,bcd->bc", features, classes)


def answered(found, scale, bias, least, names=None):
    """Returns what is served of cosines: the answers of a classifier, -1 and "" where all lie below `least`.

    Args:
        found: tensor `(batch, classes)`.
        scale: scalar, the inverse temperature.
        bias: tensor `(classes,)`, or 0.0.
        least: scalar.
        names: list of class names, or None.
    """
    answers = classified(found * scale + bias, names)
    near = ops.logical_and(ops.max(found, axis=-1) >= least, answers["class_id"] >= 0)
    answers["class_id"] = ops.where(near, answers["class_id"], ops.cast(-1, "int64"))
    if names is not None:
        answers["class_name"] = ops.where(near, answers["class_name"], "")
    return {**answers, "similarity": found}


def _checked(descriptions):
    if not isinstance(descriptions, dict) or len(descriptions) < 2:
        raise ValueError(f"Expected `descriptions` as a dict of at least two classes; received {descriptions!r}.")
    found = {}
    for name, texts in descriptions.items():
        if isinstance(texts, str) or not len(texts):
            raise ValueError(f"Expected a list of descriptions of the class {name!r}; received {texts!r}.")
        found[str(name)] = [text if isinstance(text, str) else np.asarray(text).tolist() for text in texts]
        same = [other for other in found if other != name and found[other] == found[str(name)]]
        if same:
            raise ValueError(f"Expected descriptions that differ; received the same of {same[0]!r} and {name!r}.")
    return found


def _checked_prior(prior, classes):
    prior = np.asarray(prior, "float64")
    if prior.shape != (classes,) or not (prior > 0).all() or abs(prior.sum() - 1) > 1e-3:
        raise ValueError(f"Expected a `prior` of {classes} positive shares that sum to 1; received {prior.tolist()}.")
    return prior


def _array(rows):
    """Rows as Keras takes them: strings as objects."""
    array = np.asarray(rows)
    return array.astype(object) if array.dtype.kind in "UO" else array


def _best_scale(described, scale):
    """The inverse temperature at which each description is told best by the others; as it was where one is alone."""
    if min(map(len, described)) < 2:
        return scale
    sums, losses = [part.sum(0) for part in described], np.zeros(len(_SCALES))
    for label, part in enumerate(described):
        for row in part:
            means = np.stack([total - row if place == label else total for place, total in enumerate(sums)])
            found = means @ row / np.linalg.norm(means, axis=1)
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
