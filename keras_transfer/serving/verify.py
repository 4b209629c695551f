"""Runs an export in another process and compares it with the model in this one."""

import atexit
import contextlib
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

from keras_transfer.serving.served import first_rows, served_signatures
from keras_transfer.serving.versions import dtype_of, find_version, read_card


class Verification(NamedTuple):
    """What `verify` found.

    Attributes:
        differences: largest absolute difference to the in-process model, `{signature: float}`.
        stored: paths of the model's weights that the export stores, each once and bit for bit.
        from_predict: largest absolute difference to what `model.predict` says, of the signatures that it can be
            compared with.
    """

    differences: dict
    stored: list
    from_predict: dict


def verify(path, model, x, tolerance=1e-5, *, preprocessing=None, embed=None):
    """Runs an export in another process and compares every signature with `model` in this one.

    The other process can import neither Keras nor this package; of packages that bring operations to TensorFlow, such
    as tensorflow_text, it loads those that the card says the export needs. It runs each signature on its request from
    `x` and, where rows are answered one by one, on the first row alone; both sides compute on the CPU. `class_id` is
    compared in probability: how much less likely `model` finds the exported class than its own. The stored variables
    are compared bit for bit with those that the model's signatures read: each is stored at most once, and nothing else.

    What is exported is compared with `model.predict` too, which goes another way, so that an export is not compared
    with itself alone; a graph of its own and another order of sums pass at ten times the tolerance.

    The process is started by the first call and serves later ones, as starting TensorFlow is most of the time; it ends
    with this one.

    Args:
        path: one version, or the directory of the versions: then the highest.
        model: the model that was exported.
        x: raw inputs as given to `export`, at least 2 rows.
        tolerance: largest absolute difference that passes; of outputs beyond 1 relative to the largest.
        preprocessing: as given to `export`.
        embed: as given to `export`.

    Returns:
        A `Verification`.

    Raises:
        ValueError: the export and the model differ; the message lists every output and variable that does.
        FileNotFoundError: no export at `path`.
        RuntimeError: the other process failed; the message ends with its last words.
    """
    return verify_all([dict(path=path, model=model, x=x, preprocessing=preprocessing, embed=embed)], tolerance)[0]


def verify_all(exports, tolerance=1e-5):
    """Does as `verify` for many exports, or for one on many inputs.

    Args:
        exports: list of dicts of `verify`'s arguments, `{"path": ..., "model": ..., "x": ...}`.
        tolerance: largest absolute difference that passes.

    Returns:
        List of `Verification`, in the order of `exports`.

    Raises:
        As `verify`, at the first export that fails.
    """
    jobs = [_job(**job) for job in exports]
    found = replay([(job.version, job.requests) for job in jobs])
    return [_compare(job, *answers, tolerance) for job, answers in zip(jobs, found)]


class _Job(NamedTuple):
    version: pathlib.Path
    signatures: dict
    requests: dict  # {"<case>/<signature>": {input: array}}
    owners: list


def _job(path, model, x, preprocessing=None, embed=None):
    version = find_version(path)
    card = read_card(version)
    signatures = served_signatures(
        model, x, card["classes"], preprocessing, embed, card["input_name"], card.get("stated")
    )
    for signature in signatures.values():
        rows = min(len(value) for value in signature.request.values())
        if signature.rowwise and rows < 2:
            raise ValueError(f"Expected at least 2 rows in `x`, to run two batch sizes; received {rows}.")
    return _requested(version, signatures, [model, preprocessing, embed])


def _requested(version, signatures, owners):
    requests = {}
    for name, signature in signatures.items():
        requests[f"all/{name}"] = signature.request
        if signature.rowwise:
            requests[f"first/{name}"] = first_rows(signature, 1)
    return _Job(version, signatures, requests, owners)


def verify_folder(folder, signatures, owners, tolerance=1e-5, more=()):
    """Does as `verify` for the folder of an export that is not published yet, on the first rows of its requests.

    Args:
        folder: `pathlib.Path` of it.
        signatures: what `served_signatures` returned.
        owners: the model, and what else may hold weights that are served.
        tolerance: as for `verify`.
        more: list of further requests, `{signature: {input: array}}`.

    Returns:
        A `Verification`.
    """
    few = {name: signature._replace(request=first_rows(signature)) for name, signature in signatures.items()}
    job = _requested(folder, few, owners)
    for number, requests in enumerate(more):
        job.requests.update({f"{number}/{name}": request for name, request in requests.items()})
    ((exported, digests),) = replay([(job.version, job.requests)])
    return _compare(job, exported, digests, tolerance)


def replay(jobs):
    """Runs exports in another process, which can import neither Keras nor this package.

    Args:
        jobs: list of pairs of the path of a version and its requests, `{"<case>/<signature>": {input: array}}`.

    Returns:
        List of pairs for each job: outputs, `{"<case>/<signature>/<output>": array}`, and a digest of every stored
        variable.

    Raises:
        RuntimeError: the process failed; the message ends with its last words.
    """
    with tempfile.TemporaryDirectory() as folder:
        for number, (version, requests) in enumerate(jobs):
            inputs = {f"{request}/{name}": array for request, x in requests.items() for name, array in x.items()}
            np.savez(f"{folder}/{number}.inputs.npz", **inputs)
            about = {"export": str(version.resolve()), "needs": _needs(version)}
            pathlib.Path(f"{folder}/{number}.export").write_text(json.dumps(about))
        _Process.ask({"folder": folder, "count": len(jobs)})
        found = []
        for number in range(len(jobs)):
            with np.load(f"{folder}/{number}.outputs.npz") as outputs:
                digests = json.loads(pathlib.Path(folder, f"{number}.variables.json").read_text())
                found.append((dict(outputs), digests))
        return found


def _needs(version):
    """What the card says an export needs besides TensorFlow; nothing where there is no card."""
    with contextlib.suppress(FileNotFoundError):
        return read_card(version).get("needs", [])
    return []


class _Process:
    """The other process: a line in for each question, a line out when it is answered, "" or what went wrong."""

    running = None

    def __init__(self):
        self.words, self.owner = tempfile.TemporaryFile(), os.getpid()  # noqa: SIM115
        parts = (_digest, _load_operations, _replay, _serve)
        source = "\n".join([*map(inspect.getsource, parts), "_serve()"])
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", source],
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.words,
            text=True,
        )
        atexit.register(self.end)

    @classmethod
    def ask(cls, question):
        """Asks the process, which is started where none runs."""
        if cls.running is None or cls.running.owner != os.getpid():  # a fork has its parent's
            cls.running = cls()
        one, answer = cls.running, ""
        with contextlib.suppress(BrokenPipeError):
            one.process.stdin.write(json.dumps(question) + "\n")
            one.process.stdin.flush()
            answer = one.process.stdout.readline()
        if not answer:
            cls.running = None
            raise RuntimeError(f"The other process ended: {one.end()[-2000:]}")
        if json.loads(answer):
            raise RuntimeError(f"The other process failed to run the exports: {json.loads(answer)[-2000:]}")

    def end(self):
        """Ends the process and returns its last words."""
        if self.owner != os.getpid():
            return ""
        atexit.unregister(self.end)
        with contextlib.suppress(BrokenPipeError), self.process:  # a question that was not read
            self.process.kill()
        with self.words:
            self.words.seek(0)
            return self.words.read().decode(errors="replace")


# These four travel to the other process as source.


def _digest(array):
    import hashlib

    return [list(array.shape), str(array.dtype), hashlib.sha256(array.tobytes()).hexdigest()]


def _load_operations(package):
    """Loads the operations of a package, of which the rest may need Keras."""
    import importlib.util
    import pathlib

    import tensorflow as tf

    spec = importlib.util.find_spec(package)
    if spec is None:
        raise ImportError(f"Expected {package}, which the card says the export needs; it is not installed.")
    for library in sorted(pathlib.Path(spec.submodule_search_locations[0]).rglob("*.so")):
        try:
            tf.load_op_library(str(library))
        except (tf.errors.OpError, RuntimeError, TypeError):
            continue  # no library of operations


def _replay(folder, count):
    import json

    import numpy as np
    import tensorflow as tf

    for number in range(count):
        with open(f"{folder}/{number}.export", encoding="utf-8") as file:
            about = json.load(file)
        export = about["export"]
        for package in about["needs"]:
            _load_operations(package)
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
        # What else a checkpoint holds are lookup tables, whose content the outputs show, and its own object graph.
        keys = [key for key in reader.get_variable_to_shape_map() if key.endswith(".ATTRIBUTES/VARIABLE_VALUE")]
        with open(f"{folder}/{number}.variables.json", "w") as file:
            json.dump([_digest(reader.get_tensor(key)) for key in keys], file)


def _serve():
    import json
    import os
    import sys
    import traceback

    sys.modules["keras"] = sys.modules["keras_transfer"] = None  # from here on, importing either fails
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what TensorFlow prints is no answer
    for line in sys.stdin:
        try:
            _replay(**json.loads(line))
            said = ""
        except Exception:
            said = traceback.format_exc()
        answers.write(json.dumps(said) + "\n")
        answers.flush()


def _compare(job, exported, digests, tolerance):
    """Compares what an export answered and stores with what the model's signatures compute and read in this process."""
    answers, predicted, read, classes = {}, {}, {}, read_card(job.version)["classes"]
    with tf.device("CPU:0"):
        for name, signature in job.signatures.items():
            function = _traced(signature)
            read |= {id(variable): variable for variable in function.graph.variables}
            for request in [request for request in job.requests if request.partition("/")[2] == name]:
                feed = {key: tf.constant(value) for key, value in job.requests[request].items()}
                answers |= {(request, key): value.numpy() for key, value in function(**feed).items()}
                if signature.expected is not None and not request.startswith("first/"):
                    found = signature.expected(feed)
                    predicted |= {(request, k): keras.ops.convert_to_numpy(v) for k, v in found.items()}
    keys = {"/".join(key): key for key in answers}
    if exported.keys() != keys.keys():
        raise ValueError(f"Expected the outputs {sorted(keys)}; {job.version} has {sorted(exported)}.")
    exported = {keys[key]: value for key, value in exported.items()}
    wrong, largest, from_predict = [], {}, {}
    for truths, factor, told, found in (
        (answers, 1, "", largest),
        (predicted, 10, " from model.predict", from_predict),
    ):
        for key, truth in truths.items():
            signature = key[0].partition("/")[2]
            difference = _difference(key, exported, answers, truth, job.signatures[signature].classes or classes)
            sizes = np.abs(truth[np.isfinite(truth)]) if truth.dtype.kind == "f" else np.ones(1)
            scale = np.max(sizes[sizes < 1e8], initial=1.0)  # -1e9 is the logit of a class that is not there
            if not difference <= factor * tolerance * scale:
                wrong.append(f"{'/'.join(key)} differs by {difference:.3g}{told}")
            found[signature] = max(found.get(signature, 0.0), difference)
    layers = [part for part in job.owners if isinstance(part, keras.Layer)]
    paths = {id(weight.value): weight.path for layer in layers for weight in layer.variables}
    unmatched = [(paths.get(key, value.name), _digest(value.numpy())) for key, value in read.items()]
    stored = []
    for digest in digests:
        match = next((entry for entry in unmatched if entry[1] == digest), None)
        if match is None:
            wrong.append(f"a stored variable of shape {tuple(digest[0])}, {digest[1]}, is no weight of what is served")
        else:
            unmatched.remove(match)
            stored.append(match[0])
    if wrong:
        raise ValueError(f"Expected {job.version} to equal the model within {tolerance}; " + "; ".join(wrong) + ".")
    return Verification(largest, sorted(stored), from_predict)


def _traced(signature):
    """The function as a graph, which knows the variables that it reads."""
    specs = {
        key: tf.TensorSpec(signature.shape(key), dtype_of(value), name=key) for key, value in signature.request.items()
    }
    return tf.function(lambda **inputs: signature.answer(inputs), autograph=False).get_concrete_function(**specs)


def _difference(key, exported, answers, truth, classes):
    value, (request, name) = exported[key], key
    if value.shape != truth.shape:
        return np.inf
    task = name.removesuffix("class_name").removesuffix("class_id")  # "" where there is one
    probabilities = answers.get((request, f"{task}probabilities"))
    if value.dtype.kind == "S" or truth.dtype.kind in "OSU":
        if probabilities is None or classes is None or task == name:
            return 0.0 if np.array_equal(value.astype("S"), truth.astype("S")) else np.inf
        names = classes[task.removesuffix("_")] if task else classes
        chosen = exported[request, f"{task}class_id"]
        return 0.0 if np.array_equal(np.char.decode(value, "utf-8"), np.array([*names, ""])[chosen]) else np.inf
    if value.dtype.kind in "iu" and probabilities is not None and task != name:
        chosen = np.take_along_axis(probabilities, np.maximum(value, 0)[..., None], -1)[..., 0]
        unsure = np.where((value < 0) == (truth < 0), probabilities.max(-1) - chosen, np.inf)  # -1 is unknown
        return float(np.max(np.where(value == truth, 0.0, unsure), initial=0.0))
    value, truth = np.asarray(value, "float64"), np.asarray(truth, "float64")
    same = (value == truth) | (np.isnan(value) & np.isnan(truth))
    return float(np.max(np.abs(np.where(same, 0.0, value) - np.where(same, 0.0, truth)), initial=0.0))
