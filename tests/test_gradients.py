import numpy as np
import pytest
from scipy.optimize import minimize

from keras_transfer import gradients


def vectors(tasks, dim=20, seed=0, opposed=1.0):
    """Gradients of very different length, many of them at odds."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=dim)
    return (rng.normal(size=(tasks, dim)) * 2 * opposed + common) * 10 ** rng.uniform(-1, 1, (tasks, 1))


def coefficients(solve, g, *args):
    return np.array(solve(np.float32(g @ g.T), *args), "float64")


def on_simplex(objective, tasks):
    """The least value of a convex function of weights of sum 1, at least 0."""
    found = minimize(
        objective,
        np.full(tasks, 1 / tasks),
        bounds=[(0, 1)] * tasks,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 1000},
    )
    return found.fun


def test_gram_is_over_all_variables():
    g = np.random.default_rng(0).normal(size=(3, 10)).astype("float32")
    parts = [[row[:4].reshape(2, 2), row[4:]] for row in g]
    np.testing.assert_allclose(gradients.gram(parts), g @ g.T, rtol=1e-5)
    a, b = gradients.weighted_sum(parts, np.float32([1, -2, 0.5]))
    np.testing.assert_allclose(np.concatenate([np.ravel(a), b]), np.float32([1, -2, 0.5]) @ g, rtol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_pcgrad_of_two_tasks_conflicts_with_neither(seed):
    g = vectors(2, 3, seed)
    update = coefficients(gradients.pcgrad, g, np.int32([[0, 1], [1, 0]])) @ g
    assert (g @ update >= -1e-5 * np.linalg.norm(g, axis=1) * np.linalg.norm(update)).all()


def test_pcgrad_leaves_gradients_that_agree():
    g = np.abs(vectors(3))
    orders = np.int32([[0, 1, 2], [2, 1, 0], [1, 0, 2]])
    np.testing.assert_allclose(coefficients(gradients.pcgrad, g, orders), 1.0)


@pytest.mark.parametrize("seed", range(5))
def test_pcgrad_as_the_algorithm_is_written(seed):
    """Algorithm 1 on the vectors themselves."""
    g = vectors(4, 5, seed)
    orders = np.stack([np.random.default_rng(seed + i).permutation(4) for i in range(4)])
    projected = g.copy()
    for i in range(4):
        for j in orders[i]:
            if j != i and projected[i] @ g[j] < 0:
                projected[i] -= (projected[i] @ g[j]) / (g[j] @ g[j]) * g[j]
    update = coefficients(gradients.pcgrad, g, orders.astype("int32")) @ g
    expected = projected.sum(0)
    assert np.linalg.norm(update - expected) < 1e-4 * np.linalg.norm(expected)


@pytest.mark.parametrize("seed", range(5))
def test_mgda_of_two_tasks_is_the_closed_form(seed):
    a, b = g = vectors(2, 5, seed)
    first = np.clip((b - a) @ b / ((a - b) @ (a - b)), 0, 1)
    np.testing.assert_allclose(coefficients(gradients.mgda, g), [first, 1 - first], atol=1e-4)


@pytest.mark.parametrize("tasks", [2, 3, 5, 10])
@pytest.mark.parametrize("seed", range(3))
def test_mgda_against_a_convex_solver(tasks, seed):
    g = vectors(tasks, seed=seed)
    weights = coefficients(gradients.mgda, g)
    np.testing.assert_allclose(weights.sum(), 1, rtol=1e-5)
    assert weights.min() >= 0
    least = np.sqrt(on_simplex(lambda w: (w @ g) @ (w @ g), tasks))
    assert np.linalg.norm(weights @ g) <= 1.01 * least + 1e-3 * np.linalg.norm(g, axis=1).min()


@pytest.mark.parametrize("strength", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("tasks", [2, 3, 5])
@pytest.mark.parametrize("seed", range(3))
def test_cagrad_against_a_convex_solver(tasks, seed, strength):
    """The least of the objective of the dual, and an update inside the ball."""
    g = vectors(tasks, seed=seed)
    mean = g.mean(0)
    radius = strength * np.linalg.norm(mean)

    def objective(w):
        return w @ g @ mean + radius * np.linalg.norm(w @ g)

    update = coefficients(gradients.cagrad, g, strength) @ g
    assert np.linalg.norm(update - mean) <= 1.001 * radius
    # By duality the worst improvement is that least value.
    np.testing.assert_allclose((g @ update).min(), on_simplex(objective, tasks), rtol=1e-2, atol=1e-3 * mean @ mean)


def test_cagrad_without_strength_is_the_mean():
    np.testing.assert_allclose(coefficients(gradients.cagrad, vectors(4), 0.0), 0.25)


@pytest.mark.parametrize("tasks", [2, 3])
def test_zero_gradients_give_finite_coefficients(tasks):
    gram = np.zeros((tasks, tasks), "float32")
    order = np.tile(np.arange(tasks, dtype="int32"), (tasks, 1))
    for found in (gradients.mgda(gram), gradients.cagrad(gram, 0.5), gradients.pcgrad(gram, order)):
        assert np.isfinite(np.array(found)).all()


@pytest.mark.parametrize("against, conflict", [([[-1.0, 2.0], [3.0]], True), ([[1.0, 0.5], [0.0]], False)])
def test_projection_by_hand(against, conflict):
    gradient = [np.float32([2.0, -1.0]), np.float32([0.5])]
    against = [np.float32(part) for part in against]
    g, r = np.concatenate(gradient), np.concatenate(against)
    assert (g @ r < 0) == conflict
    found = np.concatenate([np.asarray(part) for part in gradients.project(gradient, against)])
    np.testing.assert_allclose(found, g - min(g @ r, 0) / (r @ r) * r, rtol=1e-6)
    assert found @ r >= -1e-6
    zero = [0 * part for part in against]
    np.testing.assert_array_equal(np.concatenate(gradients.project(gradient, zero)), g)
