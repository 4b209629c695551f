import math

import numpy as np
import pytest

from keras_transfer import metrics


def test_is_the_sum_of_the_paper():
    """Equations 1 and 2 of the paper, written out row by row."""
    rng = np.random.default_rng(0)
    p, y = rng.dirichlet(np.ones(4), size=20), np.arange(20) % 3
    total = 0.0
    for i in range(20):
        expected = 0.0
        for z in range(4):
            joint = sum(p[k, z] for k in range(20) if y[k] == y[i]) / 20
            expected += joint / (sum(p[k, z] for k in range(20)) / 20) * p[i, z]
        total += math.log(expected)
    np.testing.assert_allclose(metrics.leep(p, y), total / 20)


def test_ranges_from_the_shares_of_the_classes_to_zero():
    y = np.repeat([0, 1], [30, 10])
    np.testing.assert_allclose(metrics.leep(np.full((40, 5), 0.2), y), 0.75 * np.log(0.75) + 0.25 * np.log(0.25))
    assert metrics.leep(np.eye(5)[2 + y], y) == 0.0  # each class is one of the source; three have no probability at all


def test_logits_are_refused():
    with pytest.raises(ValueError, match="rows that sum to 1; received values from -1"):
        metrics.leep([[-1.0, 2.0], [0.5, 0.5]], [0, 1])
