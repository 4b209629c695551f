"""Metrics: numbers about representations and tasks, as functions of arrays."""

from keras_transfer.metrics.collapse import alignment, effective_rank, embedding_std, uniformity
from keras_transfer.metrics.probes import knn_accuracy, linear_accuracy, linear_probe, probe_head, tuned_probe

__all__ = [
    "alignment",
    "effective_rank",
    "embedding_std",
    "knn_accuracy",
    "linear_accuracy",
    "linear_probe",
    "probe_head",
    "tuned_probe",
    "uniformity",
]
