"""Backbones: pretrained networks from raw inputs to features (batch, dim), preprocessing inside."""

from keras_transfer.backbones.applications import from_applications
from keras_transfer.backbones.cached_features import cached_features
from keras_transfer.backbones.keras_cv import from_keras_cv
from keras_transfer.backbones.keras_hub import from_keras_hub
from keras_transfer.backbones.load import load
from keras_transfer.backbones.minilm import minilm
from keras_transfer.backbones.small import (
    small_cnn,
    small_mlp,
    small_text_decoder,
    small_transformer,
    small_vit,
    small_vit_decoder,
)
from keras_transfer.backbones.tf_hub import from_hub
from keras_transfer.backbones.weights import load_weights_file

__all__ = [
    "cached_features",
    "from_applications",
    "from_hub",
    "from_keras_cv",
    "from_keras_hub",
    "load",
    "load_weights_file",
    "minilm",
    "small_cnn",
    "small_mlp",
    "small_text_decoder",
    "small_transformer",
    "small_vit",
    "small_vit_decoder",
]
