"""Text: encoders that learn from texts alone, from a few labels, and from words for classes."""

from keras_transfer.models.text.denoising_text import DenoisingText
from keras_transfer.models.text.label_descriptions import LabelDescriptions
from keras_transfer.models.text.masked_language_model import MaskedLanguageModel
from keras_transfer.models.text.setfit import SetFit
from keras_transfer.models.text.simcse import SimCSE

__all__ = ["DenoisingText", "LabelDescriptions", "MaskedLanguageModel", "SetFit", "SimCSE"]
