"""A buffer of examples of former tasks, which is saved with the model that holds it."""

import keras
import numpy as np

from keras_transfer.checks import check_cast, check_choice, check_integer, received

KEEPS = ("balanced", "reservoir")
_UNSAID = -1e9  # a logit that nobody said, in the weights, which are to be finite


@keras.saving.register_keras_serializable(package="keras_transfer")
class ReplayBuffer(keras.Layer):
    """Keeps a sample of the labelled rows that it has seen, within a stated number of bytes.

    It is a layer so that a model saves it: rows, labels and counters are weights that do not train. It takes no part in
    what is computed, and so in no export.

    - `keep="balanced"`: of each class at most `capacity // classes` rows, a uniform sample of all that were seen of it.
    - `keep="reservoir"`: a uniform sample of all rows that were seen, whatever their class.

    What it draws follows from `seed` and from how many rows it has seen, so that it goes on after loading.

    Args:
        capacity: int, the most rows.
        shape: tuple of int, the shape of a row of the inputs.
        classes: int, the number of classes.
        rows_dtype: str, in which inputs are kept: `"uint8"` takes pictures at a quarter of the bytes of `"float32"`.
        logits: bool, whether predictions `(rows, classes)` are kept beside the labels.
        keep: `"balanced"` or `"reservoir"`.
        seed: int.

    Raises:
        ValueError: if the capacity is smaller than the number of classes, a number is no positive integer, or `keep` is
            neither of the two.

    Example:

    ```python
    buffer = kt.layers.ReplayBuffer(1000, (28, 28, 1), classes=10, rows_dtype="uint8")
    buffer.add(x, y)
    x_kept, y_kept = buffer.held()["x"], buffer.held()["y"]
    ```

    Reference:
        Vitter, Random Sampling with a Reservoir, ACM TOMS 1985; Chaudhry et al., On Tiny Episodic Memories in Continual
        Learning, 2019, arXiv:1902.10486.
    """

    def __init__(self, capacity, shape, classes, rows_dtype="float32", logits=False, keep="balanced", seed=0, **kwargs):
        super().__init__(**kwargs)
        self.capacity, self.classes = check_integer(capacity, "capacity"), check_integer(classes, "classes")
        if capacity < classes:
            raise ValueError(
                f"Expected a `capacity` of at least one row for each of {classes} classes; received {capacity}."
            )
        self.shape = tuple(check_integer(size, "shape") for size in shape)
        self.rows_dtype, self.logits = keras.backend.standardize_dtype(rows_dtype), bool(logits)
        if self.rows_dtype == "string":
            raise ValueError("Expected rows of numbers to keep; received `rows_dtype` 'string'.")
        self.keep, self.seed = check_choice(keep, "keep", KEEPS), check_integer(seed, "seed", 0)

        def weight(name, shape, dtype, start):
            fill = keras.initializers.Constant(start)
            return self.add_weight(shape=shape, initializer=fill, dtype=dtype, trainable=False, name=name)

        self.kept = {
            "x": weight("x", (capacity, *self.shape), self.rows_dtype, 0),
            "y": weight("y", (capacity,), "int32", -1),
        }
        if self.logits:
            self.kept["logits"] = weight("logits", (capacity, classes), "float32", _UNSAID)
        self.counts = weight("counts", (classes,), "int32", 0)
        self.built = True

    @property
    def bytes(self):
        """The size of the rows with what is kept beside them."""
        return int(sum(np.prod(v.shape) * np.dtype(v.dtype).itemsize for v in self.kept.values()))

    def held(self):
        """Returns what is kept, `{"x": (rows, ...), "y": (rows,)}`, and `"logits"` `(rows, classes)` where they are.

        Logits that nobody said, such as those of classes that came later, are NaN.
        """
        rows = int((keras.ops.convert_to_numpy(self.kept["y"]) >= 0).sum())
        found = {name: keras.ops.convert_to_numpy(value)[:rows] for name, value in self.kept.items()}
        if self.logits:
            found["logits"] = np.where(found["logits"] == np.float32(_UNSAID), np.float32("nan"), found["logits"])
        return found

    def add(self, x, y, logits=None):
        """Sees labelled rows, and keeps some in the place of others.

        Args:
            x: array `(rows, *shape)`.
            y: integer array `(rows,)`, from 0 to `classes - 1`.
            logits: array `(rows, classes)`, where they are kept.

        Raises:
            ValueError: if shapes or labels do not fit, or `rows_dtype` is of whole numbers and the rows are not.
        """
        fresh = self._checked(x, y, logits)
        held, counts = self.held(), keras.ops.convert_to_numpy(self.counts)
        rng = np.random.default_rng((self.seed, int(counts.sum())))
        order = rng.permutation(len(fresh["y"]))
        fresh = {name: rows[order] for name, rows in fresh.items()}
        if self.keep == "reservoir":
            places = _reservoir(len(held["y"]), int(counts.sum()), len(order), self.capacity, rng)
        else:
            places = []
            for label in range(self.classes):
                ours, new = np.flatnonzero(held["y"] == label), np.flatnonzero(fresh["y"] == label)
                quota = self.capacity // self.classes
                kept = _reservoir(min(len(ours), quota), int(counts[label]), len(new), quota, rng)
                pool = np.concatenate([ours[:quota], len(held["y"]) + new])
                places.append(pool[kept])
            places = np.concatenate(places)
        both = {name: np.concatenate([held[name], fresh[name]])[places] for name in held}  # NaN and _UNSAID: both pass
        self.counts.assign(counts + np.bincount(fresh["y"], minlength=self.classes).astype("int32"))
        self.replace(**both)

    def replace(self, x, y, logits=None):
        """Keeps these rows and no others.

        Args:
            x: array `(rows, *shape)`, at most `capacity` rows.
            y: integer array `(rows,)`.
            logits: array `(rows, classes)`, where they are kept.
        """
        rows = self._checked(x, y, logits)
        if len(rows["y"]) > self.capacity:
            raise ValueError(f"Expected at most {self.capacity} rows to keep; received {len(rows['y'])}.")
        for name, variable in self.kept.items():
            value = np.full(variable.shape, -1 if name == "y" else 0, keras.backend.standardize_dtype(variable.dtype))
            value[: len(rows[name])] = rows[name]
            variable.assign(value)

    def get_config(self):
        """Returns the settings."""
        names = ("capacity", "shape", "classes", "rows_dtype", "logits", "keep", "seed")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def _checked(self, x, y, logits):
        x, y = np.asarray(x), np.asarray(y)
        if x.shape[1:] != self.shape:
            raise ValueError(f"Expected `x` of shape (rows, {', '.join(map(str, self.shape))}); received {x.shape}.")
        whole = y.ndim == 1 and len(y) == len(x) and y.dtype.kind in "iu"
        if not whole or (len(y) and not 0 <= y.min() <= y.max() < self.classes):
            raise ValueError(
                f"Expected integer labels ({len(x)},) from 0 to {self.classes - 1}, one for each row; received "
                f"{received(y)}."
            )
        rows = {"x": check_cast(x, self.rows_dtype, "x"), "y": y.astype("int32")}
        if self.logits:
            logits = np.full((len(y), self.classes), np.nan) if logits is None else np.asarray(logits)
            if logits.shape != (len(y), self.classes):
                raise ValueError(f"Expected `logits` of shape {(len(y), self.classes)}; received {logits.shape}.")
            rows["logits"] = np.where(np.isnan(logits), _UNSAID, logits).astype("float32")
        return rows


def _reservoir(held, seen, new, capacity, rng):
    """Returns the places, among `held` rows and then `new` ones, of those that a reservoir keeps of them.

    Args:
        held: int, rows that are kept so far.
        seen: int, rows of which they are a uniform sample.
        new: int, rows that are added.
        capacity: int.
        rng: `numpy.random.Generator`.
    """
    kept = np.concatenate([np.arange(held), held + np.arange(min(new, capacity - held))])
    later = np.arange(len(kept) - held, new)
    slots = (rng.random(len(later)) * (seen + later + 1)).astype(
        int
    )  # of 0 .. number of this row in all that were seen
    inside = slots < capacity
    kept[slots[inside]] = held + later[inside]  # of several in one slot the last stays
    return kept
