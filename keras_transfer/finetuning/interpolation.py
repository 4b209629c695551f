"""Weights between those before and those after fine-tuning."""

import numpy as np

from keras_transfer.checks import check_number


def interpolate(start, end, share=0.5):
    """Returns the weights on the straight line from `start` to `end` (WiSE-FT): (1 - share) start + share end.

    After fine-tuning on few labels, weights on the way back to the pretrained ones are often better than either end.

    Args:
        start: list of arrays, the model's `get_weights()` before fine-tuning; with a new head, after it was trained on
            the frozen backbone.
        end: list of arrays of the same shapes, `get_weights()` after fine-tuning.
        share: float from 0 to 1: 0 gives `start`, 1 gives `end`.

    Returns:
        List of arrays for `set_weights`, of the types of `end`. What is not of a float type, such as counters and the
        state of random seeds, is taken from `end`.

    Raises:
        ValueError: if the lists differ in length or the arrays in shape, or the share is out of range.

    Example:

    ```python
    start = model.get_weights()
    model.fit(...)
    model.set_weights(interpolate(start, model.get_weights()))
    ```

    Reference:
        Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022, arXiv:2109.01903.
    """
    share = check_number(share, "share", least=0, most=1)
    start, end = [[np.asarray(array) for array in arrays] for arrays in (start, end)]
    if len(start) != len(end):
        raise ValueError(f"Expected `start` and `end` of the same model; received {len(start)} and {len(end)} arrays.")
    for index, (a, b) in enumerate(zip(start, end)):
        if a.shape != b.shape:
            raise ValueError(f"Expected arrays of equal shapes; received {a.shape} and {b.shape} at index {index}.")
    return [_between(a, b, share) for a, b in zip(start, end)]


def _between(a, b, share):
    if np.issubdtype(b.dtype, np.integer) or b.dtype == bool:  # numpy does not count bfloat16 among its floats
        return b
    return ((1 - share) * a.astype("float64") + share * b.astype("float64")).astype(b.dtype)
