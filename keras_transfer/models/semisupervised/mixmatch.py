"""MixMatch: guessed, sharpened labels of unlabelled rows, and mixtures of all rows and labels."""

import keras
from keras import ops

from keras_transfer.checks import check_number, check_weight
from keras_transfer.losses.checks import check_temperature
from keras_transfer.models.semisupervised.shared import SemiSupervised, label_shares, probabilities


@keras.saving.register_keras_serializable(package="keras_transfer")
class MixMatch(SemiSupervised):
    """Guesses labels of unlabelled rows, mixes them with labelled ones, and trains on the mixtures.

    q      = mean of softmax over both views of an unlabelled row, to the power 1 / T, scaled to sum 1
    x', p' = m x + (1 - m) x_other, m p + (1 - m) p_other,  m = max(b, 1 - b), b from Beta(a, a), for each row
    task   = mean over the labelled rows' mixtures of  -sum p' log softmax(x')
    guess  = mean over the unlabelled rows' mixtures of |softmax(x') - p'|^2 / classes
    total  = task + guess_weight * guess

    where the other is any row of the batch, all views among them, and inputs are numbers. The networks run twice in a
    step, once to guess and once on the mixtures, and their BatchNormalization averages move in both.

    Args:
        encoder: network from an input to features `(batch, dim)`.
        head: network from features to logits `(batch, classes)`, not probabilities.
        guess_weight: float or schedule of `step`; the paper lets it rise.
        temperature: positive float T, below 1 sharpens.
        mixing: positive float a.

    Raises:
        ValueError: if a network is no Keras layer, the head ends in a softmax or a sigmoid, or a number is out of
            range.

    Example:

    ```python
    model = kt.models.MixMatch(encoder, head, guess_weight=kt.schedules.DannRamp(1000, peak=50.0))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    model.fit(kt.streams.labelled_and_unlabelled((x, y), x_unlabelled, weak, strong), epochs=10, shuffle=False)
    ```

    Departs: the two views may be of different strength; `task` is the cross-entropy whatever loss is compiled, which
    is for `evaluate`.

    Reference:
        Berthelot et al., MixMatch: A Holistic Approach to Semi-Supervised Learning, NeurIPS 2019, arXiv:1905.02249.
    """

    streams = ("labelled", "unlabelled_weak", "unlabelled_strong")

    def __init__(self, encoder, head, guess_weight=10.0, temperature=0.5, mixing=0.75, **kwargs):
        guess_weight = check_weight(guess_weight, "guess_weight")
        super().__init__({"task": 1.0, "guess": guess_weight}, encoder, head, **kwargs)
        self.guess_weight, self.temperature = guess_weight, check_temperature(temperature)
        self.mixing = check_number(mixing, "mixing", above=0)
        self.draws = keras.random.SeedGenerator()

    def forward(self, x, training=False):
        """Returns the predictions of the mixtures, and how they were mixed."""
        labelled, weak, strong = (x[stream] for stream in self.streams)
        guessed = self.classify(weak, strong, training=training)
        q = ops.power(0.5 * (probabilities(guessed[0]) + probabilities(guessed[1])), 1.0 / self.temperature)
        q = q / ops.sum(q, axis=-1, keepdims=True)
        rows = keras.tree.map_structure(
            lambda *parts: ops.concatenate([ops.cast(part, "float32") for part in parts]), labelled, weak, strong
        )
        number = ops.shape(keras.tree.flatten(rows)[0])[0]
        share = keras.random.beta((number,), self.mixing, self.mixing, seed=self.draws)
        share, order = ops.maximum(share, 1.0 - share), keras.random.shuffle(ops.arange(number), seed=self.draws)
        mixed = keras.tree.map_structure(lambda part: _mixed(part, share, order), rows)
        (logits,) = self.classify(mixed, training=training)
        few = ops.shape(keras.tree.flatten(labelled)[0])[0]
        return {"prediction": logits[:few], "unlabelled": logits[few:], "guess": q, "share": share, "order": order}

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns `task` and `guess`."""
        if y is None:
            raise ValueError("Expected labels of the labelled rows; received none.")
        q, few = outputs["guess"], ops.shape(outputs["prediction"])[0]
        p = _mixed(ops.concatenate([label_shares(y, q.shape[-1]), q, q]), outputs["share"], outputs["order"])
        told = ops.log_softmax(ops.cast(outputs["prediction"], "float32"), axis=-1)
        guessed = ops.softmax(ops.cast(outputs["unlabelled"], "float32"), axis=-1)
        labels = ops.argmax(q, axis=-1)
        self.log_pseudo_labels(labels, ops.ones_like(q[:, 0]), q.shape[-1])
        return {
            "task": -ops.mean(ops.sum(p[:few] * told, axis=-1)),
            "guess": ops.mean(ops.square(guessed - p[few:])),
        }


def _mixed(rows, share, order):
    """Rows mixed with others: the share of their own, the rest of the row in their place of the order."""
    share = ops.reshape(share, (-1,) + (1,) * (len(rows.shape) - 1))
    return share * rows + (1.0 - share) * ops.take(rows, order, axis=0)
