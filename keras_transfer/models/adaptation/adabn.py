"""AdaBN: a trained classifier with BatchNormalization's statistics of another domain."""

from keras_transfer.finetuning.statistics import reestimate_batch_norm
from keras_transfer.networks import copy_network


def adabn(model, x, batch_size=64, seed=0):
    """Returns a copy of a trained network whose BatchNormalization has the statistics of unlabelled target data.

    The first thing to try where domains differ in tones, contrast or resolution: it takes one pass and no training.

    Args:
        model: built and trained network with BatchNormalization; it stays as it is.
        x: array `(rows, ...)` or a nested structure of arrays, inputs of the target.
        batch_size: int, rows in a batch of which statistics are taken.
        seed: int, of the order of the rows.

    Returns:
        A `keras.Model` of the same kind, not compiled.

    Raises:
        ValueError: if the network is not built, or none of its BatchNormalization moves.

    Example:

    ```python
    adapted = kt.models.adabn(classifier, x_target)
    kt.export(adapted, "saved_models/digits", x_test)
    ```

    Reference:
        Li, Wang, Shi, Liu and Hou, Revisiting Batch Normalization For Practical Domain Adaptation, 2016,
        arXiv:1603.04779.
    """
    adapted = copy_network(model)
    reestimate_batch_norm(adapted, x, batch_size, seed)
    return adapted
