"""From a model to TF Serving: write a SavedModel version, verify it in another process, list models for a server."""

from keras_transfer.serving.add_classes import add_classes
from keras_transfer.serving.config import write_config
from keras_transfer.serving.export import export
from keras_transfer.serving.verify import Verification, verify, verify_all
from keras_transfer.serving.versions import CARD, WARM_UP

__all__ = ["CARD", "WARM_UP", "Verification", "add_classes", "export", "verify", "verify_all", "write_config"]
