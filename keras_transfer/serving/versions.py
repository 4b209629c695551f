"""A version of a model on disk: `<model>/<version>/`, as TF Serving expects, with a card and warm-up requests."""

import datetime
import json
import pathlib
import platform
import sys
import warnings

import keras
import numpy as np
import tensorflow as tf

from keras_transfer.files import write_folder_whole

CARD = "assets.extra/card.json"
WARM_UP = "assets.extra/tf_serving_warmup_requests"
WARM_UP_ROWS = 4
OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"  # the one entry of a checkpoint that is no variable


def write_version(path, version, signatures, owners, card):
    """Writes a SavedModel version beside the others, whole or not at all.

    Args:
        path: `pathlib.Path` of the directory of the versions.
        version: positive int; None for one more than the highest.
        signatures: `{name: kt.signatures.Signature}`.
        owners: layers and models whose variables and lookup tables the functions use.
        card: dict of what shall be known about the model.

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
            key: keras.InputSpec(shape=(None, *value.shape[1:]), dtype=dtype_of(value), name=key)
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
        card["parameters"] = sum(int(np.prod(stored[key])) for key in stored if key != OBJECT_GRAPH)
        (folder / CARD).write_text(to_json(card), encoding="utf-8")

    def name():
        return str(version or max(versions(path), default=0) + 1)

    return write_folder_whole(path, write, name)


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


def to_json(card):
    """Returns a card as JSON text; raises TypeError for metrics that JSON cannot hold."""

    def plain(value):
        if isinstance(value, (np.generic, np.ndarray)):
            return value.tolist()
        raise TypeError(f"Expected metrics that JSON can hold; received {value!r}.")

    return json.dumps(card, indent=2, ensure_ascii=False, default=plain)


def dtype_of(value):
    """Returns the name of the dtype of an input."""
    return tf.constant(value[:1]).dtype.name


def describe(value):
    """Returns what a card says of an input."""
    shown = {"shape": [None, *value.shape[1:]], "dtype": dtype_of(value)}
    return shown if value.dtype.kind in "SU" else {**shown, "min": value.min(), "max": value.max()}


def versions(path):
    """Returns `{number: path}` of the versions in a directory."""
    return {int(child.name): child for child in path.glob("*") if child.name.isdecimal()}


def check_target(path, version):
    """Raises an error where a version cannot be written."""
    for folder in (path, *path.parents):
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(f"Expected a directory to export to; received {path}, but {folder} is a file.")
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(f"Expected Keras on the TensorFlow backend to export; received {keras.backend.backend()!r}.")
    if version is None:
        return
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ValueError(f"Expected a positive int as version; received {version!r}.")
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
