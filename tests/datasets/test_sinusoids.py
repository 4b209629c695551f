import numpy as np
import pytest

from keras_transfer.datasets import sinusoids


def test_tasks_are_sinusoids_of_the_stated_range():
    """A sum of sine and cosine explains each task, of support and query together."""
    x, y = sinusoids(500, shots=7, queries=4, seed=0)
    points, targets = (np.concatenate(pair, 1) for pair in zip(x["support"], (x["query"], y)))
    assert points.shape == targets.shape == (500, 11, 1) and points.dtype == targets.dtype == np.float32
    assert -5 <= points.min() < -4.9 and 4.9 < points.max() <= 5
    basis = np.concatenate([np.sin(points), np.cos(points)], -1)
    found = np.linalg.pinv(basis) @ targets
    np.testing.assert_allclose(basis @ found, targets, atol=1e-3)
    sine, cosine = found[:, 0, 0], -found[:, 1, 0]  # amplitude * (cos phase, sin phase)
    amplitude, phase = np.hypot(sine, cosine), np.arctan2(cosine, sine)
    assert 0.1 - 1e-3 <= amplitude.min() < 0.2 and 4.9 < amplitude.max() <= 5 + 1e-3
    assert -1e-3 <= phase.min() < 0.1 and np.pi - 0.1 < phase.max() <= np.pi + 1e-3


def test_seed():
    (first, y), (again, z), (other, _) = (sinusoids(3, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first["query"], again["query"])
    np.testing.assert_array_equal(y, z)
    assert not np.array_equal(first["query"], other["query"])


def test_bad_input():
    with pytest.raises(ValueError, match="`shots` of at least 1; received 0"):
        sinusoids(3, shots=0)
