"""Metrics: numbers about representations and tasks, as functions of arrays."""

from keras_transfer.metrics.collapse import alignment, effective_rank, embedding_std, uniformity
from keras_transfer.metrics.fisher import fisher
from keras_transfer.metrics.h_score import h_score
from keras_transfer.metrics.importance import deep_embedded_risk, importance_weights
from keras_transfer.metrics.leep import leep
from keras_transfer.metrics.log_me import log_me
from keras_transfer.metrics.probes import knn_accuracy, linear_accuracy, linear_probe, probe_head, tuned_probe
from keras_transfer.metrics.proxy_a_distance import proxy_a_distance
from keras_transfer.metrics.seen_unseen import class_accuracy, seen_gate, seen_unseen
from keras_transfer.metrics.target_scores import information, neighborhood_density, nuclear_norm, prediction_entropy
from keras_transfer.metrics.task_accuracy import TaskAccuracy

__all__ = [
    "TaskAccuracy",
    "alignment",
    "class_accuracy",
    "deep_embedded_risk",
    "effective_rank",
    "embedding_std",
    "fisher",
    "h_score",
    "importance_weights",
    "information",
    "knn_accuracy",
    "leep",
    "linear_accuracy",
    "linear_probe",
    "log_me",
    "neighborhood_density",
    "nuclear_norm",
    "prediction_entropy",
    "probe_head",
    "proxy_a_distance",
    "seen_gate",
    "seen_unseen",
    "tuned_probe",
    "uniformity",
]
