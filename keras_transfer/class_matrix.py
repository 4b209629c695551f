"""Classes as rows of a matrix: how similar inputs are to them, what seen ones lose, checks of what describes them."""

import numpy as np
from keras import ops

from keras_transfer.layers.prototypes import ABSENT
from keras_transfer.losses.contrastive import unit_rows
from keras_transfer.signatures import classified

_NUMBERS = {1: "one class", 2: "two classes"}


def similarities(features, classes, cosine=True):
    """Returns the similarities `(batch, classes)` of features `(batch, dim)` with classes, float32.

    Args:
        features: tensor `(batch, dim)`.
        classes: tensor `(classes, dim)`, or one for each row `(batch, classes, dim)`.
        cosine: bool, whether both are scaled to length 1.
    """
    features, classes = (unit_rows(rows) if cosine else ops.cast(rows, "float32") for rows in (features, classes))
    if len(classes.shape) == 2:
        return ops.matmul(features, ops.transpose(classes))
    return ops.einsum("bd,bcd->bc", features, classes)


def class_logits(found, scale, bias, seen, penalty, gate):
    """Returns the logits `(batch, classes)` of similarities: those of seen classes less the penalty, or gated.

    With a gate: log P(side) + log P(class | side), where the sides are the seen and the unseen classes, and P(seen) is
    the sigmoid of `gate` . (1, largest seen logit, largest unseen logit, entropy among the seen).

    Args:
        found: tensor `(batch, classes)`.
        scale: scalar, the inverse temperature.
        bias: tensor `(classes,)`.
        seen: tensor `(classes,)`, 1.0 of seen classes.
        penalty: scalar.
        gate: tensor `(4,)`, zeros for none.

    Reference:
        Chao et al., An Empirical Study and Analysis of Generalized Zero-Shot Learning, ECCV 2016, arXiv:1605.04253 (the
        penalty, there called calibrated stacking); after Atzmon and Chechik, Adaptive Confidence Smoothing for
        Generalized Zero-Shot Learning, CVPR 2019, arXiv:1812.09903 (the gate).
    """
    logits = found * scale + bias
    sides = [ops.where(seen > 0, logits, ABSENT), ops.where(seen > 0, ABSENT, logits)]
    told = [ops.log_softmax(side, axis=-1) for side in sides]
    entropy = -ops.sum(ops.exp(told[0]) * told[0], axis=-1)
    is_seen = gate[0] + gate[1] * ops.max(sides[0], axis=-1) + gate[2] * ops.max(sides[1], axis=-1) + gate[3] * entropy
    of_seen, of_unseen = (ops.log_sigmoid(side)[:, None] for side in (is_seen, -is_seen))
    gated = ops.where(seen > 0, of_seen + told[0], of_unseen + told[1])
    return ops.where(ops.any(ops.not_equal(gate, 0.0)), gated, logits - penalty * seen)


def answered(found, logits, least, names=None):
    """Returns what is served of similarities: the answers of a classifier, -1 and "" where all lie below `least`.

    Args:
        found: tensor `(batch, classes)`.
        logits: tensor `(batch, classes)`.
        least: scalar.
        names: list of class names, or None.
    """
    answers = classified(logits, names)
    near = ops.logical_and(ops.max(found, axis=-1) >= least, answers["class_id"] >= 0)
    answers["class_id"] = ops.where(near, answers["class_id"], ops.cast(-1, "int64"))
    if names is not None:
        answers["class_name"] = ops.where(near, answers["class_name"], "")
    return {**answers, "similarity": found}


def checked_descriptions(descriptions, least=1):
    """Returns `{name: list of descriptions}` after a check that each class has some, and no two the same.

    Args:
        descriptions: see `DescribedClasses`.
        least: int, how many classes there have to be.

    Raises:
        ValueError: if it is no such dict, a class has no description, one of another kind or width, or an empty one, or
            two classes have the same.
    """
    if not isinstance(descriptions, dict) or len(descriptions) < least:
        raise ValueError(
            f"Expected `descriptions` as a dict of at least {_NUMBERS[least]}; received {short(descriptions)}."
        )
    found, before, kinds = {}, {}, set()
    for name, rows in descriptions.items():
        if not isinstance(rows, str) and np.ndim(rows) == 1 and np.asarray(rows).dtype.kind in "biuf" and len(rows):
            rows = [rows]  # one vector
        if isinstance(rows, str) or not hasattr(rows, "__len__") or not len(rows):
            raise ValueError(f"Expected a list of descriptions of the class {name!r}; received {rows!r}.")
        kept = [row if isinstance(row, str) else np.asarray(row).tolist() for row in rows]
        if not all(row.strip() if isinstance(row, str) else row for row in kept):
            raise ValueError(f"Expected descriptions of the class {name!r} that say something; received an empty one.")
        kinds |= {"text" if isinstance(row, str) else np.shape(row) for row in kept}
        if len(kinds) > 1:
            raise ValueError(
                f"Expected descriptions of one kind, all texts or all vectors of one width; received {kinds} by the "
                f"class {name!r}."
            )
        key = repr(kept)
        if key in before:
            raise ValueError(f"Expected descriptions that differ; received the same of {before[key]!r} and {name!r}.")
        before[key] = str(name)
        found[str(name)] = kept
    return found


def short(value):
    """Returns what was received, cut where it is long."""
    text = repr(value)
    return text if len(text) < 200 else f"{text[:200]} ..."
