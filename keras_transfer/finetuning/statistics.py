"""BatchNormalization's moving statistics, estimated anew for the weights as they are."""

import keras
import numpy as np

_FAR = 1e6  # float32 still tells a rate of 0.001 from it by four digits


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
    every = [weight for weight in model.weights if weight.name in ("moving_mean", "moving_variance")]

    def after(batch, weights, start=None):
        """The values of some of the statistics after a pass in training mode, which begins at a number or as it is."""
        if start is not None:
            for weight in weights:
                weight.assign(start + 0 * weight)
        model(keras.tree.map_structure(lambda array: array[batch], x), training=True)
        return [weight.numpy() for weight in weights]

    before = [weight.numpy() for weight in every]
    moved = [not np.array_equal(old, new) for old, new in zip(before, after(batches[0], every))]
    statistics = [weight for weight, moves in zip(every, moved) if moves]  # the others normalise: they stay as they are
    if not statistics:
        raise ValueError(
            f"Expected BatchNormalization that moves in training mode in {model.name!r}; received "
            f"{len(every) // 2} layers of it, frozen."
        )
    # From 0 a pass gives rate * s, from a number that dwarfs s it gives (1 - rate) * start + rate * s: so the rate is
    # known, also where only a module's graph knows its momentum, and where Dropout makes another s of each pass.
    once, far = after(batches[0], statistics, 0.0), after(batches[0], statistics, _FAR)
    rates = [float(np.mean(1.0 - (b.astype("float64") - a) / _FAR)) for a, b in zip(once, far)]
    sums = [np.zeros(weight.shape) for weight in statistics]
    for batch in batches:
        sums = [total + value for total, value in zip(sums, after(batch, statistics, 0.0))]
    for weight, total, rate in zip(statistics, sums, rates):
        weight.assign(total / len(batches) / rate)
