"""Text: encoders that learn from texts alone, and from a few labels."""

from keras_transfer.models.text.denoising_text import DenoisingText
from keras_transfer.models.text.masked_language_model import MaskedLanguageModel
from keras_transfer.models.text.setfit import SetFit
from keras_transfer.models.text.simcse import SimCSE

__all__ = ["DenoisingText", "MaskedLanguageModel", "SetFit", "SimCSE"]
