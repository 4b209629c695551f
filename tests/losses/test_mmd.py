import itertools

import numpy as np
import pytest
from keras import ops

import keras_transfer as kt
from tests.gradients import gradient


def features(rows, shift=0.0, dim=5, seed=0):
    return np.random.default_rng(seed).normal(shift, size=(rows, dim)).astype("float32")


def mmd_by_hand(source, target, factors=(0.25, 0.5, 1.0, 2.0, 4.0), unbiased=False):
    """Pair by pair in float64."""
    source, target = np.float64(source), np.float64(target)
    pairs = itertools.combinations(np.concatenate([source, target]), 2)
    median = np.median([np.sum((a - b) ** 2) for a, b in pairs])

    def mean_kernel(first, second, skip_same=False):
        values = [
            np.mean([np.exp(-np.sum((a - b) ** 2) / (factor * median)) for factor in factors])
            for i, a in enumerate(first)
            for j, b in enumerate(second)
            if not (skip_same and i == j)
        ]
        return np.mean(values)

    within = mean_kernel(source, source, unbiased) + mean_kernel(target, target, unbiased)
    return within - 2 * mean_kernel(source, target)


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("factors", [(0.25, 0.5, 1.0, 2.0, 4.0), (0.7,)])
@pytest.mark.parametrize("rows", [(8, 8), (5, 12), (2, 3)])  # an even and an odd number of pairs
def test_against_numpy(rows, factors, unbiased):
    source, target = features(rows[0]), features(rows[1], 1.0, seed=1)
    expected = mmd_by_hand(source, target, factors, unbiased)
    np.testing.assert_allclose(kt.losses.mmd(source, target, factors, unbiased), expected, atol=1e-5)


def test_zero_for_equal_batches():
    x = features(9)
    np.testing.assert_allclose(kt.losses.mmd(x, x[::-1]), 0.0, atol=1e-6)


def test_two_for_batches_far_apart():
    """Each batch is one point: all kernels within are 1; those between vanish for a narrow bandwidth."""
    source, target = np.zeros((4, 3), "float32"), np.full((4, 3), 7.0, "float32")
    np.testing.assert_allclose(kt.losses.mmd(source, target, factors=(0.01,)), 2.0, atol=1e-6)


def test_finite_where_all_rows_are_equal():
    x = np.ones((4, 3), "float32")
    assert ops.convert_to_numpy(kt.losses.mmd(x, x)) == 0.0
    assert np.isfinite(gradient(lambda t: kt.losses.mmd(x, t), x)).all()


def test_where_most_rows_are_the_same_the_mean_is_the_bandwidth():
    """Three of four rows are one point far from the origin, the fourth lies at distance 5: the mean of d^2 is 12.5."""
    source, target = np.full((2, 3), 100.0, "float32"), np.float32([[100, 100, 100], [103, 104, 100]])
    far = np.exp(-25 / 12.5)
    expected = 1 + (2 + 2 * far) / 4 - 2 * (2 + 2 * far) / 4
    np.testing.assert_allclose(kt.losses.mmd(source, target, factors=(1.0,)), expected, rtol=1e-4)


def test_joint_kernel_is_the_product():
    """Row by row in float64: of features and of a second output, each with its own median."""
    outputs = [(features(6), features(7, 1.0, seed=1)), (features(6, dim=3, seed=2), features(7, 0.5, 3, seed=3))]
    kernels = []
    for source, target in outputs:
        rows = np.concatenate([source, target]).astype("float64")
        distances = np.array([[np.sum((a - b) ** 2) for b in rows] for a in rows])
        kernels.append(np.exp(-distances / np.median(distances[np.triu_indices(13, 1)])))
    kernel = kernels[0] * kernels[1]
    expected = kernel[:6, :6].mean() + kernel[6:, 6:].mean() - 2 * kernel[:6, 6:].mean()
    found = kt.losses.joint_mmd([source for source, _ in outputs], [target for _, target in outputs], (1.0,))
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("source, target", [([], []), ([features(4)], [features(4), features(4)])])
def test_lists_of_outputs_that_do_not_fit(source, target):
    with pytest.raises(ValueError, match="Expected `source` and `target` to be lists of one length"):
        kt.losses.joint_mmd(source, target)


@pytest.mark.parametrize("scale", [0.001, 0.01, 1000.0])
def test_median_heuristic_follows_the_scale(scale):
    source, target = features(8), features(12, 1.0, seed=1)
    scaled = kt.losses.mmd(np.float32(scale * source), np.float32(scale * target))
    np.testing.assert_allclose(scaled, kt.losses.mmd(source, target), rtol=1e-4)


def test_does_not_depend_on_the_origin():
    source, target = features(8), features(12, 1.0, seed=1)
    np.testing.assert_allclose(kt.losses.mmd(source + 100, target + 100), kt.losses.mmd(source, target), atol=1e-4)


def test_estimators_over_many_draws_of_one_distribution():
    draws = [(features(6, seed=2 * i), features(10, seed=2 * i + 1)) for i in range(100)]
    unbiased = np.array([kt.losses.mmd(*draw, unbiased=True) for draw in draws], "float64")
    biased = np.array([kt.losses.mmd(*draw) for draw in draws], "float64")
    # The bandwidth is estimated from the same rows, which leaves the mean off by far less than one draw's deviation.
    assert abs(unbiased.mean()) < 4 * unbiased.std() / 100**0.5
    assert (unbiased < 0).any() and biased.min() > 0 and biased.mean() > unbiased.std()


@pytest.mark.parametrize("unbiased", [False, True])
def test_contract(unbiased):
    def function(source, target):
        return kt.losses.mmd(source, target, (0.5, 2.0), unbiased)

    loss = kt.losses.MMD((0.5, 2.0), unbiased)
    kt.testing.check_loss(function, loss, features(8), features(12, 1.0, seed=1))


def test_steps_along_the_gradient_move_the_features_together():
    source, target = features(16), features(24, 2.0, seed=1)
    before = mmd_by_hand(source, target)
    for _ in range(60):
        target = target - 20.0 * gradient(lambda t: kt.losses.mmd(source, t), target)
    assert mmd_by_hand(source, target) < 0.1 * before
    assert np.abs(target.mean(axis=0) - source.mean(axis=0)).max() < 1.0  # 2 apart at first


def test_no_gradient_passes_the_median():
    """The gradient is that of the kernels at a bandwidth held fixed: central differences of it in float64."""
    source, target = features(4), features(5, 1.0, seed=1)
    pairs = itertools.combinations(np.concatenate([source, target]), 2)
    median = np.median([np.sum(np.float64(a - b) ** 2) for a, b in pairs])

    def kernel(a, b):
        return np.exp(-np.sum((a[:, None] - b[None]) ** 2, axis=-1) / median).mean()

    def fixed(t):
        return kernel(source, source) + kernel(t, t) - 2 * kernel(source, t)

    expected, h = np.zeros_like(target, "float64"), 1e-5
    for index in np.ndindex(target.shape):
        step = np.zeros_like(expected)
        step[index] = h
        expected[index] = (fixed(target + step) - fixed(target - step)) / (2 * h)
    np.testing.assert_allclose(gradient(lambda t: kt.losses.mmd(source, t, (1.0,)), target), expected, atol=1e-5)
