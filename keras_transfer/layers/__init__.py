"""Layers that Keras does not have: gradient reversal, patches, augmentation for each image, units of several tasks."""

from keras_transfer.layers.contrastive_views import contrastive_views
from keras_transfer.layers.cross_stitch_unit import CrossStitchUnit
from keras_transfer.layers.expert_gate import ExpertGate
from keras_transfer.layers.gradient_reversal import GradientReversal
from keras_transfer.layers.patches import Patches, SinePositions
from keras_transfer.layers.random_gamma import RandomGamma
from keras_transfer.layers.random_resized_crop import RandomResizedCrop

__all__ = [
    "CrossStitchUnit",
    "ExpertGate",
    "GradientReversal",
    "Patches",
    "RandomGamma",
    "RandomResizedCrop",
    "SinePositions",
    "contrastive_views",
]
