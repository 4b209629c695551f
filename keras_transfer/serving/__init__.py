"""From a model to TF Serving: write a SavedModel version, verify it in a fresh process, list models for a server."""

from keras_transfer.serving.config import write_config
from keras_transfer.serving.episodes import export_episodes, verify_episodes
from keras_transfer.serving.export import export
from keras_transfer.serving.verify import Verification, verify, verify_all
from keras_transfer.serving.versions import CARD, WARM_UP

__all__ = [
    "CARD",
    "WARM_UP",
    "Verification",
    "export",
    "export_episodes",
    "verify",
    "verify_all",
    "verify_episodes",
    "write_config",
]
