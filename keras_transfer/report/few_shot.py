"""The few-shot report: accuracy over many episodes, its interval, its speed, and the protocol that it holds for."""

import json
import time

import keras
import numpy as np
from keras import ops

from keras_transfer.files import write_whole


class FewShotReport:
    """Reports the accuracy of few-shot classification over episodes: mean, 95 % interval, speed, and the protocol.

    The interval is 1.96 standard deviations of the episodes' accuracies over the root of their number, as in the
    field's tables: it speaks of other episodes, not of another training.

    Args:
        accuracies: `(episodes,)`, the share of right answers in each episode, at least 2.
        protocol: dict of what a reader has to know to compare the number: data set and split, rotations, ways, shots,
            queries, BatchNormalization, seed.
        transductive: bool, whether the answer to a query may depend on the other queries, as where BatchNormalization
            uses their statistics. Never compare one with the other.
        seconds: float, the time that the episodes took.

    Raises:
        ValueError: if there are fewer than 2 episodes, or an accuracy is no number in [0, 1].

    Example:

    ```python
    test = kt.streams.episodes(images, labels, ways=5, shots=1, queries=15, batches=1000, new_each_pass=False, seed=0)
    report = kt.report.FewShotReport.measure(model, test, data="omniglot", split="Vinyals test", rotations=True, seed=0)
    print(report)  # 5-way 1-shot, 15 queries, inductive: 98.31 ± 0.14 % over 1,000 episodes ...
    ```
    """

    def __init__(self, accuracies, protocol, transductive=False, seconds=0.0):
        self.accuracies = np.asarray(accuracies, "float64")
        if self.accuracies.ndim != 1 or len(self.accuracies) < 2:
            raise ValueError(f"Expected accuracies (episodes,) of at least 2; received shape {self.accuracies.shape}.")
        if not ((self.accuracies >= 0) & (self.accuracies <= 1)).all():
            raise ValueError(
                f"Expected accuracies in [0, 1]; received {self.accuracies.min()} to {self.accuracies.max()}."
            )
        self.protocol, self.transductive, self.seconds = dict(protocol), bool(transductive), float(seconds)

    @classmethod
    def measure(cls, model, episodes, transductive=False, **protocol):
        """Runs a model over episodes.

        Args:
            model: few-shot method, such as `PrototypicalNetwork`.
            episodes: finite dataset of `kt.streams.episodes`, of equal ways, shots and queries, in any batches. For an
                encoder whose features do not depend on the episode, episodes of `kt.backbones.cached_features` and a
                model with an encoder that returns its input give the same answers in a fraction of the time.
            transductive: see `FewShotReport`.
            **protocol: see `FewShotReport`; ways, shots and queries are read from the episodes.

        Returns:
            A `FewShotReport`.

        Raises:
            ValueError: if there are no episodes, or they differ in ways, shots or queries.
        """
        accuracies, sizes, seconds = [], set(), 0.0
        for x, y in episodes:
            start = time.perf_counter()
            answers = np.argmax(model.predict_on_batch(x)["prediction"], axis=-1)
            seconds += time.perf_counter() - start if sizes else 0.0  # without the first, which is compiled
            y = ops.convert_to_numpy(y)
            accuracies.append((answers == y).mean(axis=1))
            ways, rows = int(y.max()) + 1, keras.tree.flatten(x["support"])[0].shape[1]
            sizes.add((ways, rows // ways, y.shape[1] // ways))
        if len(sizes) != 1:
            raise ValueError(
                f"Expected episodes of one size (ways, shots, queries); received {sorted(sizes) or 'none'}."
            )
        ways, shots, queries = sizes.pop()
        timed = np.concatenate(accuracies[1:] or accuracies)
        accuracies = np.concatenate(accuracies)
        seconds *= len(accuracies) / len(timed)
        return cls(accuracies, {"ways": ways, "shots": shots, "queries": queries, **protocol}, transductive, seconds)

    @property
    def mean(self):
        """Mean accuracy, a fraction."""
        return float(self.accuracies.mean())

    @property
    def margin(self):
        """Half of the 95 % interval."""
        return float(1.96 * self.accuracies.std(ddof=1) / len(self.accuracies) ** 0.5)

    def __str__(self):
        """Returns the number with all that belongs to it, in one line."""
        size = {"ways": "?", "shots": "?", "queries": "?"} | self.protocol
        text = "{ways}-way {shots}-shot, {queries} queries, ".format(**size)
        text += f"{'transductive' if self.transductive else 'inductive'}: {100 * self.mean:.2f} "
        text += f"± {100 * self.margin:.2f} % over {len(self.accuracies):,} episodes"
        if self.seconds:
            text += f", {len(self.accuracies) / self.seconds:,.0f} a second"
        rest = (name for name in self.protocol if name not in ("ways", "shots", "queries"))
        return text + "".join(f"; {name}: {self.protocol[name]}" for name in rest)

    def to_dict(self):
        """Returns numbers and protocol, ready for JSON."""
        return {
            "accuracy": self.mean,
            "margin": self.margin,
            "episodes": len(self.accuracies),
            "transductive": self.transductive,
            "episodes_per_second": len(self.accuracies) / self.seconds if self.seconds else None,
            "protocol": self.protocol,
        }

    def write(self, path):
        """Writes `to_dict()` as the JSON file `path`, whole or not at all, in place of an earlier one."""
        write_whole(path, f"{json.dumps(self.to_dict(), indent=2)}\n".encode())
