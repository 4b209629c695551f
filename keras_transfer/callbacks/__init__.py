"""What acts between epochs."""

from keras_transfer.callbacks.collapse_monitor import CollapseMonitor
from keras_transfer.callbacks.gradual_unfreeze import GradualUnfreeze
from keras_transfer.callbacks.probes import KNNProbe, LinearProbe

__all__ = ["CollapseMonitor", "GradualUnfreeze", "KNNProbe", "LinearProbe"]
