"""Layers."""

from keras_transfer.layers.gradient_reversal import GradientReversal

__all__ = ["GradientReversal"]
