"""Penalties on the weights of towers, which pull them towards each other."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_transfer")
def weight_spread(weights):
    """Returns the sum of the squared distances of the towers' weights from their mean.

    For two towers that is half the squared distance between them.

    Args:
        weights: tensor `(towers, size)`, the same weight of each tower, flat.

    Returns:
        A scalar.

    Reference:
        Duong et al., Low Resource Dependency Parsing: Cross-lingual Parameter Sharing in a Neural Network Parser, ACL
        2015, section 4.2.
    """
    return ops.sum(ops.square(weights - ops.mean(weights, axis=0)))


@keras.saving.register_keras_serializable(package="keras_transfer")
def trace_norm(weights):
    """Returns the sum of the singular values of the towers' weights, least where one is a multiple of the other.

    Args:
        weights: tensor `(towers, size)`, the same weight of each tower, flat.

    Returns:
        A scalar. Its gradient is finite where the towers are equal: singular values below 1e-6 count as that.

    Reference:
        Yang and Hospedales, Trace Norm Regularised Deep Multi-Task Learning, ICLR Workshop 2017, arXiv:1606.04038; the
        flattening by the axis of the tasks.
    """
    squares, _ = ops.linalg.eigh(ops.matmul(weights, ops.transpose(weights)))
    return ops.sum(ops.sqrt(ops.maximum(squares, 1e-12)))
