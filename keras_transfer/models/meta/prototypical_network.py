"""Prototypical networks: a class is the mean of its examples' features; and SimpleShot, which trains nothing."""

import keras
import numpy as np
from keras import ops

from keras_transfer.checks import check_number, is_float
from keras_transfer.layers.prototypes import ABSENT, class_means, squared_distances
from keras_transfer.model import TransferModel
from keras_transfer.models.meta.shared import (
    after,
    as_it_is,
    check_episodes,
    check_no_classes,
    checked_labels,
    embedding_signatures,
    encode_episode,
    episode_of,
    episode_prediction,
    every_label,
)
from keras_transfer.networks import check_features, check_networks
from keras_transfer.signatures import Signature, classified


@keras.saving.register_keras_serializable(package="keras_transfer")
class PrototypicalNetwork(TransferModel):
    """Learns features in which a query belongs to the class whose examples' mean is nearest, also for new classes.

    c_k    = mean of encoder(x) over the support of class k
    logits = -||encoder(query) - c_k||^2
    task   = loss(y, logits)

    BatchNormalization uses the statistics of all images of the batch while training, and its moving averages
    afterwards: the answer to a query does not depend on the other queries (inductive).

    Train on `kt.streams.episodes`; more ways than in the test help, and as many shots. The prediction has a column for
    each support row, as there can be no more classes; columns beyond the last class hold -1e9. What is served on plain
    inputs is the features; `kt.export` serves classification, with classes that come later.

    Args:
        encoder: network from an input to features `(batch, dim)`, without an activation at its end in the paper.

    Raises:
        ValueError: if the encoder is no network.

    Example:

    ```python
    stream = kt.streams.episodes(images, labels, ways=20, shots=5, queries=5)
    model = kt.models.PrototypicalNetwork(encoder)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    model.fit(stream, epochs=50)
    kt.export(model, "saved_models/letters", images[:20])
    ```

    Departs: the paper halves the learning rate every 2,000 episodes; that is the optimizer's matter here.

    Reference:
        Snell, Swersky and Zemel, Prototypical Networks for Few-shot Learning, NeurIPS 2017, arXiv:1703.05175.
    """

    streams = ("support", "query")

    def __init__(self, encoder, **kwargs):
        check_networks(encoder=encoder)
        super().__init__({"task": 1.0}, **kwargs)
        self.encoder = encoder
        self.unknown_distance = self.add_weight(
            shape=(),
            initializer=keras.initializers.Constant(np.finfo("float32").max),
            dtype="float32",
            trainable=False,
            aggregation="only_first_replica",
            name="unknown_distance",
        )

    def infer(self, x, training=False):
        """Returns features `(batch, dim)`."""
        return check_features(self.encoder(x, training=training), self.encoder)

    def forward(self, x, training=False):
        """Returns the prediction `(episodes, queries, support rows)`."""
        support, labels, query = encode_episode(self.encoder, x, training, by_rows=True)
        return {"prediction": prototype_logits(*class_means(support, labels, ops.shape(labels)[-1]), query)}

    def check_data(self, x=None, y=None, *_, **__):
        """Checks arrays that `fit` and the like are called with."""
        check_episodes(self, x, y)

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns `task`."""
        return {"task": self.task_loss(y, outputs["prediction"], sample_weight)}

    def calibrate(self, stream, known=0.95):
        """Sets the squared distance from which on a served query is answered with "unknown".

        Args:
            stream: finite dataset of episodes of classes that were not trained on, such as those for validation, with
                the shots that will be served.
            known: float in (0, 1), the share of queries of known classes that shall be answered.

        Returns:
            The distance, which is saved and exported with the model. Queries whose nearest prototype is farther are
            unknown.
        """
        check_number(known, "known", above=0, below=1)
        nearest = [-self.predict_on_batch(x)["prediction"].max(axis=-1).ravel() for x, *_ in stream]
        if not nearest:
            raise ValueError("Expected at least one episode to calibrate on; received none.")
        self.unknown_distance.assign(np.quantile(np.concatenate(nearest), known))
        return float(self.unknown_distance.numpy())

    def signatures(self, x, classes=None, prepare=None, input_name="images", outputs=None):
        """Returns `classify_episode`, `prototypes`, `merge`, `classify` and `embed`, which is `serving_default` too.

        A class is known by its prototype alone, so that classes can come later; see `kt.export`.
        """
        check_no_classes(self, classes, outputs)
        (support, labels, query), prepare = episode_of(x), prepare or as_it_is

        def classify(inputs):
            prototypes, counts = checked_prototypes(inputs["prototypes"], inputs["counts"])
            logits = prototype_logits(prototypes, counts, self.infer(prepare(inputs["query"])))
            distance, answers = -ops.max(logits, axis=-1), classified(logits)
            near = ops.logical_and(distance <= self.unknown_distance, ops.any(counts > 0))
            near = ops.logical_and(near, ops.all(ops.isfinite(logits), axis=-1))
            near = ops.logical_and(near, finite_rows(inputs["query"]))  # a network may make numbers of infinity
            known = ops.where(near, answers["class_id"], ops.cast(-1, "int64"))
            return {**answers, "class_id": known, "distance": distance}

        def prototypes_of(rows, labels, number):
            means, counts = class_means(self.infer(prepare(rows)), labels, number)
            return {"prototypes": means, "counts": counts}

        def prototypes(inputs):
            return prototypes_of(inputs["support"], *checked_labels(inputs["support"], inputs["labels"]))

        def classify_episode(inputs):
            labels, number = every_label(checked_labels(inputs["support"], inputs["labels"])[0])
            return classify({**prototypes_of(inputs["support"], labels, number), "query": inputs["query"]})

        def expected(inputs):
            logits = episode_prediction(self, prepare, inputs)
            return {"logits": logits[:, : int(ops.max(inputs["labels"])) + 1]}

        examples = {"support": support, "labels": labels}
        means = {name: ops.convert_to_numpy(value) for name, value in prototypes(examples).items()}
        more = {f"new_{name}": value[:1] for name, value in means.items()}
        episode = {**examples, "query": query}
        return {
            **embedding_signatures(self, x, prepare, input_name),
            "classify_episode": Signature(classify_episode, episode, rowwise=False, expected=expected),
            "prototypes": Signature(prototypes, examples, rowwise=False),
            "merge": Signature(merge_prototypes, {**means, **more}, rowwise=False),
            "classify": Signature(classify, {**means, "query": query}, rowwise=False),
        }


def prototype_logits(prototypes, counts, query):
    """Compares features of queries with prototypes.

    Args:
        prototypes: tensor `(..., classes, dim)`.
        counts: tensor `(..., classes)`, the number of examples of each; 0 for a class that is not there.
        query: features `(..., queries, dim)`.

    Returns:
        Tensor `(..., queries, classes)`: minus the squared distances.
    """
    return ops.where(ops.expand_dims(counts, -2) > 0, -squared_distances(query, prototypes), ABSENT)


def merge_prototypes(inputs):
    """Returns the `prototypes` and `counts` of two sets of examples together, of as many classes as the larger has."""
    old, new = (checked_prototypes(inputs[f"{age}prototypes"], inputs[f"{age}counts"]) for age in ("", "new_"))
    classes = ops.maximum(*(ops.shape(counts)[0] for _, counts in (old, new)))

    def sums(means, counts):
        more = classes - ops.shape(counts)[0]
        return ops.pad(means * counts[:, None], [[0, more], [0, 0]]), ops.pad(counts, [[0, more]])

    (old_sum, old_count), (new_sum, new_count) = sums(*old), sums(*new)
    counts = old_count + new_count
    return {"prototypes": (old_sum + new_sum) / ops.maximum(counts, 1.0)[:, None], "counts": counts}


def checked_prototypes(prototypes, counts):
    """Returns both after a check, in the graph, that there is one count for each prototype; one is not for all."""
    import tensorflow as tf

    same = tf.debugging.assert_equal(
        tf.shape(prototypes)[0], tf.shape(counts)[0], "Expected one of `counts` for each row of `prototypes`."
    )
    return after([same], prototypes), after([same], counts)


def finite_rows(rows):
    """Returns whether all numbers of each row are finite, `(rows,)`; what is no float is."""
    if not is_float(rows):
        return True
    return ops.all(ops.isfinite(rows), axis=tuple(range(1, len(rows.shape))))


def simple_shot(encoder, features):
    """Makes the few-shot baseline SimpleShot of an encoder that was trained otherwise: CL2N in the paper.

    c_k = mean over the support of class k of (f - mean f) / ||f - mean f||

    It needs no training; `evaluate`, export and serving are those of a `PrototypicalNetwork`.

    Args:
        encoder: network from an input to features `(batch, dim)`, such as a pretrained backbone.
        features: array `(rows, dim)`, the encoder's features of the classes that it was trained on; their mean is taken
            off.

    Returns:
        A `PrototypicalNetwork`, not compiled.

    Raises:
        ValueError: if the features are not `(rows, dim)`.

    Example:

    ```python
    model = kt.models.simple_shot(backbone, kt.backbones.cached_features(backbone, images))
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    model.evaluate(kt.streams.episodes(new_images, new_labels, ways=5, shots=1))
    ```

    Reference:
        Wang, Chao, Weinberger and van der Maaten, SimpleShot: Revisiting Nearest-Neighbor Classification for Few-Shot
        Learning, 2019, arXiv:1911.04623.
    """
    features = np.asarray(features, "float32")
    if features.ndim != 2 or not len(features):
        raise ValueError(f"Expected features (rows, dim) of at least 1 row; received shape {features.shape}.")
    mean = keras.layers.Normalization(mean=features.mean(0), variance=np.ones(features.shape[1]))
    return PrototypicalNetwork(keras.Sequential([encoder, mean, keras.layers.UnitNormalization()]))
