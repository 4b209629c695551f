"""The SavedModel of a TF Hub module: loaded from a handle, and packed as bytes without the values of its weights."""

import io
import json
import math
import os
import pathlib
import tempfile
import zipfile

import numpy as np
import tensorflow as tf

UNPACKED_BYTES, UNPACKED_TIMES = 64 << 20, 20  # the most that a pack unpacks to: so many, and for each of its own
KEPT_BYTES = (
    4096  # smaller entries of a checkpoint travel with the program: what is no weight, such as tables, is there
)


def load(handle):
    """Loads a module.

    Args:
        handle: see `from_hub`.

    Returns:
        The module, with `variables` and, where some train, `trainable_variables`; and itself packed for `unpack`.

    Raises:
        ValueError: if it is no SavedModel in the reusable form.
        ImportError: if a package is missing that downloads or runs it.
    """
    folder = _resolve(handle)
    if not (folder / "saved_model.pb").is_file():
        raise ValueError(f"Expected a TF2 SavedModel; received {handle!r}, a folder without `saved_model.pb`.")
    made = []

    def note(next_creator, **kwargs):
        made.append(next_creator(**kwargs))
        return made[-1]

    with tf.variable_creator_scope(note):
        module = _open(folder)
    if not callable(module) or not hasattr(module, "variables"):
        raise ValueError(
            f"Expected a SavedModel in the reusable form, callable and with its variables; received {handle!r}, which "
            f"has only the signatures {sorted(module.signatures)}."
        )
    places = {id(variable): place for place, variable in enumerate(module.variables)}
    return module, _pack(folder, module.variables, [places.get(id(variable)) for variable in made])


def unpack(packed, variables=None):
    """Loads a module that `load` packed.

    Args:
        packed: bytes.
        variables: list of `tf.Variable` like the module's `variables`, in their order, which it takes in place of new
            ones. Their values are lost.

    Returns:
        The module. Values that were not packed are zero.

    Raises:
        RuntimeError: if it has other variables.
        ValueError: if it would unpack to more than `load` packs, or make tensors larger than the variables.
    """
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(io.BytesIO(packed)) as archive:
        size = sum(each.file_size for each in archive.infolist())
        if size > UNPACKED_BYTES + UNPACKED_TIMES * len(packed):
            raise ValueError(f"Expected a module packed by `from_hub`; received {len(packed)} bytes that hold {size}.")
        archive.extractall(folder)
        contents = json.loads(archive.read("contents.json"))
        held = sum(math.prod(shape) for _, _, shape, held in contents["entries"] if held)
        if variables is not None and held > sum(math.prod(variable.shape) for variable in variables):
            raise ValueError(f"Expected a module with the variables of its layer; received one with {held} numbers.")
        names, tensors = [], []
        for number, (name, dtype, shape, held) in enumerate(contents["entries"]):
            names.append(name)
            stored = None if held else archive.read(f"entries/{number}")
            tensors.append(tf.zeros(shape, dtype) if held else tf.io.parse_tensor(stored, dtype))
        pathlib.Path(folder, "variables").mkdir()
        tf.raw_ops.SaveV2(
            prefix=f"{folder}/variables/variables",
            tensor_names=names,
            shape_and_slices=[""] * len(names),
            tensors=tensors,
        )
        if variables is None:
            return _open(folder)
        places = iter(contents["made"])  # TensorFlow makes the variables in the same order each time

        def give(next_creator, **kwargs):
            place = next(places, None)
            return next_creator(**kwargs) if place is None else variables[place]

        with tf.variable_creator_scope(give):
            module = _open(folder)
    if len(module.variables) != len(variables) or any(a is not b for a, b in zip(module.variables, variables)):
        raise RuntimeError("Expected TensorFlow to load the module onto the variables given; it made others.")
    return module


def describe(variable, learns):
    """Returns what `make` needs to make a variable like this one, as JSON holds it; `learns`: whether it can train."""
    return {
        "name": variable.name.split(":")[0],
        "shape": list(variable.shape),
        "dtype": variable.dtype.name,
        "learns": learns,
        "aggregation": variable.aggregation.name,
        "synchronization": variable.synchronization.name,
    }


def make(description):
    """Returns a `tf.Variable` of zeros as `describe` described it."""
    return tf.Variable(
        tf.zeros(description["shape"], description["dtype"]),
        trainable=description["learns"],
        name=description["name"],
        aggregation=tf.VariableAggregation[description["aggregation"]],
        synchronization=tf.VariableSynchronization[description["synchronization"]],
    )


def _resolve(handle):
    """Returns the folder of a handle: as it is, under KERAS_TRANSFER_DATA, or downloaded."""
    local = [pathlib.Path(handle)]
    if "KERAS_TRANSFER_DATA" in os.environ:
        local.append(pathlib.Path(os.environ["KERAS_TRANSFER_DATA"], "hub", handle.partition("://")[2] or handle))
    for folder in local:
        if folder.is_dir():
            return folder
    if "://" not in handle and handle.count("/") < 2:
        raise ValueError(f"Expected a folder, or a handle of TF Hub; received {handle!r}, which is neither.")
    try:
        import tensorflow_hub
    except ImportError as error:
        raise ImportError("Downloading from TF Hub needs: pip install 'keras_transfer[hub]'") from error
    return pathlib.Path(tensorflow_hub.resolve(handle))


def _open(folder):
    try:
        return tf.saved_model.load(str(folder))
    except (tf.errors.NotFoundError, FileNotFoundError) as error:
        if "Op type not registered" not in str(error):
            raise
        raise ImportError(
            "The module uses operations of TF Text: pip install tensorflow-text, and import tensorflow_text."
        ) from error


def _pack(folder, variables, made):
    """Returns a zip of the graph, the assets, the order of making and the checkpoint without what variables hold."""
    reader = tf.train.load_checkpoint(str(folder / "variables/variables"))
    held_elsewhere = {variable.numpy().tobytes() for variable in variables}
    dtypes, entries, files = reader.get_variable_to_dtype_map(), [], {}
    for file in [folder / "saved_model.pb", *(f for f in folder.glob("assets/**/*") if f.is_file())]:
        files[file.relative_to(folder).as_posix()] = file.read_bytes()
    for key, shape in sorted(reader.get_variable_to_shape_map().items()):
        value = reader.get_tensor(key)
        held = isinstance(value, np.ndarray) and value.nbytes > KEPT_BYTES and value.tobytes() in held_elsewhere
        if not held:
            files[f"entries/{len(entries)}"] = tf.io.serialize_tensor(value).numpy()
        entries.append([key, dtypes[key].name, shape, held])
    files["contents.json"] = json.dumps({"entries": entries, "made": made})
    packed = _zip(files, zipfile.ZIP_DEFLATED)
    size = sum(map(len, files.values()))
    return packed if size <= UNPACKED_BYTES + UNPACKED_TIMES * len(packed) else _zip(files, zipfile.ZIP_STORED)


def _zip(files, method):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(name), content, method)  # without a date: equal bytes
    return buffer.getvalue()
