"""Transfer learning beyond fine-tuning, as ordinary Keras models."""

from keras_transfer import (
    backbones,
    callbacks,
    datasets,
    finetuning,
    gradients,
    layers,
    losses,
    metrics,
    models,
    optimizers,
    report,
    schedules,
    serving,
    streams,
    testing,
    weightings,
)
from keras_transfer.model import TransferModel
from keras_transfer.serving import export

__version__ = "0.1.0"

__all__ = [
    "TransferModel",
    "backbones",
    "callbacks",
    "datasets",
    "export",
    "finetuning",
    "gradients",
    "layers",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "report",
    "schedules",
    "serving",
    "streams",
    "testing",
    "weightings",
]
