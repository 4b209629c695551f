"""Weightings of tasks: what each counts in a step, from the losses or from the gradients."""

from keras_transfer.weightings.base import GradientWeighting, Weighting
from keras_transfer.weightings.cagrad import CAGrad
from keras_transfer.weightings.dynamic_weight_average import DynamicWeightAverage
from keras_transfer.weightings.grad_norm import GradNorm
from keras_transfer.weightings.mgda import MGDA
from keras_transfer.weightings.pcgrad import PCGrad
from keras_transfer.weightings.random import RandomWeighting
from keras_transfer.weightings.static import StaticWeighting
from keras_transfer.weightings.uncertainty import Uncertainty

__all__ = [
    "MGDA",
    "CAGrad",
    "DynamicWeightAverage",
    "GradNorm",
    "GradientWeighting",
    "PCGrad",
    "RandomWeighting",
    "StaticWeighting",
    "Uncertainty",
    "Weighting",
]
