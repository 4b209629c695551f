import numpy as np
import pytest
from keras import ops

import keras_transfer as kt
from tests.gradients import gradient

towers = np.random.default_rng(0).normal(size=(3, 20)).astype("float32")


def test_spread_of_two_towers_is_half_their_squared_distance():
    found = ops.convert_to_numpy(kt.losses.weight_spread(ops.convert_to_tensor(towers[:2])))
    np.testing.assert_allclose(found, np.square(towers[0] - towers[1]).sum() / 2, rtol=1e-5)


def test_trace_norm_is_the_sum_of_the_singular_values():
    found = ops.convert_to_numpy(kt.losses.trace_norm(ops.convert_to_tensor(towers)))
    np.testing.assert_allclose(found, np.linalg.svd(towers, compute_uv=False).sum(), rtol=1e-5)


def test_gradient_of_the_trace_norm():
    """U V^T of the singular value decomposition."""
    left, _, right = np.linalg.svd(towers, full_matrices=False)
    np.testing.assert_allclose(gradient(kt.losses.trace_norm, towers), left @ right, atol=1e-4)


@pytest.mark.parametrize("penalty", [kt.losses.weight_spread, kt.losses.trace_norm])
def test_equal_towers_have_finite_gradients(penalty):
    equal = np.repeat(towers[:1], 3, axis=0)
    assert np.isfinite(gradient(penalty, equal)).all()
    assert np.isfinite(gradient(penalty, 0 * equal)).all()
