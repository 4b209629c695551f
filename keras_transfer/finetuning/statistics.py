"""BatchNormalization's moving statistics, estimated anew for the weights as they are."""

import keras
import numpy as np


def reestimate_batch_norm(model, x, batch_size=64, seed=0):
    """Sets the moving statistics of BatchNormalization to the mean of the statistics of batches of `x`.

    Moving averages follow at their momentum: after a short fine-tuning they are still partly those of the pretrained
    weights on the pretrained domain, while the weights have learned with the statistics of the batches. One pass in
    training mode puts that right; no weight learns.

    Works on any BatchNormalization that moves in training mode, those inside a TF Hub module too; frozen ones stay bit
    for bit. Dropout is on during the pass, as in training.

    Args:
        model: built `keras.Model` that takes x, or the encoder in it.
        x: array `(rows, ...)` or a nested structure of arrays, the training inputs; labels are not needed.
        batch_size: int, rows in a batch: that of the training, or more. What is left over is not used.
        seed: int, of the order of the rows.

    Raises:
        ValueError: if there are no rows, or no BatchNormalization moves.

    Example:

    ```python
    model.fit(x, y, epochs=3)
    kt.finetuning.reestimate_batch_norm(model, x)
    ```

    Reference:
        Wu and Johnson, Rethinking "Batch" in BatchNorm, 2021, arXiv:2105.07576 (PreciseBN; there the variance is that
        of the whole population, here the mean of the batches', as BatchNormalization itself averages).
    """
    rows = len(keras.tree.flatten(x)[0])
    if rows == 0:
        raise ValueError("Expected at least one row to estimate statistics from; received none.")
    order = np.random.default_rng(seed).permutation(rows)
    size = min(batch_size, rows)
    batches = [order[i : i + size] for i in range(0, rows - size + 1, size)]
    statistics = [weight for weight in model.weights if weight.name in ("moving_mean", "moving_variance")]
    before = [weight.numpy() for weight in statistics]

    def after(batch):
        model(keras.tree.map_structure(lambda array: array[batch], x), training=True)
        return [weight.numpy() for weight in statistics]

    def from_zero(batch):
        for weight in statistics:
            weight.assign(0 * weight)
        return after(batch)

    # One pass from zero gives rate * s, a second one on the same rows (2 - rate) * rate * s: so the rate is known,
    # also where only a module's graph knows its momentum.
    once, twice = from_zero(batches[0]), after(batches[0])
    sizes = [(np.abs(a).sum(), np.abs(b).sum()) for a, b in zip(once, twice)]
    rates = [2 - b / a if a else None for a, b in sizes]
    sums = [np.zeros_like(value, "float64") for value in before]
    for batch in batches:
        sums = [total + value for total, value in zip(sums, from_zero(batch))]
    for weight, old, total, rate in zip(statistics, before, sums, rates):
        weight.assign(old if rate is None else total / len(batches) / rate)
    if all(rate is None for rate in rates):
        raise ValueError(
            f"Expected BatchNormalization that moves in training mode in {model.name!r}; received "
            f"{len(statistics) // 2} layers of it, frozen."
        )
