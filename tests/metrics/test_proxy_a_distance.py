import numpy as np
import pytest
from scipy import stats

from keras_transfer import metrics


def domain(rows, shift, seed):
    return np.random.default_rng(seed).normal(size=(rows, 2)) + [shift, 0]


@pytest.mark.parametrize("shift", [0.0, 1.0, 2.0])
def test_is_that_of_the_best_linear_classifier(shift):
    """Two normal domains: the best boundary lies halfway, and errs with the probability beyond half the shift."""
    expected = 2 * (1 - 2 * stats.norm.sf(shift / 2))
    found = metrics.proxy_a_distance(domain(2000, 0.0, 0), domain(1000, shift, 1))
    np.testing.assert_allclose(found, expected, atol=0.1)


def test_ranges_from_zero_to_two():
    assert metrics.proxy_a_distance(domain(20, 0.0, 0), domain(30, 100.0, 1)) == 2.0
    same = domain(20, 0.0, 0)
    assert metrics.proxy_a_distance(same, same) == 0.0  # what is held out is in training as the other domain


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="of one dimension; received 2 and 3"):
        metrics.proxy_a_distance(np.zeros((4, 2)), np.zeros((4, 3)))
    with pytest.raises(ValueError, match="Expected `target` .* of at least 2 rows"):
        metrics.proxy_a_distance(np.zeros((4, 2)), np.zeros((1, 2)))
    with pytest.raises(ValueError, match="Expected finite values in `source`"):
        metrics.proxy_a_distance(np.full((4, 2), np.inf), np.zeros((4, 2)))
