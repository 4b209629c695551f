"""Streams: `tf.data` datasets whose batches are what a method trains on."""

from keras_transfer.streams.domains import domains
from keras_transfer.streams.episodes import episodes
from keras_transfer.streams.images import images
from keras_transfer.streams.prefetched import prefetched
from keras_transfer.streams.replay import replay
from keras_transfer.streams.tasks import permutations, tasks
from keras_transfer.streams.views import views

__all__ = ["domains", "episodes", "images", "permutations", "prefetched", "replay", "tasks", "views"]
