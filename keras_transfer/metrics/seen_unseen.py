"""Metrics of zero-shot learning: accuracy by class, and what seen classes cost those never seen."""

from typing import NamedTuple

import numpy as np

from keras_transfer.metrics.scikit_learn import sklearn


def class_accuracy(labels, logits, top=1):
    """Returns the mean over classes of the share of their rows that is told right.

    Args:
        labels: integer array `(rows,)`.
        logits: array `(rows, classes)`.
        top: int, how many answers a row has.

    Returns:
        Float from 0 to 1; classes without rows do not count.

    Reference:
        Xian et al., Zero-Shot Learning - A Comprehensive Evaluation of the Good, the Bad and the Ugly, TPAMI 2018,
        arXiv:1707.00600, section 4.
    """
    labels, logits = _checked(labels, logits)
    own = logits[np.arange(len(labels)), labels][:, None]
    before = np.arange(logits.shape[1]) < labels[:, None]  # of equal logits the first is the answer, as of `argmax`
    right = ((logits > own) | ((logits == own) & before)).sum(1) < top
    counts = np.bincount(labels, minlength=logits.shape[1])
    return float((np.bincount(labels, weights=right, minlength=len(counts))[counts > 0] / counts[counts > 0]).mean())


class SeenUnseen(NamedTuple):
    """The accuracies on seen and on unseen classes, as functions of what the logits of seen classes lose.

    Attributes:
        steps: floats `(points - 1,)`, ascending: the penalties at which they change.
        seen: floats `(points,)`, S: the accuracy by class of rows of seen classes, below, between and above the steps.
        unseen: floats `(points,)`, U: that of rows of unseen classes.
    """

    steps: np.ndarray
    seen: np.ndarray
    unseen: np.ndarray

    @property
    def harmonic(self):
        """H = 2 S U / (S + U), floats `(points,)`."""
        return 2 * self.seen * self.unseen / np.maximum(self.seen + self.unseen, 1e-12)

    @property
    def best(self):
        """The penalty of the largest H, between two steps."""
        place = int(self.harmonic.argmax())
        below, above = self.steps[0] - 1.0, self.steps[-1] + 1.0
        around = np.concatenate([[below], self.steps, [above]])
        return float((around[place] + around[place + 1]) / 2)

    @property
    def area(self):
        """AUSUC: the area under S as a function of U, from 0 to 1."""
        order = np.lexsort((-self.seen, self.unseen))
        return float(np.trapezoid(self.seen[order], self.unseen[order]))

    def at(self, penalty):
        """Returns S, U and H as a dict at a penalty."""
        place = int(np.searchsorted(self.steps, penalty, side="left"))
        return {
            "seen": float(self.seen[place]),
            "unseen": float(self.unseen[place]),
            "harmonic": float(self.harmonic[place]),
        }


def seen_unseen(logits, labels, seen):
    """Returns how well seen and unseen classes are told from all of them, at every penalty of the seen ones' logits.

    Args:
        logits: array `(rows, classes)`, of all classes, without a penalty.
        labels: integer array `(rows,)`, of test rows of seen and of unseen classes.
        seen: bool array `(classes,)`, which classes training showed.

    Returns:
        A `SeenUnseen`: `.at(0.0)` are S, U and H as they are, `.best` is the penalty of the largest H. On classes held
        out of training that is what `calibrate(penalty=...)` takes; on the test it is an oracle. `.area` is AUSUC.

    Raises:
        ValueError: if there are no rows of seen, or of unseen classes.

    Reference:
        Chao et al., An Empirical Study and Analysis of Generalized Zero-Shot Learning for Object Recognition in the
        Wild, ECCV 2016, arXiv:1605.04253; H as in Xian et al., arXiv:1707.00600.
    """
    labels, logits, seen = _checked_sides(labels, logits, seen)
    of_seen, of_unseen = np.where(seen, logits, -np.inf), np.where(seen, -np.inf, logits)
    lead = of_seen.max(1) - of_unseen.max(1)  # a row goes to the unseen ones where the penalty is more than that
    own_side = seen[labels]
    best = np.where(own_side, of_seen.argmax(1), of_unseen.argmax(1))
    counts = np.bincount(labels, minlength=len(seen))
    sides = [np.count_nonzero(counts[seen] > 0), np.count_nonzero(counts[~seen] > 0)]
    weights = (best == labels) / counts[labels] / np.where(own_side, *sides)
    order = np.argsort(lead, kind="stable")
    lead, own_side, weights = lead[order], own_side[order], weights[order]
    lost = np.append(0.0, np.cumsum(np.where(own_side, weights, 0.0)))
    won = np.append(0.0, np.cumsum(np.where(own_side, 0.0, weights)))
    total = np.where(own_side, weights, 0.0).sum()
    last = np.append(np.flatnonzero(lead[1:] > lead[:-1]), len(lead) - 1)  # of each group of equal leads
    kept = np.append(0, last + 1)
    return SeenUnseen(lead[last], np.clip(total - lost[kept], 0.0, 1.0), np.clip(won[kept], 0.0, 1.0))


def seen_gate(logits, labels, seen):
    """Returns the gate that tells rows of seen classes from others by their logits: a logistic regression.

    Args:
        logits: array `(rows, classes)`, of a model that was trained without some classes, the unseen ones here.
        labels: integer array `(rows,)`, of rows of both.
        seen: bool array `(classes,)`.

    Returns:
        Floats `(4,)`, for `calibrate(gate=...)`: the constant, and the slopes of the largest logit of a seen class, of
        that of an unseen class, and of the entropy among the seen.

    Raises:
        ValueError: if there are no rows of seen, or of unseen classes.

    Reference:
        After Atzmon and Chechik, Adaptive Confidence Smoothing for Generalized Zero-Shot Learning, CVPR 2019,
        arXiv:1812.09903.
    """
    linear_model = sklearn("linear_model")
    labels, logits, seen = _checked_sides(labels, logits, seen)
    of_seen = logits[:, seen]
    p = np.exp(of_seen - of_seen.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    entropy = -(p * np.log(np.maximum(p, 1e-30))).sum(1)
    columns = np.stack([of_seen.max(1), logits[:, ~seen].max(1), entropy], axis=1)
    mean, spread = columns.mean(0), np.maximum(columns.std(0), 1e-6)
    fit = linear_model.LogisticRegression(class_weight="balanced").fit((columns - mean) / spread, seen[labels])
    slopes = fit.coef_[0] / spread
    return np.append(fit.intercept_[0] - slopes @ mean, slopes)


def _checked(labels, logits):
    labels, logits = np.asarray(labels), np.asarray(logits)
    if logits.ndim != 2 or labels.shape != (len(logits),) or not len(labels):
        raise ValueError(
            f"Expected labels (rows,) and logits (rows, classes); received shapes {labels.shape} and {logits.shape}."
        )
    if labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise ValueError(f"Expected labels from 0 to {logits.shape[1] - 1}; received {labels.min()} to {labels.max()}.")
    if np.isnan(logits).any():
        raise ValueError("Expected logits that are numbers; received NaN.")
    return labels, logits


def _checked_sides(labels, logits, seen):
    labels, logits = _checked(labels, logits)
    seen = np.asarray(seen).astype(bool)
    if seen.shape != (logits.shape[1],) or seen.all() or not seen.any() or len(set(seen[labels])) < 2:
        raise ValueError(
            f"Expected `seen` (classes,) of {logits.shape[1]} classes, and rows of seen and of unseen ones; received "
            f"{int(seen.sum())} seen of {len(seen)}, {int(seen[labels].sum()) if len(seen) == logits.shape[1] else 0} "
            f"rows of them among {len(labels)}."
        )
    return labels, logits, seen
