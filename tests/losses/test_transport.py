import numpy as np
import pytest
from scipy.optimize import linprog

import keras_transfer as kt
from keras_transfer.layers.prototypes import squared_distances


def cost_of(rows, columns, seed=0):
    return np.random.default_rng(seed).random((rows, columns)).astype("float32")


def least(cost):
    """The least cost of a transport, by linear programming."""
    rows, columns = cost.shape
    sums = [np.kron(np.eye(rows), np.ones(columns)), np.kron(np.ones(rows), np.eye(columns))]
    shares = [np.full(rows, 1 / rows), np.full(columns, 1 / columns)]
    return linprog(cost.ravel(), A_eq=np.concatenate(sums), b_eq=np.concatenate(shares)).fun


@pytest.mark.parametrize("rows, columns", [(8, 8), (5, 12), (1, 4)])
def test_sums_of_rows_and_columns(rows, columns):
    plan = np.asarray(kt.losses.transport_plan(cost_of(rows, columns), steps=300))
    np.testing.assert_allclose(plan.sum(0), 1 / columns, rtol=1e-5)
    np.testing.assert_allclose(plan.sum(1), 1 / rows, rtol=1e-3)
    assert plan.min() >= 0


@pytest.mark.parametrize("seed", range(3))
def test_near_the_optimum_of_linear_programming(seed):
    """The entropy of a plan is at most log(rows columns): by so much times epsilon may its cost lie above the least."""
    cost = cost_of(7, 9, seed)
    plan = np.asarray(kt.losses.transport_plan(cost, 0.03, steps=300))
    bound = 0.03 * cost.mean() * np.log(cost.size)
    assert least(cost) - 1e-3 <= (plan * cost).sum() <= least(cost) + bound


def test_has_the_form_of_the_optimum():
    """log plan + cost / epsilon is a sum of one number for each row and one for each column."""
    cost = cost_of(4, 6)
    potentials = np.log(np.asarray(kt.losses.transport_plan(cost), "float64")) + cost / (0.05 * cost.mean())
    mixed = potentials - potentials.mean(0) - potentials.mean(1, keepdims=True) + potentials.mean()
    np.testing.assert_allclose(mixed, 0.0, atol=1e-3)


def test_pairs_what_belongs_together():
    order = np.random.default_rng(0).permutation(6)
    plan = np.asarray(kt.losses.transport_plan(1.0 - np.eye(6, dtype="float32")[order]))
    np.testing.assert_allclose(plan, np.eye(6)[order] / 6, atol=1e-4)


def test_equal_costs_spread_evenly():
    np.testing.assert_allclose(
        kt.losses.transport_plan(np.zeros((3, 4), "float32")), np.full((3, 4), 1 / 12), rtol=1e-5
    )


def test_distances():
    first, second = np.random.default_rng(0).normal(size=(2, 5, 3)).astype("float32")
    by_hand = [[((a - b) ** 2).sum() for b in second] for a in first]
    np.testing.assert_allclose(squared_distances(first, second), by_hand, rtol=1e-4)


@pytest.mark.parametrize("arguments", [{"regularization": 0.0}, {"steps": 0}])
def test_numbers_out_of_range(arguments):
    with pytest.raises(ValueError, match=f"Expected `{next(iter(arguments))}`"):
        kt.losses.transport_plan(np.zeros((2, 2), "float32"), **arguments)


def test_what_is_no_matrix():
    with pytest.raises(ValueError, match=r"Expected a cost of shape \(rows, columns\); received shape \(4,\)"):
        kt.losses.transport_plan(np.zeros(4, "float32"))
