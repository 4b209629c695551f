"""What acts between epochs."""

from keras_transfer.callbacks.collapse_monitor import CollapseMonitor
from keras_transfer.callbacks.confirmation_monitor import ConfirmationMonitor
from keras_transfer.callbacks.gradual_unfreeze import GradualUnfreeze
from keras_transfer.callbacks.probes import KNNProbe, LinearProbe
from keras_transfer.callbacks.target_score import TargetScore
from keras_transfer.callbacks.task_monitor import TaskMonitor

__all__ = [
    "CollapseMonitor",
    "ConfirmationMonitor",
    "GradualUnfreeze",
    "KNNProbe",
    "LinearProbe",
    "TargetScore",
    "TaskMonitor",
]
