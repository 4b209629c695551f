"""The check shared by losses between two batches of features."""


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
