"""Layers that Keras lacks: gradient reversal, patches, augmentation by image, units of several tasks, WordPiece."""

from keras_transfer.layers.contrastive_views import contrastive_views
from keras_transfer.layers.cross_stitch_unit import CrossStitchUnit
from keras_transfer.layers.expert_gate import ExpertGate
from keras_transfer.layers.gradient_reversal import GradientReversal
from keras_transfer.layers.patches import Patches, SinePositions
from keras_transfer.layers.random_gamma import RandomGamma
from keras_transfer.layers.random_resized_crop import RandomResizedCrop
from keras_transfer.layers.replay_buffer import ReplayBuffer
from keras_transfer.layers.word_piece import WordPiece

__all__ = [
    "CrossStitchUnit",
    "ExpertGate",
    "GradientReversal",
    "Patches",
    "RandomGamma",
    "RandomResizedCrop",
    "ReplayBuffer",
    "SinePositions",
    "WordPiece",
    "contrastive_views",
]
