"""The file of a LoRA adapter: written, read, checked against a model, and brought into it."""

import functools
import hashlib
import io
import itertools
import json
import math
import pathlib
import zipfile
import zlib

import numpy as np

from keras_transfer.files import write_whole
from keras_transfer.finetuning.lora_layers import (
    attached_layers,
    dead_layers,
    enable,
    factors_of,
    keep_still,
    kernel_of,
    layers_with_weights,
    obstacle,
    plain_weights,
)
from keras_transfer.keras_internals import all_layers, child_layers, own_state

HEADER_BYTES = 10_000  # the most that NumPy reads of an array's header
META = "keras_transfer.lora.1"  # the entry of an adapter file that says what the others are


def save(model, path, overwrite=False):
    """Writes what an attached model has learned as one small file, in NumPy's npz format.

    The file holds A, B, rank and alpha of each layer, all else that trains (head, normalisation and its moving
    statistics), the states of random seeds and of methods (`step`), the optimizer's state where the model is compiled
    and has trained, and a digest of the frozen weights, which are not in it. It is written whole or not at all.

    Args:
        model: model with LoRA.
        path: file to write, `adapter.npz`.
        overwrite: bool, whether a file there may be replaced.

    Raises:
        ValueError: no LoRA; a kernel that was thawed after `attach`; dead layers.
        FileExistsError: the file exists, unless `overwrite`.
    """
    path = pathlib.Path(path)
    layers = attached_layers(model)
    if not layers:
        raise ValueError(f"Expected a model with LoRA; received {model.name!r} without. Call `attach` first.")
    thawed = [layer.path for layer in layers if kernel_of(layer).trainable]
    if thawed:
        raise ValueError(
            f"Expected frozen kernels under LoRA; those of {thawed} train, since `trainable` was set after `attach`."
        )
    if dead_layers(model):
        raise ValueError(
            f"Expected layers that can learn; A and B are zero in {dead_layers(model)}, as Keras loads them. "
            "Call `merge`, then `attach`."
        )
    if path.exists() and not overwrite:
        raise FileExistsError(f"Expected a new file; {path} exists. Pass `overwrite=True` to replace it.")
    kept = {id(weight) for weight in model.trainable_weights}
    kept |= {id(w) for layer in all_layers(model) if layer.trainable for w in own_state(layer)}
    weights = [i for i, weight in enumerate(plain_weights(model)) if id(weight) in kept]
    optimizer = model.optimizer if model.compiled and model.optimizer.built else None
    positions = {layer: position for position, layer in enumerate(layers_with_weights(model))}
    meta = {
        "layers": [[positions[layer], layer.path, layer.lora_rank, layer.lora_alpha] for layer in layers],
        "weights": weights,
        "layers_train": [layer.trainable for layer in positions],
        "weights_train": [weight.trainable for weight in plain_weights(model)],
        "architecture": _architecture(model),
        "base": _digest(model, weights),
        "optimizer": optimizer and type(optimizer).__name__,
    }
    variables = adapter_variables(model, meta) | _seeds(model) | (_slots(optimizer) if optimizer else {})
    arrays = {name: _savable(variable.numpy()) for name, variable in variables.items()}
    write_whole(path, functools.partial(np.savez, **{META: json.dumps(meta)}, **arrays))


def load(model, path):
    """Loads what `save` wrote into a model with the same frozen weights, and attaches LoRA as it was, where it is not.

    Training goes on as if never interrupted if the model was compiled, and not trained, before this call: then the
    optimizer's state is restored too, its learning rate included. In a model that is not compiled the rest is.

    Args:
        model: built model of the same architecture and frozen weights, without LoRA or with the same.
        path: file from `save`.

    Returns:
        Whether the optimizer's state was restored.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no adapter file; another architecture, other frozen weights, other LoRA; a model compiled with
            another optimizer, or with one that has trained other variables.
    """
    meta = read_adapter(path, model)
    check_base(model, meta, path)
    optimizer = model.optimizer if model.compiled else None
    if optimizer and optimizer.built and not attached_layers(model):
        raise ValueError("Expected a new optimizer, as the variables change; received a trained one. Compile again.")
    if optimizer and meta["optimizer"] and type(optimizer).__name__ != meta["optimizer"]:
        raise ValueError(
            f"Expected the optimizer {meta['optimizer']}, whose state {path} holds; received "
            f"{type(optimizer).__name__}. To start anew with another one, load first and compile then."
        )
    arrays = unpack(path, shapes_in_file(model, meta))
    arrange(model, meta)
    variables = adapter_variables(model, meta) | _seeds(model)
    if optimizer and meta["optimizer"]:
        if not optimizer.built:
            optimizer.build(model.trainable_variables)
        slots = _slots(optimizer)
        arrays |= unpack(path, {name: tuple(slot.shape) for name, slot in slots.items()}, "optimizer_")
        variables |= slots
    for name, variable in variables.items():
        variable.assign(arrays[name])
    return bool(optimizer and meta["optimizer"])


def adapter_variables(model, meta):
    """Returns `{name in the file: variable}` of what an adapter changes in the model's weights."""
    plain = plain_weights(model)
    variables = {f"weight_{i}": plain[i] for i in meta["weights"]}
    for number, layer in enumerate(attached_layers(model)):
        variables[f"a_{number}"], variables[f"b_{number}"] = factors_of(layer)
    return variables


def shapes_in_file(model, meta):
    """Returns `{name in the file: shape}` of `adapter_variables` and of random seeds, before LoRA is attached."""
    plain, layers = plain_weights(model), layers_with_weights(model)
    shapes = {name: tuple(seed.shape) for name, seed in _seeds(model).items()}
    shapes |= {f"weight_{i}": tuple(plain[i].shape) for i in meta["weights"]}
    for number, (position, _, rank, _) in enumerate(meta["layers"]):
        *inputs, outputs = kernel_of(layers[position]).shape
        shapes |= {f"a_{number}": (*inputs, rank), f"b_{number}": (rank, outputs)}
    return shapes


def read_adapter(path, model):
    """Returns what an adapter file says of itself, a dict. No more of the file is unpacked than the model can explain.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no adapter file, or none that can belong to the model.
    """
    path = pathlib.Path(path)
    if not path.exists():
        raise FileNotFoundError(f"Expected an adapter file; received {path}, which does not exist.")
    layers, weights = layers_with_weights(model), plain_weights(model)
    most = (1 << 20) + (1 << 13) * (len(layers) + len(weights))  # bytes: names and shapes, four for each character
    try:
        with zipfile.ZipFile(path) as archive:
            meta = json.loads(str(_array(archive, META, most)))
        positions = [position for position, *_ in meta["layers"]]
        right = [
            positions == sorted(set(positions)) and set(positions) <= set(range(len(layers))),
            set(meta["weights"]) <= set(range(len(weights))),
            all(type(rank) is int and rank > 0 for _, _, rank, _ in meta["layers"]),
            all(0 < float(alpha) < math.inf for *_, alpha in meta["layers"]),
            all(type(flag) is bool for flag in meta["layers_train"] + meta["weights_train"]),
            [len(meta["layers_train"]), len(meta["weights_train"])] == [len(layers), len(weights)],
            {"architecture", "base", "optimizer"} <= set(meta),
        ]
    except (*_BROKEN, KeyError, TypeError) as error:
        raise ValueError(f"Expected an adapter file from `lora.save`; received {path}, which is none.") from error
    same = [str(saved) for saved in meta["architecture"]] == _architecture(model)
    if same and not all(right):
        raise ValueError(f"Expected an adapter file from `lora.save`; received {path}, which is damaged.")
    return meta


def unpack(path, shapes, prefix=""):
    """Returns arrays of an adapter file by name; what is larger than expected is not unpacked.

    Args:
        path: path of the file.
        shapes: `{name: shape}` of all arrays whose names begin with `prefix`; without one, of all but the optimizer's.
        prefix: str.

    Raises:
        ValueError: if there are others, or they cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = {each.filename.removesuffix(".npy") for each in archive.infolist()} - {META}
            names = {name for name in names if name.startswith(prefix or "optimizer_") == bool(prefix)}
            wrong, arrays = names ^ set(shapes), {}
            for name in sorted(names & set(shapes)):
                arrays[name] = _array(archive, name, HEADER_BYTES + 8 * math.prod(shapes[name]))
                if arrays[name].shape != shapes[name] or arrays[name].dtype.kind not in "fiub":
                    wrong.add(name)
    except _BROKEN as error:
        raise ValueError(f"Expected {path} to hold what belongs to the model; received: {error}.") from error
    if wrong:
        raise ValueError(
            f"Expected the variables that {path} holds; the model or its optimizer differs in {sorted(wrong)[:10]}."
        )
    return arrays


_BROKEN = (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, ValueError)


def _array(archive, name, most):
    """Returns an array of a zip, of which no more than `most` bytes are unpacked."""
    try:
        with archive.open(f"{name}.npy") as file:
            content = file.read(most + 1)
    except KeyError as error:
        raise ValueError(f"no {name}") from error
    if len(content) > most:
        raise ValueError(f"{name}, which is larger than the model allows, {most} bytes")
    return np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)


def check_base(model, meta, path):
    """Raises a ValueError unless the file at `path`, which says `meta` of itself, belongs to the model."""
    if not model.built:
        raise ValueError(f"Expected a built model; received {model.name!r}, which has seen no batch yet.")
    for saved, here in itertools.zip_longest(meta["architecture"], _architecture(model)):
        if saved != here:
            raise ValueError(f"Expected the architecture of {path}, with {saved}; {model.name!r} has {here} there.")
    if _digest(model, meta["weights"]) != meta["base"]:
        raise ValueError(f"Expected the frozen weights that {path} was trained on; those of {model.name!r} differ.")
    layers = layers_with_weights(model)
    for position, _, rank, _ in meta["layers"]:
        reason = None if getattr(layers[position], "lora_enabled", False) else obstacle(layers[position], rank)
        if reason:
            raise ValueError(f"Expected layers that can take the LoRA of {path}; {layers[position].path}: {reason}.")
    layers = enumerate(layers)
    here = [[i, layer.lora_rank, layer.lora_alpha] for i, layer in layers if getattr(layer, "lora_enabled", False)]
    if here and here != [[position, rank, alpha] for position, _, rank, alpha in meta["layers"]]:
        raise ValueError(f"Expected LoRA as in {path}, or none; {model.name!r} has other layers, rank or alpha.")


def arrange(model, meta):
    """Attaches LoRA and freezes as the file says."""
    layers = layers_with_weights(model)
    flags = zip(layers, meta["layers_train"], strict=True)
    for layer, train in sorted(flags, key=lambda pair: not child_layers(pair[0])):  # a container's setter goes down
        layer.trainable = train
    for position, _, rank, alpha in meta["layers"]:
        if not layers[position].lora_enabled:
            enable(layers[position], rank, alpha)
    for weight, train in zip(plain_weights(model), meta["weights_train"], strict=True):
        weight.trainable = train
    keep_still(model)


def layout(meta):
    """Returns what two adapters must have in common to be exchanged for each other in one model."""
    return [[position, rank] for position, _, rank, _ in meta["layers"]], meta["weights"]


def _seeds(model):
    weights = {id(weight) for weight in model.weights}
    return {f"seed_{i}": v for i, v in enumerate(v for v in model.variables if id(v) not in weights)}


def _slots(optimizer):
    return {f"optimizer_{i}": variable for i, variable in enumerate(optimizer.variables)}


def _savable(array):
    return array.astype("float32") if array.dtype.name == "bfloat16" else array  # which npz does not know


def _architecture(model):
    layers, weights = layers_with_weights(model), plain_weights(model)
    return [type(layer).__name__ for layer in layers] + [str(tuple(weight.shape)) for weight in weights]


def _digest(model, weights):
    """Returns the SHA-256 of all weights but those of the indices `weights`, A and B."""
    digest, left_out = hashlib.sha256(), set(weights)
    for i, weight in enumerate(plain_weights(model)):
        if i not in left_out:
            digest.update(weight.numpy().tobytes())
    return digest.hexdigest()
