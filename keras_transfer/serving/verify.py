"""Reloads an export in a fresh process and compares it with the model in this one."""

import inspect
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_transfer.serving.export import named, signatures_of
from keras_transfer.serving.versions import find_version, read_card


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
    jobs = []
    for job in exports:
        version = find_version(job["path"])
        card = read_card(version)
        inputs = named(job["x"], list(card["inputs"]))
        rows = min(len(value) for value in inputs.values())
        if rows < 2:
            raise ValueError(f"Expected at least 2 rows in `x`, to run two batch sizes; received {rows}.")
        cases = (("all", rows), ("first", 1))
        jobs.append(
            (
                version,
                {
                    f"{case}/{signature}": {name: value[:count] for name, value in inputs.items()}
                    for case, count in cases
                    for signature in card["outputs"]
                },
            )
        )
    return [_compare(*job, *found, tolerance, **kwargs) for job, found, kwargs in zip(jobs, replay(jobs), exports)]


def replay(jobs):
    """Runs exports in a fresh process, which can import neither Keras nor this package.

    Args:
        jobs: list of pairs of the path of a version and its requests, `{"<case>/<signature>": {input: array}}`.

    Returns:
        List of pairs for each job: outputs, `{"<case>/<signature>/<output>": array}`, and a digest of every stored
        variable.

    Raises:
        RuntimeError: the fresh process failed; the message ends with its last words.
    """
    with tempfile.TemporaryDirectory() as folder:
        for number, (version, requests) in enumerate(jobs):
            inputs = {f"{request}/{name}": array for request, x in requests.items() for name, array in x.items()}
            np.savez(f"{folder}/{number}.inputs.npz", **inputs)
            pathlib.Path(f"{folder}/{number}.export").write_text(str(version.resolve()), encoding="utf-8")
        source = f"{inspect.getsource(_digest)}\n{inspect.getsource(_replay)}\n_replay({folder!r}, {len(jobs)})"
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"}
        process = subprocess.run([sys.executable, "-P", "-c", source], env=environment, capture_output=True, text=True)
        if process.returncode:
            raise RuntimeError(f"The fresh process failed to run the exports: {process.stderr[-2000:]}")
        found = []
        for number in range(len(jobs)):
            with np.load(f"{folder}/{number}.outputs.npz") as outputs:
                digests = json.loads(pathlib.Path(folder, f"{number}.variables.json").read_text())
                found.append((dict(outputs), digests))
        return found


# `_digest` and `_replay` travel to the fresh process as source.


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
        loaded, requests, outputs = tf.saved_model.load(export), {}, {}
        with np.load(f"{folder}/{number}.inputs.npz") as inputs:
            for key, value in inputs.items():
                request, _, name = key.rpartition("/")
                requests.setdefault(request, {})[name] = tf.constant(value)
        for request, feed in requests.items():
            for name, value in loaded.signatures[request.partition("/")[2]](**feed).items():
                value = value.numpy()
                outputs[f"{request}/{name}"] = value.astype("S") if value.dtype == object else value
        np.savez(f"{folder}/{number}.outputs.npz", **outputs)
        reader = tf.train.load_checkpoint(f"{export}/variables/variables")
        keys = [key for key in reader.get_variable_to_shape_map() if key != "_CHECKPOINTABLE_OBJECT_GRAPH"]
        with open(f"{folder}/{number}.variables.json", "w") as file:
            json.dump([_digest(reader.get_tensor(key)) for key in keys], file)


def _compare(version, requests, exported, digests, tolerance, path, model, x, preprocessing=None, embed=None):
    card = read_card(version)
    functions = signatures_of(model, type(x), list(card["inputs"]), card["classes"], preprocessing, embed)
    encoder, head = getattr(model, "encoder", None), getattr(model, "head", None)
    parts = [model] if encoder is None or head is None else [encoder, head]
    parts += [part for part in (embed, preprocessing) if isinstance(part, keras.Layer)]
    return compare(version, functions, requests, exported, digests, parts, tolerance)


def compare(version, functions, requests, exported, digests, parts, tolerance):
    """Compares what an export answered with what functions answer in this process.

    Args:
        version: path of the version.
        functions: `{signature: function}` from a dict of inputs to a dict of outputs.
        requests: as for `replay`.
        exported: outputs from `replay`.
        digests: of the stored variables, from `replay`.
        parts: layers whose weights may be stored, each once.
        tolerance: largest absolute difference that passes.

    Returns:
        A `Verification`.

    Raises:
        ValueError: the export and the functions differ; the message lists every output and variable that does.
    """
    expected, classes = {}, read_card(version)["classes"]
    with tf.device("CPU:0"):
        for request, x in requests.items():
            feed = {name: tf.constant(value) for name, value in x.items()}
            for name, value in functions[request.partition("/")[2]](feed).items():
                expected[f"{request}/{name}"] = value.numpy()
    if exported.keys() != expected.keys():
        raise ValueError(f"Expected the outputs {sorted(expected)}; {version} has {sorted(exported)}.")
    differences = {key: _difference(key, exported, expected, classes) for key in expected}
    wrong = [f"{key} differs by {value:.3g}" for key, value in differences.items() if not value <= tolerance]
    weights = {id(weight): weight for part in parts for weight in part.weights}
    unmatched = [(weight.path, _digest(np.asarray(weight))) for weight in weights.values()]
    stored = []
    for digest in digests:
        match = next((entry for entry in unmatched if entry[1] == digest), None)
        if match is None:
            wrong.append(f"a stored variable of shape {tuple(digest[0])}, {digest[1]}, is no weight of what is served")
        else:
            unmatched.remove(match)
            stored.append(match[0])
    if wrong:
        raise ValueError(f"Expected {version} to equal the model within {tolerance}; " + "; ".join(wrong) + ".")
    largest = {}
    for key, value in differences.items():
        signature = key.split("/")[1]
        largest[signature] = max(value, largest.get(signature, 0.0))
    return Verification(largest, sorted(stored))


def _difference(key, exported, expected, classes):
    value, truth = exported[key], expected[key]
    if value.shape != truth.shape:
        return np.inf
    stem, name = key.rsplit("/", 1)
    if name.endswith("class_name"):
        task = name.removesuffix("class_name")  # "" where there is one
        names = classes[task.removesuffix("_")] if task else classes
        chosen = np.array(names)[exported[f"{stem}/{task}class_id"]]
        return 0.0 if np.array_equal(np.char.decode(value, "utf-8"), chosen) else np.inf
    if name.endswith("class_id"):
        probabilities = expected[f"{stem}/{name.removesuffix('class_id')}probabilities"]
        chosen = np.take_along_axis(probabilities, np.maximum(value, 0)[..., None], -1)[..., 0]
        unsure = np.where((value < 0) == (truth < 0), probabilities.max(-1) - chosen, np.inf)  # -1 is unknown
        return float(np.max(np.where(value == truth, 0.0, unsure)))
    return float(np.max(np.abs(value - truth)))
