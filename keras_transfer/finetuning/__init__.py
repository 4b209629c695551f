"""Fine-tuning of any Keras model: what trains, how fast, with which adapters, and how far it moves."""

from keras_transfer.finetuning import lora
from keras_transfer.finetuning.adapter_bank import AdapterBank
from keras_transfer.finetuning.freezing import freeze, freeze_batch_norm, train_biases, train_norms, train_only
from keras_transfer.finetuning.interpolation import interpolate
from keras_transfer.finetuning.rates import LayerwiseOptimizer, discriminative_rates
from keras_transfer.finetuning.split import split
from keras_transfer.finetuning.statistics import reestimate_batch_norm
from keras_transfer.finetuning.summary import summary, trainable_parameters
from keras_transfer.finetuning.tune import Setting, Tuned, tune

__all__ = [
    "AdapterBank",
    "LayerwiseOptimizer",
    "Setting",
    "Tuned",
    "discriminative_rates",
    "freeze",
    "freeze_batch_norm",
    "interpolate",
    "lora",
    "reestimate_batch_norm",
    "split",
    "summary",
    "train_biases",
    "train_norms",
    "train_only",
    "trainable_parameters",
    "tune",
]
