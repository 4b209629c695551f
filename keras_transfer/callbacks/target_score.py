"""Scores an adapted classifier on its target without labels, after each epoch."""

import warnings

import keras
import numpy as np

from keras_transfer.checks import check_number, received
from keras_transfer.metrics.proxy_a_distance import proxy_a_distance
from keras_transfer.metrics.target_scores import information, neighborhood_density, nuclear_norm, prediction_entropy
from keras_transfer.streams import gate

LOSSES = 3  # epochs in which a discriminator may begin
MOST = 1000  # rows of which all pairs are looked at


class TargetScore(keras.callbacks.Callback):
    """Writes scores of the target's predictions into the logs, which EarlyStopping and ModelCheckpoint can monitor.

    `target_information`, `target_nuclear_norm` and `target_density` are high, `target_entropy` is low where answers are
    sure, and diverse where the first three are; see `kt.metrics`. `target_information` is the one to choose by, with
    `mode="max"`: it goes best with the accuracy on the target, which nobody knows there. Pass this callback before the
    ones that monitor it.

    With `source` the logs hold `domain_distance` too, the proxy A-distance of the encoder's features, from 0 to 2. It
    falls where domains are made alike, which does not say that their classes meet.

    It warns once if answers collapse, that is if they spread over less than a share of the classes, as the exponential
    of their entropy counts them; if a discriminator loses from the start, its `domain_term` above log 2 in each of the
    first three epochs; and at the end of training if no row is told to be of some class, or if the score is below that
    of the source alone.

    Args:
        x: unlabelled inputs of the target `(rows, ...)`, an array or a dict of arrays, some thousands of rows.
        source_only: float, the `information` of the same networks without adaptation; None: it is not known.
        collapse: float from 0 to 1, that share; 0: nothing is said of the classes.
        source: unlabelled inputs of the source `(n, ...)`, of which, as of the target, at most 1,000 are drawn; the
            encoder that the model serves is a `keras.Model` then. None: the distance is not measured.

    Raises:
        ValueError: if x comes with labels or is no array of finite numbers or strings, or has fewer than 2 rows.

    Example:

    ```python
    score = kt.callbacks.TargetScore(x_target)
    best = keras.callbacks.ModelCheckpoint("best.keras", monitor="target_information", mode="max", save_best_only=True)
    model.fit(stream, epochs=20, callbacks=[score, best])
    ```

    Reference:
        Musgrave, Belongie and Lim, Three New Validators and a Large-Scale Benchmark Ranking for Unsupervised Domain
        Adaptation, 2022, arXiv:2208.07360.
    """

    def __init__(self, x, source_only=None, collapse=0.5, source=None):
        super().__init__()
        for name, one in (("x", x), ("source", source)):
            if isinstance(one, tuple | list):
                raise ValueError(f"Expected `{name}` to be inputs without labels; received {received(one)}.")
        self.x, self.source_only, self.warned = gate.arrays(x, "x"), source_only, False
        self.source = None if source is None else gate.arrays(source, "source")
        self.never, self.lost = (), 0
        self.collapse = check_number(collapse, "collapse", least=0, most=1)
        rows = gate.length(self.x)
        if rows < 2:
            raise ValueError(f"Expected at least 2 rows to see how diverse predictions are; received {rows}.")

    def on_epoch_end(self, epoch, logs=None):
        """Scores the predictions, and warns once if they have collapsed."""
        logits = self.model.predict(self.x, batch_size=256, verbose=0)
        few = np.random.default_rng(0).permutation(len(logits))[:MOST]
        logs["target_information"] = self.last = information(logits)
        logs["target_nuclear_norm"] = nuclear_norm(logits)
        logs["target_entropy"] = prediction_entropy(logits)
        logs["target_density"] = neighborhood_density(logits[few])
        if self.source is not None:
            logs["domain_distance"] = proxy_a_distance(*(self._features(rows) for rows in (self.source, self.x)))
        classes = logits.shape[1]
        shares = np.bincount(logits.argmax(1), minlength=classes) / len(logits)
        spread = np.exp(-(shares * np.log(np.maximum(shares, 1e-300))).sum())
        self.never = np.flatnonzero(shares == 0)
        self.lost = (self.lost if epoch else 0) + (logs.get("domain_term", 0.0) > np.log(2))
        if self.lost == epoch + 1 == LOSSES:
            warnings.warn(
                f"In each of the first {LOSSES} epochs the domain term was above log 2, {logs['domain_term']:.3f} in "
                "the last: the discriminator does worse than chance, and what it tells the encoder leads nowhere. What "
                "helps: a weaker reversal at the start (`kt.schedules.DannRamp`), a lower peak, separate passes.",
                stacklevel=2,
            )
        if spread <= self.collapse * classes and not self.warned:
            self.warned = True
            warnings.warn(
                f"After epoch {epoch + 1} the target's answers spread over {spread:.1f} of {classes} classes, and "
                f"{shares.max():.0%} of them are class {shares.argmax()}: adaptation may have collapsed. What helps: a "
                "lower weight, a longer ramp, a smaller learning rate; where classes are not equally frequent, a term "
                "that does not ask for it.",
                stacklevel=2,
            )

    def _features(self, x):
        few = np.random.default_rng(0).permutation(gate.length(x))[:MOST]
        encoder = self.model.served[0]
        return encoder.predict(keras.tree.map_structure(lambda part: part[few], x), batch_size=256, verbose=0)

    def on_train_end(self, logs=None):
        """Warns of classes that are no answer, and if the score is below that of training on the source alone."""
        if len(self.never) and self.collapse and not self.warned:
            warnings.warn(
                f"At the end no row of the target is told to be of the classes {self.never.tolist()}. If the target "
                "does not have them, terms that ask for all classes alike mislead (`negative_information`, `SHOT`); if "
                "it does, adaptation has lost them: compare a lower weight.",
                stacklevel=2,
            )
        if self.source_only is not None and self.last < self.source_only:
            warnings.warn(
                f"The target's score after adaptation, {self.last:.3f}, is below that of training on the source alone, "
                f"{self.source_only:.3f}: adaptation may hurt here. Compare a lower weight, or stay with the source.",
                stacklevel=2,
            )
