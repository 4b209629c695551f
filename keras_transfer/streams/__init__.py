"""Streams: `tf.data` datasets whose batches are what a method trains on."""

from keras_transfer.streams.balanced import balanced
from keras_transfer.streams.described import described
from keras_transfer.streams.domains import domains
from keras_transfer.streams.episodes import episodes
from keras_transfer.streams.images import images
from keras_transfer.streams.labelled_and_unlabelled import labelled_and_unlabelled
from keras_transfer.streams.masked_text import masked_text
from keras_transfer.streams.prefetched import prefetched
from keras_transfer.streams.replay import replay
from keras_transfer.streams.scrambled_text import scrambled_text
from keras_transfer.streams.sentence_pairs import sentence_pairs
from keras_transfer.streams.tasks import permutations, tasks
from keras_transfer.streams.views import views

__all__ = [
    "balanced",
    "described",
    "domains",
    "episodes",
    "images",
    "labelled_and_unlabelled",
    "masked_text",
    "permutations",
    "prefetched",
    "replay",
    "scrambled_text",
    "sentence_pairs",
    "tasks",
    "views",
]
