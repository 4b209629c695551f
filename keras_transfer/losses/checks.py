"""The checks that losses share."""

from keras_transfer.checks import check_number


def check_pair(source, target, purpose):
    """Raises an error unless both are `(rows, dim)` of one width with at least 2 rows, which `purpose` needs."""
    if len(source.shape) != 2 or len(target.shape) != 2 or source.shape[-1] != target.shape[-1]:
        raise ValueError(
            "Expected `source` and `target` features of shape (rows, dim) with the same dim; "
            f"received shapes {tuple(source.shape)} and {tuple(target.shape)}."
        )
    rows = [shape[0] for shape in (source.shape, target.shape) if shape[0] is not None]
    if rows and min(rows) < 2:
        raise ValueError(
            f"Expected `source` and `target` batches of at least 2 rows to {purpose}; received {min(rows)}."
        )


def check_views(view_1, view_2, purpose):
    """Raises an error unless both views are `(rows, dim)` of one shape with at least 2 rows, which `purpose` needs."""
    shapes = tuple(view_1.shape), tuple(view_2.shape)
    known = all(a is None or b is None or a == b for a, b in zip(*shapes))
    if len(shapes[0]) != 2 or len(shapes[1]) != 2 or not known:
        raise ValueError(
            f"Expected `view_1` and `view_2` features of one shape (rows, dim); received shapes {shapes[0]} and "
            f"{shapes[1]}."
        )
    if shapes[0][0] is not None and shapes[0][0] < 2:
        raise ValueError(f"Expected batches of at least 2 examples to {purpose}; received {shapes[0][0]}.")


def check_temperature(temperature):
    """Raises an error unless the temperature is a finite number above 0; returns it."""
    return check_number(temperature, "temperature", above=0)


def check_predictions(logits, purpose=None):
    """Raises an error unless logits are `(rows, classes)` of two classes; with a `purpose`, of 2 rows, which it needs.

    Args:
        logits: tensor.
        purpose: str, what takes more than one row, or None.
    """
    shape = tuple(logits.shape)
    if len(shape) != 2 or (shape[1] is not None and shape[1] < 2):
        raise ValueError(f"Expected logits of shape (rows, classes), at least 2 classes; received shape {shape}.")
    if purpose is not None and shape[0] is not None and shape[0] < 2:
        raise ValueError(f"Expected a batch of at least 2 rows of predictions to {purpose}; received {shape[0]}.")
