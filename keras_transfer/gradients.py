"""The gradient of a function, and what becomes of the gradients of several tasks.

The solvers know the latter by their inner products alone: each takes the Gram matrix of the tasks' gradients,
`gram[i, j] = g_i . g_j`, and returns a coefficient for each task. The sum of the gradients so weighted is the update;
ones are plain equal weighting.
"""

import keras
from keras import ops

TINY = 1e-30


def gradient(function, weights):
    """Returns the gradient of a scalar function of a list of tensors, which can be differentiated again."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.grad(function)(weights)
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(weights)
        value = function(weights)
    gradients = tape.gradient(value, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return [tf.convert_to_tensor(g) for g in gradients]


def gram(gradients):
    """Returns the inner products of gradients.

    Args:
        gradients: list over the tasks of lists of tensors, of the same shapes for each task.

    Returns:
        Tensor `(tasks, tasks)`, float32.
    """
    total = 0.0
    for parts in zip(*gradients):
        rows = ops.stack([ops.reshape(ops.cast(part, "float32"), (-1,)) for part in parts])
        total += ops.matmul(rows, ops.transpose(rows))
    return total


def lengths(gram):
    """Returns the lengths of gradients `(tasks,)` from their inner products, above 0."""
    return ops.sqrt(ops.maximum(ops.diagonal(gram), TINY))


def inner(a, b):
    """Returns the inner product of two gradients, lists of tensors of the same shapes; a float32 scalar."""
    return sum(ops.sum(ops.cast(x, "float32") * ops.cast(y, "float32")) for x, y in zip(a, b))


def project(gradient, against):
    """Takes from a gradient what points against another one: its projection where they conflict, itself elsewhere.

    g - min(0, g . r) / |r|^2 r

    Args:
        gradient: list of tensors.
        against: list of tensors of the same shapes.

    Returns:
        List of tensors.

    Reference:
        Yu et al., NeurIPS 2020, arXiv:2001.06782; as a constraint by a memory of other tasks Chaudhry et al., Efficient
        Lifelong Learning with A-GEM, ICLR 2019, arXiv:1812.00420, equation 11.
    """
    share = ops.minimum(inner(gradient, against), 0.0) / ops.maximum(inner(against, against), TINY)
    return [g - ops.cast(share, g.dtype) * r for g, r in zip(gradient, against)]


def weighted_sum(gradients, coefficients):
    """Returns the sum of gradients, each by its coefficient.

    Args:
        gradients: list over the tasks of lists of tensors.
        coefficients: tensor `(tasks,)`.

    Returns:
        List of tensors.
    """
    coefficients = ops.unstack(coefficients)
    return [sum(ops.cast(c, part.dtype) * part for c, part in zip(coefficients, parts)) for parts in zip(*gradients)]


def pcgrad(gram, orders):
    """Projecting conflicting gradients: from each gradient, what points against another one is taken away.

    Args:
        gram: tensor `(tasks, tasks)`.
        orders: integer tensor `(tasks, tasks)`; row i is the order in which the others are looked at for task i, in
            which i itself is passed over.

    Returns:
        Coefficients `(tasks,)`; ones where no two gradients conflict.

    Reference:
        Yu et al., Gradient Surgery for Multi-Task Learning, NeurIPS 2020, arXiv:2001.06782, algorithm 1.
    """
    tasks = gram.shape[0]
    projected = ops.eye(tasks)  # row i: the projected gradient of task i, as coefficients
    for place in range(tasks):
        other = orders[:, place]
        product = ops.sum(projected * ops.take(gram, other, axis=0), axis=1)
        conflicts = ops.cast(ops.not_equal(other, ops.arange(tasks, dtype=other.dtype)), "float32")
        share = conflicts * ops.minimum(product, 0.0) / ops.maximum(ops.take(ops.diagonal(gram), other), TINY)
        projected -= ops.one_hot(other, tasks) * share[:, None]
    return ops.sum(projected, axis=0)


def mgda(gram, iterations=50):
    """Multiple gradient descent: the shortest vector among the weighted means of the gradients.

    Its step improves every task, or it is zero where none can improve without harm to another.

    Args:
        gram: tensor `(tasks, tasks)`.
        iterations: int, the most steps of Frank-Wolfe for more than two tasks; for two there is a closed form.

    Returns:
        Weights `(tasks,)`, at least 0, of sum 1.

    Reference:
        Sener and Koltun, Multi-Task Learning as Multi-Objective Optimization, NeurIPS 2018, arXiv:1810.04650.
    """
    gram = gram / ops.maximum(ops.max(ops.diagonal(gram)), TINY)
    return _minimize_on_simplex(gram, ops.zeros_like(gram[0]), 1.0, iterations)


def cagrad(gram, strength, iterations=50):
    """Conflict-averse gradient descent: the best worst-case improvement within a ball around the mean gradient.

    Args:
        gram: tensor `(tasks, tasks)`.
        strength: float c in [0, 1), the radius of the ball in lengths of the mean gradient. 0 gives the mean.
        iterations: as for `mgda`.

    Returns:
        Coefficients `(tasks,)` of the update, which is a mean: 1 / tasks each for c = 0.

    Reference:
        Liu et al., Conflict-Averse Gradient Descent for Multi-task Learning, NeurIPS 2021, arXiv:2110.14048.
    """
    tasks, gram = gram.shape[0], gram / ops.maximum(ops.max(ops.diagonal(gram)), TINY)
    scale = strength * ops.sqrt(ops.maximum(ops.mean(gram), 0.0))  # of the mean gradient's length
    weights = _minimize_on_simplex(gram, ops.mean(gram, axis=1), scale, iterations)
    length = ops.sqrt(ops.maximum(ops.sum(weights[:, None] * weights * gram), TINY))
    return 1.0 / tasks + scale / length * weights


def _minimize_on_simplex(gram, linear, scale, iterations):
    """Minimises  w . linear + scale sqrt(w' gram w)  over weights w of sum 1 and at least 0.

    Frank-Wolfe in its pairwise form: weight goes from the worst task that has some to the best, by the exact step.
    For two tasks the first step is the solution.
    """
    tasks = gram.shape[0]

    def product(a, b):
        return ops.sum(a * ops.matmul(gram, b))

    def improve(number, weights, gap):
        length = ops.sqrt(ops.maximum(product(weights, weights), TINY))
        slope = linear + scale * ops.matmul(gram, weights) / length
        best, worst = ops.argmin(slope), ops.argmax(ops.where(weights > 0, slope, -float("inf")))
        along = ops.one_hot(best, tasks) - ops.one_hot(worst, tasks)
        p, q, r = product(weights, weights), product(weights, along), ops.maximum(product(along, along), TINY)
        b = ops.sum(linear * along)
        # At t along, the slope is b + scale (q + r t) / sqrt(p + 2 q t + r t^2): zero at this t, or not at all.
        square = ops.maximum(p * r - q * q, 0.0) / ops.maximum(scale**2 * r - b * b, TINY)
        step = ops.clip((-b * ops.sqrt(square) - q) / r, 0.0, weights[worst])
        return number + 1, weights + step * along, (slope[worst] - slope[best]) / length

    start = (0, ops.full((tasks,), 1.0 / tasks), ops.ones(()))
    if tasks == 2:
        return improve(*start)[1]
    return ops.while_loop(lambda number, _, gap: ops.logical_and(number < iterations, gap > 1e-5), improve, start)[1]
