"""Weights from HDF5 files, whole or in part, with an account of what was loaded and what was not."""

import pathlib
import re
from collections import Counter
from typing import Any, NamedTuple

import h5py
import keras
import ml_dtypes
import numpy as np

from keras_transfer.keras_internals import places_in_file


class LoadedWeights(NamedTuple):
    """Says what `load_weights_file` did; `print` shows it.

    Attributes:
        loaded: list of pairs of the path of a variable (`conv1/kernel`) and of its array in the file
            (`layers/conv2d/vars/0`).
        missing: list of the paths of the model's variables that were not loaded: the file has no counterpart, or
            another variable of the same layer does not fit.
        unused: list of the paths of the file's arrays that the model has no counterpart for.
        mismatched: list of triples: path of a variable that does not fit, its shape, and the shape in the file; None
            where the layer has this variable on one side only.
    """

    loaded: list
    missing: list
    unused: list
    mismatched: list

    def __str__(self):
        total = len(self.loaded) + len(self.missing) + sum(ours is not None for _, ours, _ in self.mismatched)
        lines = [f"Loaded {len(self.loaded)} of {total} variables."]
        for title, names in (
            (
                "Of another shape in the file",
                [f"{path} {ours}, not {theirs}" for path, ours, theirs in self.mismatched],
            ),
            ("Not in the file", self.missing),
            ("In the file only", self.unused),
        ):
            if names:
                more = f" and {len(names) - 10} more" if len(names) > 10 else ""
                lines.append(f"{title}: {', '.join(names[:10])}{more}.")
        return "\n".join(lines)


def load_weights_file(model, path):
    """Loads the weights of a Keras 3 `.weights.h5` or a Keras 2 `.h5` file into a model, as far as they belong to it.

    Layers are matched by their names, wherever they stand, so that a file of a longer, shorter or nested model serves
    as well. Names that Keras made up (`conv2d_3`) say nothing in another process: such layers are matched by their
    class and position, as `Model.load_weights` does; in a Keras 2 file by position if all shapes agree, otherwise by
    name. A layer is loaded whole or not at all. Nothing is loaded when an error is raised.

    Args:
        model: built `keras.Model`. Attach LoRA after loading, not before.
        path: path of the file, `.weights.h5`, `.h5` or `.hdf5`. Of a whole Keras 2 model the weights are taken.

    Returns:
        `LoadedWeights`: the lists `loaded`, `missing`, `unused` and `mismatched`. Print it.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is not a complete HDF5 file of weights, points to other files or places (external
            storage, virtual data sets, external and soft links, which Keras refuses too), holds anything but numbers
            where the model has weights, or nothing in it belongs to the model.

    Example:

    ```python
    print(load_weights_file(model, "mobilenet.weights.h5"))
    # Loaded 137 of 139 variables.
    # Not in the file: head/kernel, head/bias.
    ```
    """
    path = pathlib.Path(path)
    if path.suffix not in (".h5", ".hdf5"):
        raise ValueError(f"Expected a `.weights.h5` or `.h5` file; received {str(path)!r}.")
    if not path.is_file():
        raise FileNotFoundError(f"Expected a file of weights; received {str(path)!r}, which does not exist.")
    layers = _layers_of(model)
    try:
        with h5py.File(path) as file:
            _check_whole_in_itself(file, path)
            saved, layers = _read(file, layers)
            if not saved:
                raise ValueError(f"Expected weights that Keras saved; received {path}, which holds none.")
            result, values = _match(model, layers, saved)
    except (OSError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise ValueError(f"Expected {path} to be a complete HDF5 file; received: {error}.") from error
    if not values:
        raise ValueError(f"Expected weights for {model.name!r}; received {path}, which matches nothing. {result}")
    for variable, value in values:
        variable.assign(value)
    return result


def _check_whole_in_itself(file, path):
    """Raises a ValueError if anything in a file lies elsewhere, in any file of the machine perhaps."""
    found = []

    def visit(name, item):  # each group and data set once, by hard links alone
        if isinstance(item, h5py.Group):
            kinds = {key: item.get(key, getlink=True, getclass=True) for key in item}
            found.extend(
                f"{kind.__name__} {f'{name}/{key}'.lstrip('/')!r}"
                for key, kind in kinds.items()
                if kind is not h5py.HardLink
            )
        elif isinstance(item, h5py.Dataset) and item.external:
            found.append(f"data set {name!r} in the file {item.external[0][0]!r}")
        elif isinstance(item, h5py.Dataset) and item.is_virtual:
            found.append(f"virtual data set {name!r}")

    visit("", file)
    file.visititems(visit)
    if found:
        raise ValueError(f"Expected {path} to hold its weights itself; received the {', the '.join(found[:5])}.")


class _Layer(NamedTuple):
    """What holds arrays itself, in a model or in a file."""

    path: str  # where it stands: `layers/functional/layers/conv2d_3`
    name: str | None  # what it is called within its model: `block_1/query`; None if that says nothing
    arrays: dict[str, Any]  # variables or HDF5 data sets by key


def _layers_of(model):
    if not model.built or not model.weights:
        raise ValueError(f"Expected a model that is built; received {model.name!r}, which has no variables yet.")
    lora = [variable.path for variable in model.variables if variable.name.startswith("lora_")]
    if lora:
        raise ValueError(f"Expected weights to be loaded before LoRA is attached; received a model with {lora[0]}.")
    variables, names = places_in_file(model)
    own = {id(variable) for variable in model.weights}
    layers = []
    for path, arrays in variables.items():
        arrays = {key: value for key, value in arrays.items() if id(value) in own}
        if arrays:
            layers.append(_Layer(path, _name(path, names), arrays))
    return layers


def _read(file, layers):
    """Returns the layers of a file, and those of the model with names and paths that compare to them."""
    group = file.get("model_weights", file)
    if "layer_names" in group.attrs or "layer_names0" in group.attrs:
        saved = _read_keras_2(group, {layer.name for layer in layers})
        numbered = [layer._replace(path=str(index)) for index, layer in enumerate(layers)]
        if _shapes(saved) != _shapes(numbered):
            return _unambiguous(saved), _unambiguous(layers)  # no path in common: by name alone
        layers = numbered
    else:
        saved = _read_keras_3(file)
    return _unambiguous(_without_made_up(saved)), _unambiguous(_without_made_up(layers))


def _read_keras_3(file):
    names, arrays = {}, {}

    def visit(path, item):
        if path.split("/")[0] == "optimizer":
            return
        parent, _, last = path.rpartition("/")
        if last == "vars" and "name" in item.attrs:
            names[_modern(parent)] = item.attrs["name"]
        elif isinstance(item, h5py.Dataset) and (parent == "vars" or parent.endswith("/vars")):
            arrays.setdefault(_modern(parent[: -len("vars")].rstrip("/")), {})[last] = item

    file.visititems(visit)
    return [_Layer(path, _name(path, names), items) for path, items in arrays.items()]


def _modern(path):
    return path.replace("_layer_checkpoint_dependencies", "layers")  # as TensorFlow 2.12 and 2.13 wrote it


def _read_keras_2(group, known):
    saved = []
    for name in _attribute(group, "layer_names"):
        weights = {weight: group[name][weight] for weight in _attribute(group[name], "weight_names")}
        if not all(isinstance(item, h5py.Dataset) for item in weights.values()):
            raise TypeError(f"no arrays under {name!r}")
        parts = {}
        for weight, item in weights.items():
            part = weight.rpartition("/")[0]
            parts.setdefault(part.removeprefix(f"{name}/") if part not in known else part, []).append(item)
        if name.replace("/", "_") in known or "" in parts:  # a layer of its own, whatever its arrays are called
            parts = {name: list(weights.values())}
        saved += [(part, {str(key): item for key, item in enumerate(items)}) for part, items in parts.items() if items]
    return [_Layer(str(index), name, arrays) for index, (name, arrays) in enumerate(saved)]


def _attribute(group, name):
    """Returns a list of strings, which HDF5 may have had to cut into pieces `name0`, `name1`."""
    if name in group.attrs:
        pieces = [group.attrs[name]]
    else:
        pieces = [group.attrs[f"{name}{i}"] for i in range(len(group.attrs)) if f"{name}{i}" in group.attrs]
    return [item.decode() if isinstance(item, bytes) else str(item) for piece in pieces for item in piece]


def _name(path, names):
    """Returns the names on the way from the innermost model to a layer; None where the layer has none."""
    if not path or path not in names:
        return None
    steps = path.split("/")
    start = max((i for i, step in enumerate(steps) if step == "layers"), default=-1) + 1
    found = (names.get("/".join(steps[: i + 1])) for i in range(start, len(steps)))
    return "/".join(name for name in found if name)


def _snake(name):
    return re.sub("([a-z])([A-Z])", r"\1_\2", re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)).lower()


_CLASSES = {_snake(name) for name in [*dir(keras.layers), "Functional", "Sequential", "Model"]}


def _without_made_up(layers):
    """Returns the layers without names that Keras made of a class and a counter."""

    def made_up(layer):
        classes = _CLASSES | {re.sub(r"_\d+$", "", step) for step in layer.path.split("/")}
        return any(re.sub(r"_\d+$", "", part) in classes for part in layer.name.split("/"))

    return [layer._replace(name=None) if layer.name and made_up(layer) else layer for layer in layers]


def _unambiguous(layers):
    """Returns the layers without names that several have, and without `/` in them, which Keras 3 does not take."""
    layers = [layer._replace(name=layer.name and layer.name.replace("/", "_")) for layer in layers]
    count = Counter(layer.name for layer in layers)
    return [layer._replace(name=layer.name if count[layer.name] == 1 else None) for layer in layers]


def _shapes(layers):
    return {layer.path: {key: tuple(array.shape) for key, array in layer.arrays.items()} for layer in layers}


def _partners(layers, saved):
    """Returns pairs of a layer of the model and its counterpart in the file."""
    by_name = {layer.name: layer for layer in saved if layer.name}
    pairs = [(layer, by_name[layer.name]) for layer in layers if layer.name in by_name]
    ours, theirs = ({pair[side].path for pair in pairs} for side in (0, 1))
    by_path = {layer.path: layer for layer in saved if layer.path not in theirs}
    same = _shapes(layers) == _shapes(saved)
    for layer in layers:
        other = by_path.get(layer.path)
        if layer.path not in ours and other and (same or not layer.name or not other.name):
            pairs.append((layer, other))
    return pairs


def _match(model, layers, saved):
    """Returns what to report, and the pairs of a variable and its value."""
    loaded, mismatched, values, handled, used = [], [], [], set(), set()
    for layer, other in _partners(layers, saved):
        wrong = []
        for key in sorted(layer.arrays.keys() | other.arrays.keys()):
            variable, array = layer.arrays.get(key), other.arrays.get(key)
            ours, theirs = (None if each is None else tuple(each.shape) for each in (variable, array))
            if ours != theirs:
                wrong.append((_path(array) if variable is None else variable.path, ours, theirs))
                handled.add(id(variable))
        if not wrong:
            pairs = [(variable, other.arrays[key]) for key, variable in layer.arrays.items()]
            loaded += [(variable.path, _path(array)) for variable, array in pairs]
            values += [(variable, _value(array, variable)) for variable, array in pairs]
            handled |= {id(variable) for variable, _ in pairs}
        mismatched += wrong
        used.add(other.path)
    missing = [variable.path for variable in model.weights if id(variable) not in handled]
    unused = [_path(array) for layer in saved if layer.path not in used for array in layer.arrays.values()]
    return LoadedWeights(loaded, missing, unused, mismatched), values


def _path(array):
    return array.name.lstrip("/")


def _value(array, variable):
    """Returns an array as the variable takes it: all are converted before the first is assigned."""
    bfloat16 = array.attrs.get("dtype") == "bfloat16"  # HDF5 has no such type
    if array.dtype.kind not in "fiub" and not (bfloat16 and array.dtype.itemsize == 2):
        raise ValueError(f"Expected numbers for {variable.path}; received {_path(array)} of the type {array.dtype}.")
    return np.array(array, dtype=ml_dtypes.bfloat16 if bfloat16 else None).astype(variable.dtype)
