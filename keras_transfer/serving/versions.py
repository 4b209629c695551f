"""A version of a model on disk: `<model>/<version>/`, as TF Serving expects, with a card and warm-up requests."""

import datetime
import json
import pathlib
import platform
import re
import sys
import types
import warnings

import keras
import numpy as np
import tensorflow as tf

from keras_transfer.files import to_json, write_folder_whole
from keras_transfer.serving.served import check_stored, variables_of

CARD = "assets.extra/card.json"
WARM_UP = "assets.extra/tf_serving_warmup_requests"
WARM_UP_ROWS = 4
HIGHEST = 2**63 - 1  # servers keep versions as int64


def write_version(path, version, signatures, owners, card, check):
    """Writes a SavedModel version beside the others, whole or not at all.

    Where somebody else takes the version in the meantime, it gets the next number, with a warning if it was asked for.

    Args:
        path: `pathlib.Path` of the directory of the versions.
        version: positive int; None for one more than the highest.
        signatures: `{name: kt.signatures.Signature}`.
        owners: layers and models whose variables and lookup tables the functions use.
        card: dict of what shall be known about the model.
        check: function of the path of the complete folder, which has no version yet: what it returns is kept in the
            card, what it raises ends the export.

    Returns:
        The `pathlib.Path` of the version.
    """
    card = {
        **card,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": {
            "keras_transfer": sys.modules["keras_transfer"].__version__,
            "keras": keras.__version__,
            "tensorflow": tf.__version__,
            "python": platform.python_version(),
        },
    }
    to_json(card)

    archive = keras.export.ExportArchive()
    # Held by a plain container, their lookup tables are tracked and their variables not stored a second time.
    tables = tf.Module()
    tables.owners = owners
    archive.track(tables)
    for name, signature in signatures.items():
        specs = {
            key: keras.InputSpec(shape=signature.shape(key), dtype=dtype_of(value), name=key)
            for key, value in signature.request.items()
        }
        archive.add_endpoint(name, signature.answer, [specs])

    def write(folder):
        with warnings.catch_warnings():  # TensorFlow also traces the networks' own calls, wrapping their dicts
            warnings.filterwarnings("ignore", "(?s).*structure of `inputs` doesn't match the expected")
            archive.write_out(str(folder), verbose=False)
        (folder / "assets.extra").mkdir()
        card["warm_up_requests"] = _write_warm_up(folder / WARM_UP, path.resolve().name, signatures)
        stored = dict(tf.train.list_variables(str(folder / "variables/variables")))
        card["parameters"] = sum(int(np.prod(stored[key])) for key in variables_of(stored))
        card["needs"] = packages_of(operations(folder))
        (folder / CARD).write_text(to_json(card), encoding="utf-8")
        check_stored(folder, owners)
        card["verified"] = check(folder)
        (folder / CARD).write_text(to_json(card), encoding="utf-8")

    def name():
        taken = versions(path)
        return str(version if version is not None and version not in taken else next_version(path))

    written = write_folder_whole(path, write, name)
    if version is not None and written.name != str(version):
        warnings.warn(
            f"Expected version {version} to be free, as it was before; another export took it. This one is "
            f"{written.name}.",
            stacklevel=3,
        )
    return written


def operations(folder):
    """Returns the names of the operations in the graph of a SavedModel."""
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    found = set()
    for graph in saved.meta_graphs:
        found |= {node.op for node in graph.graph_def.node}
        found |= {node.op for function in graph.graph_def.library.function for node in function.node_def}
        found -= {function.signature.name for function in graph.graph_def.library.function}
    return found


def packages_of(names):
    """Returns the packages besides TensorFlow that bring any of these operations, such as tensorflow_text.

    They are imported here, and a server needs their libraries too.
    """

    def plain(name):
        return re.sub("[^a-z0-9]", "", name.lower())

    more = {plain(name) for name in names if not hasattr(tf.raw_ops, name)}
    found = set()
    for name, module in list(sys.modules.items()) if more else []:
        if name.split(".")[0] == "tensorflow" or not isinstance(module, types.ModuleType):
            continue
        for part in list(vars(module).values()):
            if isinstance(part, types.ModuleType) and "_IS_TENSORFLOW_PLUGIN" in vars(part):
                found |= {name.split(".")[0] for function in vars(part) if plain(function) in more}
    return sorted(found)


def _write_warm_up(file, model_name, signatures):
    """One PredictionLog per signature; returns whether tensorflow-serving-api was there to write them."""
    try:
        from tensorflow_serving.apis import predict_pb2, prediction_log_pb2
    except ImportError:
        return False
    with tf.io.TFRecordWriter(str(file)) as writer:
        for name, signature in signatures.items():
            rows = WARM_UP_ROWS if signature.rowwise else None
            request = predict_pb2.PredictRequest(
                model_spec={"name": model_name, "signature_name": name},
                inputs={key: tf.make_tensor_proto(value[:rows]) for key, value in signature.request.items()},
            )
            log = prediction_log_pb2.PredictionLog(predict_log={"request": request})
            writer.write(log.SerializeToString())
    return True


def dtype_of(value):
    """Returns the name of the dtype of an input."""
    return tf.constant(value[:1]).dtype.name


def describe(value):
    """Returns what a card says of an input: its range is that of its finite numbers."""
    shown = {"shape": [None, *value.shape[1:]], "dtype": dtype_of(value)}
    if value.dtype.kind in "SU":
        return shown
    known = value[np.isfinite(value)] if value.dtype.kind == "f" else value
    return {**shown, "min": known.min(), "max": known.max()} if known.size else shown


def versions(path):
    """Returns `{number: path}` of the versions in a directory."""
    found = {int(child.name): child for child in path.glob("*") if re.fullmatch("[0-9]+", child.name)}
    return {number: child for number, child in found.items() if number <= HIGHEST}  # no server sees others


def next_version(path):
    """Returns one more than the highest version in a directory; raises ValueError where a server could not read it."""
    highest = max(versions(path), default=0)
    if highest == HIGHEST:
        raise ValueError(f"Expected a version below {HIGHEST} in {path}, to export the next; received {highest}.")
    return highest + 1


def check_target(path, version):
    """Raises an error where a version cannot be written."""
    for folder in (path, *path.parents):
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(f"Expected a directory to export to; received {path}, but {folder} is a file.")
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(f"Expected Keras on the TensorFlow backend to export; received {keras.backend.backend()!r}.")
    if version is None:
        next_version(path)
        return
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ValueError(f"Expected a positive int as version; received {version!r}.")
    if version > HIGHEST:
        raise ValueError(f"Expected a version of at most 2**63 - 1, as servers can read it; received {version}.")
    if version in versions(path):
        raise FileExistsError(
            f"Expected a version that does not exist; received {version}, found {path / str(version)}."
        )


def find_version(path):
    """Returns the path of a version, or of the highest version in a directory."""
    path = pathlib.Path(path)
    found = path if (path / CARD).is_file() else max(versions(path).items(), default=(0, path))[1]
    if not (found / CARD).is_file():
        raise FileNotFoundError(f"Expected an export, or a directory of its versions; received {path}.")
    return found


def read_card(version):
    """Returns the card of a version."""
    return json.loads((version / CARD).read_text(encoding="utf-8"))
