"""From a model to TF Serving: write a SavedModel version, verify it in a fresh process, list models for a server."""

import contextlib
import datetime
import inspect
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile
import uuid
import warnings
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

CARD = "assets.extra/card.json"
WARM_UP = "assets.extra/tf_serving_warmup_requests"
WARM_UP_ROWS = 4
OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"  # the one entry of a checkpoint that is no variable


def export(
    model, path, x, version=None, *, classes=None, preprocessing=None, embed=None, input_name="images", metrics=None
):
    """Writes `model` as the SavedModel `<path>/<version>/`, which TF Serving loads and any client can read.

    Signatures, all with a dynamic batch and float32 outputs whatever the dtype policy:

    - `serving_default`: `logits` (batch, classes), `probabilities` (batch, classes), `class_id` (batch,) int64 and,
      where `classes` are given, `class_name` (batch,) strings. A head of one logit z is binary: `probabilities` is
      (batch, 2), sigmoid(-z) and sigmoid(z). A model with an `encoder`, no `head` and no `classes` serves `features`.
    - `embed`: `features` (batch, dim), where the model has an `encoder` or `embed` is given.

    Only the variables that these signatures use are stored, each once. The version is written to a hidden directory
    beside it, whose name no server takes for a version, and renamed when complete; a failure leaves nothing behind.
    `assets.extra/`, the place the SavedModel format keeps for files that its loaders ignore, holds `card.json` and,
    where tensorflow-serving-api is installed, warm-up requests with the first 4 rows of `x`, one per signature.

    Args:
        model: built model. `model(x)` gives logits (batch, classes); see above for encoders alone.
        path: directory of the versions; its name is the model's name for the server. Made where missing.
        x: real inputs as clients will send them: an array (batch, ...), or a dict or tuple of arrays. They set the
            names (dict), shapes and dtypes of the signatures (float64 becomes float32), the ranges in the card and the
            warm-up requests, so pass rows that show the range.
        version: positive int; by default one more than the highest version in `path`.
        classes: class names in the order of the logits; two for a head of one logit.
        preprocessing: from `x` to the model's input, stored in the graph: raw uint8 images in, say. A layer or any
            callable of TensorFlow or `keras.ops`; a layer, where it holds weights or lookup tables.
        embed: network from the model's input to features; by default `model.encoder` where there is one.
        input_name: name of the one input; a tuple of inputs is named `<input_name>_0`, `<input_name>_1`, ...
        metrics: what the card shall say about quality, `{"target_accuracy": 0.93}`; anything JSON can hold.

    Returns:
        The `pathlib.Path` of the version.

    Raises:
        NotADirectoryError: `path`, or a parent of it, is a file.
        FileExistsError: the version exists.
        ValueError: unbuilt model; a version that is no positive int; as many `classes` as the head has not; output
            that is not one tensor (batch, ..., dim).
        RuntimeError: Keras runs on another backend than TensorFlow.

    Example:
    ```python
    to_unit = keras.layers.Rescaling(1 / 255)
    kt.export(model, "saved_models/digits", x_test, classes="0123456789", preprocessing=to_unit)
    kt.serving.verify("saved_models/digits", model, x_test[:8], preprocessing=to_unit)
    ```
    """
    path = pathlib.Path(path)
    _check_target(path, version)
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(f"Expected Keras on the TensorFlow backend to export; received {keras.backend.backend()!r}.")
    if not model.built:
        raise ValueError(f"Expected a built model; received {model.name!r}, which has seen no batch yet.")
    classes = None if classes is None else [str(name) for name in classes]
    inputs = _named(x, input_name)
    signatures = _signatures(model, type(x), list(inputs), classes, preprocessing, embed)
    outputs = {name: signature(_rows(inputs, 1)) for name, signature in signatures.items()}  # before the work: it runs
    card = {
        "model": type(model).__name__,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "inputs": {name: _describe(value) for name, value in inputs.items()},
        "outputs": {name: sorted(values) for name, values in outputs.items()},
        "classes": classes,
        "metrics": metrics or {},
        "versions": {
            "keras_transfer": sys.modules[__package__].__version__,
            "keras": keras.__version__,
            "tensorflow": tf.__version__,
            "python": platform.python_version(),
        },
    }
    _to_json(card)

    archive = keras.export.ExportArchive()
    # Held by a plain container, their lookup tables are tracked and their variables not stored a second time.
    tables = tf.Module()
    tables.owners = [part for part in (preprocessing, model, embed) if isinstance(part, keras.Layer)]
    archive.track(tables)
    specs = {
        name: keras.InputSpec(shape=(None, *v.shape[1:]), dtype=_dtype(v), name=name) for name, v in inputs.items()
    }
    for name, signature in signatures.items():
        archive.add_endpoint(name, signature, [specs])

    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    staging = path / f".{uuid.uuid4().hex}"
    try:
        staging.mkdir(parents=True)
        with warnings.catch_warnings():  # TensorFlow also traces the networks' own calls, wrapping their dicts
            warnings.filterwarnings("ignore", "(?s).*structure of `inputs` doesn't match the expected")
            archive.write_out(str(staging), verbose=False)
        (staging / "assets.extra").mkdir()
        card["warm_up_requests"] = _write_warm_up(
            staging / WARM_UP, path.resolve().name, signatures, _rows(inputs, WARM_UP_ROWS)
        )
        stored = dict(tf.train.list_variables(str(staging / "variables/variables")))
        card["parameters"] = sum(int(np.prod(stored[key])) for key in stored if key != OBJECT_GRAPH)
        (staging / CARD).write_text(_to_json(card), encoding="utf-8")
        return staging.rename(path / str(version or max(_versions(path), default=0) + 1))
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        for folder in missing:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


class Verification(NamedTuple):
    """What `verify` found.

    Attributes:
        differences: largest absolute difference to the in-process model, `{signature: float}`.
        stored: paths of the model's weights that the export stores, each once and bit for bit.
    """

    differences: dict
    stored: list


def verify(path, model, x, tolerance=1e-5, *, preprocessing=None, embed=None):
    """Reloads an export in a fresh process and compares every signature with `model` in this one.

    The fresh process can import neither Keras nor this package. It runs each signature on `x` and on its first row
    alone; both sides compute on the CPU. `class_id` is compared in probability: how much less likely `model` finds
    the exported class than its own. The stored variables are compared bit for bit with the weights of `encoder` and
    `head` (of the whole model, where it has not both), of `preprocessing` and of `embed`: each is stored at most once,
    and nothing else.

    Args:
        path: one version, or the directory of the versions: then the highest.
        model: the model that was exported.
        x: raw inputs as given to `export`, at least 2 rows.
        tolerance: largest absolute difference that passes.
        preprocessing: as given to `export`.
        embed: as given to `export`.

    Returns:
        A `Verification`.

    Raises:
        ValueError: the export and the model differ; the message lists every output and variable that does.
        FileNotFoundError: no export at `path`.
        RuntimeError: the fresh process failed; the message ends with its last words.
    """
    return verify_all([dict(path=path, model=model, x=x, preprocessing=preprocessing, embed=embed)], tolerance)[0]


def verify_all(exports, tolerance=1e-5):
    """`verify` for many exports in one fresh process: starting TensorFlow is most of its time.

    Args:
        exports: list of dicts of `verify`'s arguments, `{"path": ..., "model": ..., "x": ...}`.
        tolerance: largest absolute difference that passes.

    Returns:
        List of `Verification`, in the order of `exports`.

    Raises:
        As `verify`, at the first export that fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        for number, job in enumerate(exports):
            version = _find_version(job["path"])
            inputs = _named(job["x"], list(_read_card(version)["inputs"]))
            rows = min(len(value) for value in inputs.values())
            if rows < 2:
                raise ValueError(f"Expected at least 2 rows in `x`, to run two batch sizes; received {rows}.")
            np.savez(f"{folder}/{number}.inputs.npz", **inputs)
            pathlib.Path(f"{folder}/{number}.export").write_text(str(version.resolve()), encoding="utf-8")
        source = f"{inspect.getsource(_digest)}\n{inspect.getsource(_replay)}\n_replay({folder!r}, {len(exports)})"
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"}
        process = subprocess.run([sys.executable, "-P", "-c", source], env=environment, capture_output=True, text=True)
        if process.returncode:
            raise RuntimeError(f"The fresh process failed to run the exports: {process.stderr[-2000:]}")
        return [_compare(folder, number, tolerance, **job) for number, job in enumerate(exports)]


def write_config(saved_models, file=None, base_path="/models"):
    """Writes TF Serving's `models.config` for every model in a directory; pass it as `--model_config_file`.

    Args:
        saved_models: directory of `<model>/<version>/`.
        file: where to write; by default `<saved_models>/models.config`. Replaced in one step.
        base_path: `saved_models` as the server sees it; `/models` in the tensorflow/serving image.

    Returns:
        The `pathlib.Path` of the file.

    Raises:
        FileNotFoundError: no directory in `saved_models` holds a version.
    """
    saved_models = pathlib.Path(saved_models)
    names = sorted(child.name for child in saved_models.iterdir() if child.is_dir() and _versions(child))
    if not names:
        raise FileNotFoundError(f"Expected exports <model>/<version>/ in {saved_models}; found none.")
    quoted = [json.dumps([name, f"{base_path}/{name}"], ensure_ascii=False)[1:-1].split(", ", 1) for name in names]
    text = "".join(
        f'  config {{\n    name: {name}\n    base_path: {base}\n    model_platform: "tensorflow"\n  }}\n'
        for name, base in quoted
    )
    file = pathlib.Path(file or saved_models / "models.config")
    beside = file.with_name(f".{uuid.uuid4().hex}")
    try:
        beside.write_text(f"model_config_list {{\n{text}}}\n", encoding="utf-8")
        return beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)


# What is served.


def _signatures(model, kind, names, classes, preprocessing, embed):
    """`{signature: function}` from a dict of the inputs `names` to a dict of outputs; `kind` is the type of x."""
    encoder, head = getattr(model, "encoder", None), getattr(model, "head", None)
    embed = embed or encoder

    def run(network, inputs):
        x = {name: inputs[name] for name in names}  # a plain dict: TensorFlow wraps those it passes
        if not issubclass(kind, dict):
            x = kind(x.values()) if issubclass(kind, (tuple, list)) else x[names[0]]
        output = network(x if preprocessing is None else preprocessing(x), training=False)
        if not tf.is_tensor(output) or output.shape.rank < 2:
            raise ValueError(f"Expected one tensor (batch, ..., dim) from {network!r}; received {output!r}.")
        return tf.cast(output, tf.float32)

    def features(inputs):
        return {"features": run(embed, inputs)}

    def predict(inputs):
        if encoder is not None and head is None and classes is None:
            return {"features": run(model, inputs)}
        logits = run(model, inputs)
        # One logit z is the pair (0, z): its softmax is sigmoid(-z), sigmoid(z).
        scores = logits if logits.shape[-1] > 1 else tf.concat([tf.zeros_like(logits), logits], -1)
        if classes is not None and len(classes) != scores.shape[-1]:
            raise ValueError(f"Expected {scores.shape[-1]} classes, as the head has; received {len(classes)}.")
        outputs = {"logits": logits, "probabilities": tf.nn.softmax(scores), "class_id": tf.argmax(scores, -1)}
        return outputs if classes is None else {**outputs, "class_name": tf.gather(classes, outputs["class_id"])}

    return {"serving_default": predict} if embed is None else {"serving_default": predict, "embed": features}


def _named(x, names):
    """`x` as a dict of arrays; `names` is a list of names, or the one name to make them from."""
    parts = list(x) if isinstance(x, (tuple, list)) else [x]
    if isinstance(names, str):
        names = [names] if len(parts) == 1 else [f"{names}_{i}" for i in range(len(parts))]
    named = x if isinstance(x, dict) else dict(zip(names, parts, strict=True))
    return {name: _array(value) for name, value in named.items()}


def _array(value):
    value = np.asarray(value)
    if value.dtype == object:  # strings
        return np.array(value.tolist())
    return value.astype("float32") if value.dtype == "float64" else value


def _rows(inputs, count):
    return {name: tf.constant(value[:count]) for name, value in inputs.items()}


def _dtype(value):
    return tf.constant(value[:1]).dtype.name


def _describe(value):
    shown = {"shape": [None, *value.shape[1:]], "dtype": _dtype(value)}
    return shown if value.dtype.kind in "SU" else {**shown, "min": value.min(), "max": value.max()}


def _write_warm_up(file, model_name, signatures, inputs):
    """One PredictionLog per signature; returns whether tensorflow-serving-api was there to write them."""
    try:
        from tensorflow_serving.apis import predict_pb2, prediction_log_pb2
    except ImportError:
        return False
    with tf.io.TFRecordWriter(str(file)) as writer:
        for signature in signatures:
            request = predict_pb2.PredictRequest(
                model_spec={"name": model_name, "signature_name": signature},
                inputs={name: tf.make_tensor_proto(value) for name, value in inputs.items()},
            )
            log = prediction_log_pb2.PredictionLog(predict_log={"request": request})
            writer.write(log.SerializeToString())
    return True


def _to_json(card):
    def plain(value):
        if isinstance(value, (np.generic, np.ndarray)):
            return value.tolist()
        raise TypeError(f"Expected metrics that JSON can hold; received {value!r}.")

    return json.dumps(card, indent=2, ensure_ascii=False, default=plain)


# Versions of a model.


def _versions(path):
    return {int(child.name): child for child in path.glob("*") if child.name.isdecimal()}


def _check_target(path, version):
    for folder in (path, *path.parents):
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(f"Expected a directory to export to; received {path}, but {folder} is a file.")
    if version is None:
        return
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ValueError(f"Expected a positive int as version; received {version!r}.")
    if version in _versions(path):
        raise FileExistsError(
            f"Expected a version that does not exist; received {version}, found {path / str(version)}."
        )


def _find_version(path):
    path = pathlib.Path(path)
    found = path if (path / CARD).is_file() else max(_versions(path).items(), default=(0, path))[1]
    if not (found / CARD).is_file():
        raise FileNotFoundError(f"Expected an export, or a directory of its versions; received {path}.")
    return found


def _read_card(version):
    return json.loads((version / CARD).read_text(encoding="utf-8"))


# Verification. `_digest` and `_replay` travel to the fresh process as source.


def _digest(array):
    import hashlib

    return [list(array.shape), str(array.dtype), hashlib.sha256(array.tobytes()).hexdigest()]


def _replay(folder, count):
    import sys

    sys.modules["keras"] = sys.modules["keras_transfer"] = None  # from here on, importing either fails
    import json

    import numpy as np
    import tensorflow as tf

    for number in range(count):
        with open(f"{folder}/{number}.export", encoding="utf-8") as file:
            export = file.read()
        loaded, outputs = tf.saved_model.load(export), {}
        with np.load(f"{folder}/{number}.inputs.npz") as inputs:
            for rows, batch in (("all", slice(None)), ("first", slice(1))):
                feed = {name: tf.constant(value[batch]) for name, value in inputs.items()}
                for signature, function in loaded.signatures.items():
                    for name, value in function(**feed).items():
                        value = value.numpy()
                        outputs[f"{rows}/{signature}/{name}"] = value.astype("S") if value.dtype == object else value
        np.savez(f"{folder}/{number}.outputs.npz", **outputs)
        reader = tf.train.load_checkpoint(f"{export}/variables/variables")
        keys = [key for key in reader.get_variable_to_shape_map() if key != "_CHECKPOINTABLE_OBJECT_GRAPH"]
        with open(f"{folder}/{number}.variables.json", "w") as file:
            json.dump([_digest(reader.get_tensor(key)) for key in keys], file)


def _compare(folder, number, tolerance, path, model, x, preprocessing=None, embed=None):
    version = _find_version(path)
    card = _read_card(version)
    inputs, classes = _named(x, list(card["inputs"])), card["classes"]
    with np.load(f"{folder}/{number}.outputs.npz") as file:
        exported = dict(file)
    expected = {}
    with tf.device("CPU:0"):
        for signature, function in _signatures(model, type(x), list(inputs), classes, preprocessing, embed).items():
            for rows, count in (("all", None), ("first", 1)):
                for name, value in function(_rows(inputs, count)).items():
                    expected[f"{rows}/{signature}/{name}"] = value.numpy()
    if exported.keys() != expected.keys():
        raise ValueError(f"Expected the outputs {sorted(expected)}; {version} has {sorted(exported)}.")
    differences = {key: _difference(key, exported, expected, classes) for key in expected}
    wrong = [f"{key} differs by {value:.3g}" for key, value in differences.items() if not value <= tolerance]

    encoder, head = getattr(model, "encoder", None), getattr(model, "head", None)
    parts = [model] if encoder is None or head is None else [encoder, head]
    parts += [part for part in (embed, preprocessing) if isinstance(part, keras.Layer)]
    weights = {id(weight): weight for part in parts for weight in part.weights}
    unmatched = [(weight.path, _digest(np.asarray(weight))) for weight in weights.values()]
    stored = []
    for digest in json.loads(pathlib.Path(folder, f"{number}.variables.json").read_text()):
        match = next((entry for entry in unmatched if entry[1] == digest), None)
        if match is None:
            wrong.append(f"a stored variable of shape {tuple(digest[0])}, {digest[1]}, is no weight of what is served")
        else:
            unmatched.remove(match)
            stored.append(match[0])
    if wrong:
        raise ValueError(f"Expected {version} to equal {model.name!r} within {tolerance}; " + "; ".join(wrong) + ".")
    largest = {s: max(v for key, v in differences.items() if key.split("/")[1] == s) for s in card["outputs"]}
    return Verification(largest, sorted(stored))


def _difference(key, exported, expected, classes):
    value, truth = exported[key], expected[key]
    if value.shape != truth.shape:
        return np.inf
    stem, name = key.rsplit("/", 1)
    if name == "class_name":
        chosen = np.array(classes)[exported[f"{stem}/class_id"]]
        return 0.0 if np.array_equal(np.char.decode(value, "utf-8"), chosen) else np.inf
    if name == "class_id":
        probabilities = expected[f"{stem}/probabilities"]
        chosen = np.take_along_axis(probabilities, value[..., None], -1)[..., 0]
        return float(np.max(probabilities.max(-1) - chosen))
    return float(np.max(np.abs(value - truth)))
