"""Streams: `tf.data` datasets whose batches are what a method trains on."""

from keras_transfer.streams.domains import domains

__all__ = ["domains"]
