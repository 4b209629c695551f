"""Watches semi-supervised training for confirmation bias: a model that learns its own errors."""

import warnings

import keras

from keras_transfer.checks import check_number


class ConfirmationMonitor(keras.callbacks.Callback):
    """Warns once where few classes take the pseudo-labels that are learned from.

    It reads what the methods log: `share_sure`, `pseudo_label_entropy` and `agreement`. Neither labels nor a validation
    set are needed; of data whose classes are of very different frequency, lower the threshold.

    Args:
        entropy: float from 0 to 1, the least evenness of the classes among sure rows, 1 where all are as many.
        sure: float from 0 to 1, the share of sure rows from which on that counts.

    Raises:
        ValueError: if a number is out of range.

    Example:

    ```python
    model.fit(stream, epochs=10, shuffle=False, callbacks=[kt.callbacks.ConfirmationMonitor()])
    ```

    Reference:
        Arazo et al., Pseudo-Labeling and Confirmation Bias in Deep Semi-Supervised Learning, IJCNN 2020,
        arXiv:1908.02983.
    """

    def __init__(self, entropy=0.7, sure=0.2):
        super().__init__()
        self.entropy = check_number(entropy, "entropy", least=0, most=1)
        self.sure, self.warned = check_number(sure, "sure", least=0, most=1), False

    def on_epoch_end(self, epoch, logs=None):
        """Reads the logs, and warns once."""
        even, sure = (logs or {}).get("pseudo_label_entropy"), (logs or {}).get("share_sure", 1.0)
        if even is None or self.warned or sure < self.sure or even >= self.entropy:
            return
        self.warned = True
        warnings.warn(
            f"The pseudo-labels have gathered in few classes: after epoch {epoch + 1} their evenness is {even:.2f}, "
            f"below {self.entropy}, among the {100 * sure:.0f} % of rows that are learned from. What helps: "
            "`alignment=True`; a threshold for each class ('free' or 'flex'); labels of each class in every batch; a "
            "lower weight of unlabelled rows at first; a pretrained encoder. Compare with a model of the labels alone.",
            stacklevel=2,
        )
