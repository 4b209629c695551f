"""The negative cosine of two views, for methods that predict one view from the other."""

from keras import ops

from keras_transfer.losses.contrastive import unit_rows


def negative_cosine(prediction, target):
    """Returns minus the mean cosine between the rows of a prediction and of its target, which gets no gradient.

    Args:
        prediction: tensor `(n, dim)`.
        target: tensor `(n, dim)`.

    Returns:
        Scalar, float32, from -1 to 1.

    Reference:
        Chen and He, Exploring Simple Siamese Representation Learning, CVPR 2021, arXiv:2011.10566, equation 1. The
        squared distance of BYOL's normalised rows is 2 + 2 times this value.
    """
    return -ops.mean(ops.sum(unit_rows(prediction) * ops.stop_gradient(unit_rows(target)), axis=-1))
