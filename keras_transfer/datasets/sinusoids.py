"""Sinusoids: the regression tasks of meta-learning's papers."""

import numpy as np


def sinusoids(tasks, shots=10, queries=10, seed=None):
    """Draws regression tasks: sinusoids of random amplitude and phase, known at a few points.

    y = amplitude * sin(x - phase), amplitude from [0.1, 5], phase from [0, pi], x from [-5, 5], all uniform.

    Args:
        tasks: int, number of tasks.
        shots: int, support points of each task.
        queries: int, query points of each task.
        seed: int that makes the tasks reproducible; None draws one.

    Returns:
        Tuple `(x, y)` of a training batch of a few-shot method: x is `{"support": (x, y), "query": x}` of arrays
        `(tasks, shots, 1)` and `(tasks, queries, 1)`, y the queries' targets `(tasks, queries, 1)`; float32.

    Raises:
        ValueError: if a number is less than 1.

    Example:

    ```python
    model = kt.models.MAML(network, rate=0.01)
    model.compile("adam", "mse", steps_per_execution=100)
    model.fit(*kt.datasets.sinusoids(250_000), batch_size=25)
    ```

    Reference: C. Finn, P. Abbeel, S. Levine, "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks",
    ICML 2017, arXiv:1703.03400.
    """
    for name, number in (("tasks", tasks), ("shots", shots), ("queries", queries)):
        if not number >= 1:
            raise ValueError(f"Expected `{name}` of at least 1; received {number}.")
    rng = np.random.default_rng(seed)

    def uniform(low, high, size):
        return rng.random((tasks, size, 1), "float32") * (high - low) + low

    amplitude, phase = uniform(0.1, 5.0, 1), uniform(0.0, np.pi, 1).astype("float32")
    x = uniform(-5.0, 5.0, shots + queries)
    y = amplitude * np.sin(x - phase)
    return {"support": (x[:, :shots], y[:, :shots]), "query": x[:, shots:]}, y[:, shots:]
