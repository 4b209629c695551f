"""Metrics: numbers about representations and tasks, as functions of arrays."""

from keras_transfer.metrics.collapse import alignment, effective_rank, embedding_std, uniformity

__all__ = ["alignment", "effective_rank", "embedding_std", "uniformity"]
