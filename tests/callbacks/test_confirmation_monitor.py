"""The alarm for pseudo-labels that gather in few classes."""

import warnings

import pytest

import keras_transfer as kt


def test_it_warns_once_and_only_of_that():
    monitor = kt.callbacks.ConfirmationMonitor()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monitor.on_epoch_end(0, {"pseudo_label_entropy": 0.9, "share_sure": 0.8})
        monitor.on_epoch_end(0, {"pseudo_label_entropy": 0.1, "share_sure": 0.1})
        monitor.on_epoch_end(0, {"loss": 0.1})
    with pytest.warns(UserWarning, match="after epoch 3 their evenness is 0.50, below 0.7, among the 40 %"):
        monitor.on_epoch_end(2, {"pseudo_label_entropy": 0.5, "share_sure": 0.4})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monitor.on_epoch_end(3, {"pseudo_label_entropy": 0.5, "share_sure": 0.4})
    with pytest.raises(ValueError, match="`entropy`"):
        kt.callbacks.ConfirmationMonitor(entropy=2.0)
