"""iCaRL: exemplars of each class, whose mean features tell a new row's class."""

import keras
import numpy as np
from keras import ops

from keras_transfer.batches import check_shape
from keras_transfer.checks import check_weight
from keras_transfer.layers.prototypes import ABSENT, squared_distances
from keras_transfer.models.continual.shared import MemoryModel
from keras_transfer.networks import follow, follower


@keras.saving.register_keras_serializable(package="keras_transfer")
class NearestMean(keras.Layer):
    """Tells a row by the nearest of the classes' means: logits are negative squared distances on the unit sphere.

    Args:
        classes: int.
        dim: int, the size of the features.
    """

    def __init__(self, classes, dim, **kwargs):
        super().__init__(**kwargs)
        self.classes, self.dim = classes, dim
        self.means = self.add_weight(shape=(classes, dim), initializer="zeros", trainable=False, name="means")
        self.there = self.add_weight(shape=(classes,), initializer="zeros", trainable=False, name="there")
        self.built = True

    def call(self, features):
        """Returns logits `(batch, classes)`; of a class without examples `ABSENT`."""
        distances = squared_distances(unit(features), self.means)
        return ops.where(ops.convert_to_tensor(self.there) > 0, -distances, ABSENT)

    def get_config(self):
        """Returns the settings."""
        return {**super().get_config(), "classes": self.classes, "dim": self.dim}


def unit(features):
    """Returns features `(..., dim)` of length 1, float32."""
    return ops.normalize(ops.cast(features, "float32"), axis=-1)


@keras.saving.register_keras_serializable(package="keras_transfer")
class ICaRL(MemoryModel):
    """Learns classes that come one after another, and tells rows by the mean features of kept exemplars.

    classification = sum over new classes of the binary cross-entropy with the label
    distillation   = sum over classes that were consolidated of that with sigmoid(f_old(x))
    total          = classification + distillation_weight * distillation,   over present rows and the buffer's alike

    Exemplars are chosen by herding: each next one brings their mean nearest to the class's. The head trains; what
    `model(x)` computes and what is exported is the nearest mean, from the first `consolidate` on. A class belongs to
    one task.

    Args:
        encoder: built network from an input of one array to features `(batch, dim)`.
        head: built network from features to logits `(batch, classes)`, not probabilities; a logit for each class alone.
        memory: `kt.layers.ReplayBuffer` for rows of the encoder's inputs and the head's classes.
        distillation_weight: float or schedule, the weight of `distillation`.

    Raises:
        ValueError: as `kt.models.ExperienceReplay` does; in `consolidate` for a class that was consolidated before.

    Example:

    ```python
    memory = kt.layers.ReplayBuffer(1000, (28, 28, 1), classes=10)
    model = kt.models.ICaRL(encoder, head, memory)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    for x, y in tasks:
        model.fit(kt.streams.replay((x, y), memory), epochs=5, shuffle=False)
        model.consolidate(x, y)
    ```

    Departs: half of each batch are exemplars, where the paper mixes them with the new rows by their number; metrics
    while training are those of the head.

    Reference:
        Rebuffi et al., iCaRL: Incremental Classifier and Representation Learning, CVPR 2017, arXiv:1611.07725.
    """

    def __init__(self, encoder, head, memory, distillation_weight=1.0, **kwargs):
        distillation_weight = check_weight(distillation_weight, "distillation_weight")
        terms = {"classification": 1.0, "distillation": distillation_weight}
        super().__init__(encoder, head, memory, terms, **kwargs)
        self.distillation_weight = distillation_weight
        self.former_encoder, self.former_head = follower(encoder), follower(head)
        self.nearest = NearestMean(self.classes, encoder.output_shape[-1], name="nearest")

    @property
    def served(self):
        """The encoder, and the nearest of the means of exemplars."""
        return self.encoder, self.nearest

    def forward(self, x, training=False):
        """Returns the head's predictions, and what the former model says of all rows."""
        outputs = super().forward(x, training)
        rows = ops.concatenate([x["current"], x["memory"]["x"]])
        return {**outputs, "former": self.former_head(self.former_encoder(rows, training=False), training=False)}

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns `classification` and `distillation`."""
        for labels, answers in ((y, outputs["prediction"]), (x["memory"]["y"], outputs["replayed"])):
            check_shape(labels, answers, "sparse_categorical_crossentropy")
        labels = ops.concatenate([ops.reshape(ops.cast(part, "int32"), (-1,)) for part in (y, x["memory"]["y"])])
        logits = ops.cast(ops.concatenate([outputs["prediction"], outputs["replayed"]]), "float32")
        known = ops.cast(self.known(), "float32")

        def crossentropy(targets, classes):
            each = ops.softplus(logits) - targets * logits
            return ops.mean(ops.sum(classes * each, axis=-1))

        former = ops.sigmoid(ops.cast(outputs["former"], "float32"))
        return {
            "classification": crossentropy(ops.one_hot(labels, self.classes), 1.0 - known),
            "distillation": crossentropy(ops.stop_gradient(former), known),
        }

    def keep(self, x, y, classes):
        """Chooses exemplars of the new classes, reduces those of old ones, and takes the means."""
        again = sorted({label for label in y.tolist() if ops.convert_to_numpy(self.seen)[label]})
        if again:
            raise ValueError(f"Expected classes of one task each; received {again}, which were consolidated before.")
        quota, held, rows = self.memory.capacity // self.classes, self.memory.held(), {"x": [], "y": []}
        for label in range(self.classes):
            ours = held["x"][held["y"] == label]
            if label in y:
                new = np.asarray(x)[y == label]
                ours = new[herded(self._features(new), quota)]
            rows["x"].append(ours[:quota])
            rows["y"] += [label] * len(ours[:quota])
        self.memory.replace(np.concatenate(rows["x"]), np.array(rows["y"], "int32"))
        means, there = np.zeros(self.nearest.means.shape, "float32"), np.zeros(self.classes, "float32")
        features, labels = self._features(self.memory.held()["x"]), np.array(rows["y"])
        for label in set(rows["y"]):
            mean = features[labels == label].mean(0)
            means[label], there[label] = mean / max(np.linalg.norm(mean), 1e-12), 1.0
        self.nearest.means.assign(means)
        self.nearest.there.assign(there)
        follow(self.former_encoder, self.encoder, 0.0, "copied")
        follow(self.former_head, self.head, 0.0, "copied")

    def _features(self, x):
        return ops.convert_to_numpy(unit(self.encoder.predict(x, batch_size=256, verbose=0)))


def herded(features, number):
    """Returns the places of rows of which each next one brings the mean of those before it nearest to that of all.

    Args:
        features: array `(rows, dim)`.
        number: int, how many, at most.
    """
    mean, total, chosen = features.mean(0), np.zeros(features.shape[1]), []
    left = np.ones(len(features), bool)
    for count in range(1, min(number, len(features)) + 1):
        # |mean - (total + f) / count|^2 without what is the same for all rows
        aim = count * mean - total
        far = np.square(features).sum(1) - 2 * features @ aim
        place = int(np.argmin(np.where(left, far, np.inf)))
        chosen.append(place)
        left[place], total = False, total + features[place]
    return np.array(chosen, int)
