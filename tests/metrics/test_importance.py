import numpy as np
import pytest
from scipy import stats

from keras_transfer import metrics


def normal(rows, mean, seed):
    return np.random.default_rng(seed).normal(size=(rows, 2)) + [mean, 0]


def test_weights_are_the_ratio_of_the_densities():
    """Two normal domains of one variance, for which a logistic regression is right."""
    source = normal(3000, 0.0, 0)
    found = metrics.importance_weights(source, normal(3000, 0.7, 1))
    expected = stats.norm.pdf(source[:, 0], 0.7) / stats.norm.pdf(source[:, 0])
    assert found.dtype == np.float32 and found.shape == (3000,)
    np.testing.assert_allclose(found.mean(), 1, rtol=1e-5)
    assert np.corrcoef(np.log(found), np.log(expected))[0, 1] > 0.99
    np.testing.assert_allclose((found * source[:, 0]).mean(), 0.7, atol=0.1)  # the target's mean


def test_equal_domains_weigh_all_rows_alike():
    same = normal(500, 0.0, 0)
    np.testing.assert_allclose(metrics.importance_weights(same, same), 1, atol=0.2)


def test_no_row_outweighs_all():
    found = metrics.importance_weights(normal(200, 0.0, 0), normal(200, 6.0, 1), most=4.0)
    assert found.max() <= 4.4 and found.mean() == pytest.approx(1, rel=1e-5)


def test_what_are_no_features():
    with pytest.raises(ValueError, match="of one dimension; received 2 and 3"):
        metrics.importance_weights(np.zeros((4, 2)), np.zeros((4, 3)))
    with pytest.raises(ValueError, match="Expected finite values in `target`"):
        metrics.importance_weights(np.zeros((4, 2)), np.full((4, 2), np.nan))
    with pytest.raises(ValueError, match="`most`"):
        metrics.importance_weights(np.zeros((4, 2)), np.zeros((4, 2)), most=1.0)


def test_risk_by_hand():
    """(1, 3) weighted (0.5, 1.1): the mean is 1.9, the weights' mean .8, and eta = -1.4 * .6 / .36."""
    losses, weights = np.array([1.0, 3.0]), np.array([0.5, 1.1])
    weighted = np.array([0.5, 3.3])
    eta = -np.cov(weighted, weights)[0, 1] / np.var(weights, ddof=1)
    expected = weighted.mean() + eta * (weights.mean() - 1)
    np.testing.assert_allclose(metrics.deep_embedded_risk(losses, weights), expected)


def test_risk_spreads_less_than_the_weighted_mean_and_has_its_mean():
    """Of many draws with known weights: losses that go with the weights are told by them."""
    rng, plain, controlled = np.random.default_rng(0), [], []
    for _ in range(300):
        x = rng.normal(size=200)
        weights = np.exp(0.7 * x - 0.245)  # to a normal domain of mean 0.7
        losses = 1.0 + 0.5 * x
        plain.append((weights * losses).mean())
        controlled.append(metrics.deep_embedded_risk(losses, weights))
    np.testing.assert_allclose(np.mean(controlled), 1.35, atol=0.05)
    assert np.std(controlled) < 0.6 * np.std(plain)


def test_equal_weights_give_the_mean():
    assert metrics.deep_embedded_risk([1.0, 2.0, 6.0], np.ones(3)) == pytest.approx(3.0)


@pytest.mark.parametrize("losses, weights", [([1.0], [1.0]), ([1.0, 2.0], [1.0]), ([1.0, np.nan], [1.0, 1.0])])
def test_what_is_no_risk(losses, weights):
    with pytest.raises(ValueError, match="Expected"):
        metrics.deep_embedded_risk(losses, weights)
