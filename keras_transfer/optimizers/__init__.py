"""Optimizers that Keras does not have."""

from keras_transfer.optimizers.lars import LARS

__all__ = ["LARS"]
