"""The methods."""

from keras_transfer.models.adaptation.dan import DAN
from keras_transfer.models.adaptation.dann import DANN
from keras_transfer.models.adaptation.deep_coral import DeepCORAL

__all__ = ["DAN", "DANN", "DeepCORAL"]
