"""Optimal transport of one batch to another, regularised by entropy."""

from keras import ops

from keras_transfer.checks import check_integer, check_number


def transport_plan(cost, regularization=0.05, steps=100):
    """Returns the plan that brings a batch to another at the least cost, but for the entropy of the plan.

    plan = argmin sum_ij plan_ij cost_ij - epsilon H(plan),   rows sum to 1 / rows, columns to 1 / columns
    epsilon = regularization * mean cost

    Sinkhorn's iterations on logarithms, which neither overflow nor vanish. No gradient flows through the plan.

    Args:
        cost: tensor `(rows, columns)` of at least 0.
        regularization: float above 0; the smaller, the sparser the plan, and the more steps it takes.
        steps: int, iterations. The columns' sums hold to the last bit, the rows' the better, the more.

    Returns:
        Tensor `(rows, columns)`, float32, of sum 1.

    Raises:
        ValueError: if the cost is no matrix, or a number is out of range.

    Reference:
        Cuturi, Sinkhorn Distances: Lightspeed Computation of Optimal Transport, NIPS 2013, arXiv:1306.0895.
    """
    if len(cost.shape) != 2:
        raise ValueError(f"Expected a cost of shape (rows, columns); received shape {tuple(cost.shape)}.")
    check_number(regularization, "regularization", above=0)
    check_integer(steps, "steps")
    cost = ops.stop_gradient(ops.cast(cost, "float32"))
    scaled = -cost / ops.maximum(regularization * ops.mean(cost), 1e-12)
    shares = [-ops.log(ops.cast(size, "float32")) for size in (ops.shape(cost)[0], ops.shape(cost)[1])]

    def step(_, potentials):
        _, second = potentials
        first = shares[0] - ops.logsumexp(scaled + second[None, :], axis=1)
        return first, shares[1] - ops.logsumexp(scaled + first[:, None], axis=0)

    first, second = ops.fori_loop(0, steps, step, (ops.zeros_like(scaled[:, 0]), ops.zeros_like(scaled[0])))
    return ops.stop_gradient(ops.exp(scaled + first[:, None] + second[None, :]))
