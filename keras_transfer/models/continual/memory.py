"""What methods with a buffer share: rows of former tasks as a second stream."""

import numpy as np

from keras_transfer.batches import check_labels
from keras_transfer.checks import check_choice
from keras_transfer.layers.replay_buffer import KEEPS, ReplayBuffer
from keras_transfer.models.continual.shared import ContinualModel
from keras_transfer.networks import run_pair


class MemoryModel(ContinualModel):
    """A classifier that learns one task after another, and keeps rows of each in `memory`, a `kt.layers.ReplayBuffer`.

    Args:
        encoder: built network from an input of one array to features `(batch, dim)`.
        head: built network from features to logits `(batch, classes)`.
        terms: dict of the names of the loss terms to their weights.
        capacity: int, the most rows.
        rows_dtype: str, in which inputs are kept; None: that of the encoder's input.
        keep_rows: `"balanced"` or `"reservoir"`.
        seed: int.
        tasks: list over the tasks of lists of their classes, or None.
        logits: bool, whether the model's answers are kept beside the labels.
        **kwargs: arguments of `kt.TransferModel`.
    """

    streams = ("current", "memory")
    passes = "joint"

    def __init__(self, encoder, head, terms, capacity, rows_dtype, keep_rows, seed, tasks=None, logits=False, **kwargs):
        super().__init__(encoder, head, terms, tasks, **kwargs)
        check_choice(keep_rows, "keep_rows", KEEPS)
        shape = getattr(encoder, "input_shape", None)
        if not isinstance(shape, tuple):
            raise ValueError(
                "Expected an encoder of one input array, of which rows can be kept: a `keras.Sequential` that begins "
                f"with `keras.Input`, or a functional model; received {encoder.name!r}."
            )
        if None in shape[1:]:
            raise ValueError(f"Expected an encoder of inputs of a known shape; received {shape}.")
        self.capacity, self.rows_dtype, self.keep_rows, self.seed = capacity, rows_dtype, keep_rows, seed
        dtype = encoder.inputs[0].dtype if rows_dtype is None else rows_dtype
        self.memory = ReplayBuffer(
            capacity, shape[1:], self.classes, dtype, logits=logits, keep=keep_rows, seed=seed, name="memory"
        )

    def forward(self, x, training=False):
        """Returns the predictions of the present rows and, `replayed`, of those of the buffer."""

        def run(batch, training):
            return self.head(self.encoder(batch, training=training), training=training)

        both = run_pair(run, x["current"], x["memory"]["x"], self.passes, training, self.streams)
        return dict(zip(("prediction", "replayed"), both))

    def check_data(self, x=None, y=None, *_, **__):
        """Checks arrays that `fit` and the like are called with, the buffer's rows and labels among them."""
        if self.is_streams(x) and isinstance(x["memory"], dict):
            check_labels(x["memory"].get("y"), "labels of `memory`", whole=True, classes=self.classes)
            x = {"current": x["current"], "memory": x["memory"].get("x")}  # logits may be NaN
        super().check_data(x, y)

    def keep(self, x, y, classes):
        """Adds rows of the task to the buffer, and with them the model's answers where they are kept."""
        logits = self.predict(x, batch_size=256, verbose=0) if self.memory.logits else None
        self.memory.add(np.asarray(x), y, logits)
