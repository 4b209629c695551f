"""Ranking losses and contrasts of pairs against loops."""

import keras
import numpy as np
import pytest

import keras_transfer as kt
from tests import oracles


def ranked(y, scores, margin, weigh):
    rows = []
    for label, row in zip(y, scores):
        broken = [max(0.0, margin + s - row[label]) for c, s in enumerate(row) if c != label]
        rows.append(weigh([b for b in broken if b > 0]))
    return np.mean(rows)


WEIGHED = {
    "devise": sum,
    "sje": lambda broken: max(broken, default=0.0),
    "ale": lambda broken: sum(1 / k for k in range(1, len(broken) + 1)) / max(len(broken), 1) * sum(broken),
}


@pytest.mark.parametrize("name", WEIGHED)
def test_ranking_by_hand(name):
    rng = np.random.default_rng(0)
    y, scores = rng.integers(0, 5, 9), rng.normal(size=(9, 5)).astype("float32")
    scores[:, 4] = np.where(y == 4, scores[:, 4], -1e9)  # a class that cannot be
    expected = ranked(y, scores, 0.7, WEIGHED[name])
    np.testing.assert_allclose(getattr(kt.losses, name)(y, scores, 0.7), expected, rtol=1e-5)
    loss = {"devise": kt.losses.DeViSE, "sje": kt.losses.SJE, "ale": kt.losses.ALE}[name](0.7)
    np.testing.assert_allclose(loss(y, scores), expected, rtol=1e-5)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert again.margin == 0.7
    with pytest.raises(ValueError, match="margin"):
        type(loss)(0.0)


def test_contrasts_of_pairs_by_hand():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 6, 4)).astype("float32")
    scores = oracles.unit(first) @ oracles.unit(second).T
    both = [oracles.sparse(np.arange(6), 7.0 * part) for part in (scores, scores.T)]
    np.testing.assert_allclose(kt.losses.info_nce(first, second, 7.0), np.mean(both), rtol=1e-5)
    signs = 2 * np.eye(6) - 1
    expected = np.log1p(np.exp(-signs * (7.0 * scores - 3.0))).sum() / 6
    np.testing.assert_allclose(kt.losses.sig_lip(first, second, 7.0, -3.0), expected, rtol=1e-5)
    with pytest.raises(ValueError, match="at least 2 examples"):
        kt.losses.info_nce(first[:1], second[:1], 1.0)
