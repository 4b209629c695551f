"""The stream of replay: rows of the present task, and rows of former ones from a buffer."""

import numpy as np
import tensorflow as tf

from keras_transfer.checks import check_cast
from keras_transfer.streams import gate
from keras_transfer.streams.gathered import gathered, held
from keras_transfer.streams.passes import going_on, numbered_passes


def replay(data, memory=None, batch_size=64, memory_batch_size=None, seed=None, steps=None):
    """Pairs batches of the present task with batches of what a buffer keeps of former ones.

    Both go on where they stopped, in an order that is reshuffled at each pass and a function of the seed and of the
    number of completed epochs. While the buffer is empty, in the first task, its rows are other rows of the task
    itself: what is minimised then is the plain loss of larger batches.

    Args:
        data: `(x, y)` of the present task, arrays of one length; y are integer labels.
        memory: `kt.layers.ReplayBuffer`, as it is now: what it gets later is not in this stream. None: batches are the
            present task's alone, `(x, y)`, as methods without a buffer take them.
        batch_size: int, rows of the present task in a batch.
        memory_batch_size: int, rows of the buffer in a batch; `batch_size` by default.
        seed: int that makes the order reproducible; None draws one.
        steps: int, batches of an epoch; by default as many as make a pass over the present task.

    Returns:
        A `tf.data.Dataset` of `({"current": x (batch_size, ...), "memory": {"x": (memory_batch_size, ...), "y":
        (memory_batch_size,)}}, y)`, and `"logits"` in the memory where the buffer keeps them, NaN where a row has none.

    Raises:
        ValueError: if the task has fewer rows than a batch, its rows are not of the buffer's shape, or labels are no
            classes of the buffer.

    Example:

    ```python
    model.fit(kt.streams.replay((x, y), memory, batch_size=64), epochs=5, shuffle=False)
    model.consolidate(x, y)
    ```
    """
    if not isinstance(data, tuple) or len(data) != 2:
        raise ValueError("Expected `data` to be (x, y), arrays of the present task.")
    gate.check_count(batch_size, "batch_size", 1)
    memory_batch_size = batch_size if memory_batch_size is None else memory_batch_size
    gate.check_count(memory_batch_size, "memory_batch_size", 1)
    x, y = gate.arrays(data[0], "x"), gate.integer_labels(data[1], "y").astype("int32")
    rows = gate.length(x)
    if rows != len(y) or rows < batch_size:
        raise ValueError(
            f"Expected as many labels as rows, at least one batch of {batch_size}; received {rows} rows and {len(y)} "
            "labels."
        )
    parts = [(held((x, y)), batch_size, rows)]
    if memory is not None:
        former = _former(x, y, memory)
        parts.append((held(former), memory_batch_size, len(former["y"])))
    seed = int(np.random.default_rng(seed).integers(2**31))
    steps = rows // batch_size if steps is None else steps
    gate.check_count(steps, "steps", 1)

    def one_pass(number):
        places = [
            tf.reshape(going_on(rows, steps * size, 2 * seed + stream, number), (steps, size))
            for stream, (_, size, rows) in enumerate(parts)
        ]
        return tf.data.Dataset.from_tensor_slices(tuple(places)).map(batch)

    def batch(*places):
        (x, y), *memory = (gathered(part, index) for index, (part, *_) in zip(places, parts))
        return ({"current": x, "memory": memory[0]}, y) if memory else (x, y)

    return numbered_passes(one_pass, steps)


def _former(x, y, memory):
    """Returns the rows that a buffer holds, or those of the present task, after a check that these fit into it."""
    if not hasattr(x, "shape") or x.shape[1:] != memory.shape:
        raise ValueError(
            f"Expected `x` to be one array of rows of shape {memory.shape}, as the buffer keeps them; received "
            f"{getattr(x, 'shape', type(x).__name__)}."
        )
    gate.check_classes(y, memory.classes, "y")
    former = memory.held()
    if not len(former["y"]):
        former = {"x": x, "y": y}
        if memory.logits:
            former["logits"] = np.full((len(y), memory.classes), np.nan, "float32")
    return {**former, "x": check_cast(former["x"], x.dtype.name, "memory")}
