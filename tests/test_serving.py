import contextlib
import importlib
import importlib.util
import json
import os
import resource
import shutil
import subprocess
import sys
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_transfer as kt
from keras_transfer import serving

verification = importlib.import_module("keras_transfer.serving.verify")  # `serving.verify` is the function
CLASSES = ["ä", "b", "c"]
rng = np.random.default_rng(0)
images = rng.integers(0, 256, (6, 4, 4, 1)).astype("uint8")
rows = rng.normal(size=(6, 5)).astype("float32")
to_unit = layers.Rescaling(1 / 255)


class EncoderAlone(kt.TransferModel):
    """What self-supervised methods leave behind: no head."""

    def __init__(self, encoder):
        super().__init__({})
        self.encoder = encoder


class ServesItsTeacher(EncoderAlone):
    """A method that trains one encoder and serves another."""

    def __init__(self, encoder, teacher):
        super().__init__(encoder)
        self.teacher = teacher

    @property
    def served(self):
        return self.teacher, None


def image_encoder():
    return keras.Sequential(
        [
            layers.Input((4, 4, 1)),
            layers.Conv2D(3, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(5),
        ],
        name="encoder",
    )


def head(units, name="head"):
    return keras.Sequential([layers.Input((5,)), layers.Dense(units, bias_initializer="normal")], name=name)


def trained():
    """Its optimizer, metrics, seed generator and discriminator all hold variables that must not be exported."""
    keras.utils.set_random_seed(0)
    model = kt.models.DANN(image_encoder(), head(3), head(1, "discriminator"))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    model.fit({"source": images / 255, "target": images / 255}, np.arange(6) % 3, verbose=0)
    return model


def half_precision():
    policy = keras.dtype_policies.DTypePolicy("mixed_float16")
    network = [layers.Input((5,)), layers.Dense(4, dtype=policy), layers.Dense(3, dtype=policy)]
    return keras.Sequential(network)


def two_inputs(structure):
    left, right = keras.Input((5,), name="left"), keras.Input((2,), name="right")
    inputs = {"left": left, "right": right} if structure is dict else (left, right)
    return keras.Model(inputs, layers.Dense(3)(layers.concatenate([left, right])))


def words():
    vectorize = layers.TextVectorization(vocabulary=["good", "bad"], output_sequence_length=3)
    network = [layers.Input((), dtype="string"), vectorize, layers.Embedding(4, 2), layers.Flatten(), layers.Dense(1)]
    return keras.Sequential(network)


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """What can be exported, exported once: {name: arguments of verify}."""
    root = tmp_path_factory.mktemp("saved_models")
    encoder = head(4, "embedder")
    pair = {"left": rows, "right": rows[:, :2]}
    adapted, gain = trained(), np.float32(2)
    made = {
        "adapted": (adapted, images, {"classes": CLASSES, "preprocessing": to_unit, "metrics": {"gain": gain}}),
        "binary": (keras.Sequential([head(1)]), rows, {"classes": ["no", "yes"], "input_name": "measures"}),
        "encoder": (EncoderAlone(image_encoder()), (images / 255), {}),
        "plain": (head(3), rows, {"outputs": "logits"}),
        "as_it_is": (head(3, "as_it_is"), rows, {}),
        "plain_embed": (keras.Sequential([encoder, layers.Dense(3)]), rows, {"embed": encoder}),
        "dict": (two_inputs(dict), pair, {}),
        "tuple": (two_inputs(tuple), tuple(pair.values()), {"input_name": "part"}),
        "half": (half_precision(), rows, {}),
        "words": (words(), np.array(["good bad", "bad", "odd"], dtype=object), {"input_name": "text"}),
        "lookup": (keras.Sequential([layers.Input((3,)), layers.Dense(2)]), np.array(["u", "v"]),
                   {"preprocessing": layers.StringLookup(vocabulary=["u", "v"], output_mode="one_hot")}),
    }  # fmt: skip
    for name in ("encoder", "binary", "plain_embed"):  # built by their first batch
        made[name][0](made[name][1][:1])
    binary = made["binary"][0].layers[0].layers[0]
    binary.bias.assign(-np.median(rows @ binary.kernel.numpy(), axis=0))
    for name, (model, x, options) in made.items():
        serving.export(model, root / name, x, verify=False, **options)
    return {
        name: {"path": root / name, "model": model, "x": x, **{k: options.get(k) for k in ("preprocessing", "embed")}}
        for name, (model, x, options) in made.items()
    }


@pytest.fixture(scope="module")
def verified(cases):
    return dict(zip(cases, serving.verify_all(cases.values())))


def served(path):
    return tf.saved_model.load(str(path / "1"))


def paths(*networks):
    return sorted(weight.path for network in networks for weight in network.weights)


def everything_in(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


# Bar: at most 1e-5 in a fresh process; the stored variables are those of encoder and head, no more.


def test_fresh_process_equals_the_model(verified):
    for name, result in verified.items():
        print(name, result.differences)
        assert max(result.differences.values()) <= 1e-5, name
    assert set(verified["adapted"].differences) == {"serving_default", "embed"}
    assert set(verified["plain"].differences) == {"serving_default"}
    assert set(verified["plain_embed"].differences) == {"serving_default", "embed"}


def test_only_what_is_served_is_stored_once(cases, verified):
    model, path = cases["adapted"]["model"], cases["adapted"]["path"]
    assert verified["adapted"].stored == paths(model.encoder, model.head)
    stored = dict(tf.train.list_variables(str(path / "1/variables/variables")))
    del stored["_CHECKPOINTABLE_OBJECT_GRAPH"]
    weights = model.encoder.weights + model.head.weights
    assert sorted(map(tuple, stored.values())) == sorted(tuple(weight.shape) for weight in weights)
    assert json.loads((path / "1" / serving.CARD).read_text())["parameters"] == sum(np.prod(w.shape) for w in weights)


def test_verify_names_what_differs(cases, tmp_path):
    encoder, top = head(4), keras.Sequential([layers.Input((4,)), layers.Dense(2)])
    model = kt.models.DANN(encoder, top, keras.Sequential([layers.Input((4,)), layers.Dense(1)]))
    model(rows)
    serving.export(model, tmp_path, rows, outputs="logits", verify=False)
    top.layers[0].bias.assign([1.0, 0.0])
    with pytest.raises(
        ValueError, match="all/serving_default/logits differs by 1; .*stored variable of shape .2,."
    ) as e:
        serving.verify(tmp_path, model, rows)
    assert "embed" not in str(e.value)


def test_verify_refuses_what_should_not_be_stored(tmp_path):
    model = keras.Sequential([layers.Input((5,)), layers.Dense(2)])
    version = serving.export(model, tmp_path, rows, verify=False)
    loaded = tf.saved_model.load(str(version))
    loaded.again = tf.Variable(model.weights[0].numpy())
    shutil.rmtree(version / "variables")
    tf.saved_model.save(loaded, str(version), signatures=loaded.signatures)
    with pytest.raises(ValueError, match=r"a stored variable of shape \(5, 2\), float32, is no weight"):
        serving.verify(tmp_path, model, rows)


@pytest.mark.parametrize("x, expected", [(rows[:1], "at least 2 rows"), (rows, "Expected an export")])
def test_verify_checks_before_it_starts_a_process(cases, tmp_path, x, expected):
    path = cases["plain"]["path"] if len(x) == 1 else tmp_path
    with pytest.raises((ValueError, FileNotFoundError), match=expected):
        serving.verify(path, cases["plain"]["model"], x)


# What a client sees, against numpy.


def softmax(z):
    return np.exp(z) / np.exp(z).sum(-1, keepdims=True)


def test_outputs_of_a_classifier(cases):
    dense = cases["plain"]["model"].layers[0]
    logits = rows @ dense.kernel.numpy() + dense.bias.numpy()
    outputs = served(cases["plain"]["path"]).signatures["serving_default"](images=tf.constant(rows))
    assert set(outputs) == {"logits", "probabilities", "class_id"}
    np.testing.assert_allclose(outputs["logits"], logits, atol=1e-6)
    np.testing.assert_allclose(outputs["probabilities"], softmax(logits), atol=1e-6)
    np.testing.assert_array_equal(outputs["class_id"], logits.argmax(-1))
    assert outputs["class_id"].dtype == tf.int64


def test_one_logit_is_binary(cases):
    dense = cases["binary"]["model"].layers[0].layers[0]
    z = (rows @ dense.kernel.numpy() + dense.bias.numpy())[:, 0]
    assert (z > 0).any() and (z < 0).any()  # both classes appear
    outputs = served(cases["binary"]["path"]).signatures["serving_default"](measures=tf.constant(rows))
    np.testing.assert_allclose(outputs["probabilities"][:, 1], 1 / (1 + np.exp(-z)), atol=1e-6)
    np.testing.assert_allclose(outputs["probabilities"][:, 0], 1 / (1 + np.exp(z)), atol=1e-6)
    np.testing.assert_array_equal(outputs["class_name"], np.where(z > 0, b"yes", b"no"))


def test_raw_pixels_in_class_names_out(cases):
    loaded, model = served(cases["adapted"]["path"]), cases["adapted"]["model"]
    spec = loaded.signatures["serving_default"].structured_input_signature[1]["images"]
    assert spec.shape.as_list() == [None, 4, 4, 1] and spec.dtype == tf.uint8
    outputs = loaded.signatures["serving_default"](images=tf.constant(images))
    chosen = model.predict(images / 255, verbose=0).argmax(-1)
    assert [name.decode() for name in outputs["class_name"].numpy()] == [CLASSES[i] for i in chosen]
    features = loaded.signatures["embed"](images=tf.constant(images))["features"]
    np.testing.assert_allclose(features, model.encoder.predict(images / 255, verbose=0), atol=1e-5)


def test_encoder_alone_serves_features(cases):
    loaded, model = served(cases["encoder"]["path"]), cases["encoder"]["model"]
    x = tf.constant(images / 255, "float32")  # float64 arrays are served as float32
    for signature in ("serving_default", "embed"):
        outputs = loaded.signatures[signature](images=x)
        assert set(outputs) == {"features"}
        np.testing.assert_allclose(outputs["features"], model.predict(images / 255, verbose=0), atol=1e-5)


def test_a_teacher_is_served_where_the_method_says_so(tmp_path):
    """What is stored, `infer` and `embed` are all the teacher's; the student stays at home."""
    model = ServesItsTeacher(image_encoder(), image_encoder())
    x = (images / 255).astype("float32")
    model(x)
    serving.export(model, tmp_path, x, verify=False)
    assert serving.verify(tmp_path, model, x).stored == paths(model.teacher)
    for signature in served(tmp_path).signatures.values():
        np.testing.assert_allclose(signature(images=x)["features"], model.teacher.predict(x, verbose=0), atol=1e-5)


def test_where_infer_is_overridden_no_other_features_are_embedded(tmp_path):
    """Nobody can know which features belong to it: the encoder's may be a student's."""

    class Scaled(EncoderAlone):
        def infer(self, x, training=False):
            return 2.0 * self.encoder(x, training=training)

    model = Scaled(image_encoder())
    x = (images / 255).astype("float32")
    model(x)
    serving.export(model, tmp_path, x, verify=False)
    assert set(serving.verify(tmp_path, model, x).differences) == {"serving_default"}


def test_a_dict_of_outputs_is_served_by_its_keys(tmp_path):
    inputs = keras.Input((5,))
    model = keras.Model(inputs, {"kind": layers.Dense(3)(inputs), "size": layers.Dense(1)(inputs)})
    serving.export(model, tmp_path, rows, classes={"kind": CLASSES}, verify=False)
    outputs = served(tmp_path).signatures["serving_default"](images=rows)
    assert set(outputs) == {"kind", "kind_probabilities", "kind_class_id", "kind_class_name", "size"}
    expected = model.predict(rows, verbose=0)
    np.testing.assert_allclose(outputs["kind_probabilities"], softmax(expected["kind"]), atol=1e-6)
    np.testing.assert_allclose(outputs["size"], expected["size"], atol=1e-6)
    assert serving.verify(tmp_path, model, rows).differences["serving_default"] <= 1e-5
    with pytest.raises(ValueError, match=r"among \['kind', 'size'\]; received \['a'\]"):
        serving.export(model, tmp_path, rows, classes=["a"], verify=False)


def test_one_process_serves_many_calls_and_another_starts_where_it_ended(cases):
    serving.verify_all([cases["plain"]])
    first = verification._Process.running.process
    serving.verify_all([cases["plain"]])
    assert verification._Process.running.process is first
    first.kill()
    first.wait()
    with pytest.raises(RuntimeError, match="The other process ended"):
        serving.verify_all([cases["plain"]])
    assert serving.verify_all([cases["plain"]])[0].differences["serving_default"] <= 1e-5


def test_a_failure_in_the_other_process_is_told_and_ends_nothing(cases, tmp_path):
    with pytest.raises(RuntimeError, match="(?s)failed to run the exports: .*SavedModel file does not exist"):
        verification.replay([(tmp_path, {"all/serving_default": {"images": rows}})])
    assert serving.verify_all([cases["plain"]])[0].differences["serving_default"] <= 1e-5


@pytest.mark.parametrize("case, names", [("dict", {"left", "right"}), ("tuple", {"part_0", "part_1"})])
def test_several_inputs_are_named(cases, case, names):
    assert set(served(cases[case]["path"]).signatures["serving_default"].structured_input_signature[1]) == names


def test_half_precision_serves_float32(cases):
    outputs = served(cases["half"]["path"]).signatures["serving_default"].structured_outputs
    assert outputs["prediction"].dtype == tf.float32


# What stands beside the graph.


def test_card(cases):
    card = json.loads((cases["adapted"]["path"] / "1" / serving.CARD).read_text())
    pixels = {"shape": [None, 4, 4, 1], "dtype": "uint8", "min": int(images.min()), "max": int(images.max())}
    assert card["model"] == "DANN" and card["inputs"]["embed"] == {"images": pixels} and card["classes"] == CLASSES
    assert card["outputs"]["serving_default"] == ["class_id", "class_name", "logits", "probabilities"]
    assert card["metrics"] == {"gain": 2.0} and card["warm_up_requests"] is has_serving_api()
    assert card["versions"]["keras_transfer"] == kt.__version__
    assert card["versions"]["tensorflow"] == tf.__version__ and card["versions"]["keras"] == keras.__version__
    assert card["rowwise"] == ["serving_default", "embed"] and card["input_name"] == "images"
    text = json.loads((cases["words"]["path"] / "1" / serving.CARD).read_text())["inputs"]
    assert text == {"serving_default": {"text": {"shape": [None], "dtype": "string"}}}


def has_serving_api():
    return importlib.util.find_spec("tensorflow_serving") is not None


@pytest.mark.skipif(not has_serving_api(), reason="needs tensorflow-serving-api")
def test_warm_up_requests(cases):
    from tensorflow_serving.apis import prediction_log_pb2

    records = tf.data.TFRecordDataset(str(cases["adapted"]["path"] / "1" / serving.WARM_UP)).as_numpy_iterator()
    requests = [prediction_log_pb2.PredictionLog.FromString(record).predict_log.request for record in records]
    assert [request.model_spec.signature_name for request in requests] == ["serving_default", "embed"]
    for request in requests:
        assert request.model_spec.name == "adapted"
        np.testing.assert_array_equal(tf.make_ndarray(request.inputs["images"]), images[:4])


def test_without_serving_api_there_are_no_warm_up_requests(cases, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_serving.apis", None)  # importing it now fails
    version = serving.export(cases["plain"]["model"], tmp_path, rows, verify=False)
    assert not (version / serving.WARM_UP).exists()
    assert json.loads((version / serving.CARD).read_text())["warm_up_requests"] is False


@pytest.mark.skipif(not has_serving_api(), reason="needs tensorflow-serving-api")
def test_write_config(cases, tmp_path):
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    root = cases["plain"]["path"].parent
    (root / "not_a_model").mkdir()
    before = everything_in(root)
    file = serving.write_config(root, tmp_path / "models.config", base_path="/srv")
    serving.write_config(root, file)
    config = text_format.Parse(file.read_text(), model_server_config_pb2.ModelServerConfig()).model_config_list.config
    assert [(model.name, model.base_path) for model in config] == [(name, f"/models/{name}") for name in sorted(cases)]
    assert {model.model_platform for model in config} == {"tensorflow"}
    assert everything_in(root) == before and everything_in(tmp_path) == ["models.config"]
    with pytest.raises(FileNotFoundError, match="Expected exports"):
        serving.write_config(tmp_path)


# Versions, and what a watching server sees.


def test_versions_count_up(cases, tmp_path):
    model = cases["plain"]["model"]
    (tmp_path / "notes").mkdir()
    made = [serving.export(model, tmp_path, rows, version, verify=False).name for version in (None, None, 7, None)]
    assert made == ["1", "2", "7", "8"]
    with pytest.raises(FileExistsError, match="received 2, found"):
        serving.export(model, tmp_path, rows, version=2, verify=False)


def test_a_watcher_never_sees_part_of_a_version(cases, tmp_path):
    seen, done = set(), threading.Event()

    def watch():
        last = False
        while not last:
            last = done.is_set()  # looks once more after the export
            for name in os.listdir(tmp_path):
                seen.add(("version", tuple(everything_in(tmp_path / name))) if name.isdecimal() else ("hidden", name))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    version = serving.export(cases["adapted"]["model"], tmp_path, images, preprocessing=to_unit, verify=False)
    done.set()
    watcher.join()
    assert {files for kind, files in seen if kind == "version"} == {tuple(everything_in(version))}
    hidden = {name for kind, name in seen if kind == "hidden"}
    assert len(hidden) == 1 and hidden.pop().startswith(".")
    assert os.stat(version).st_mode & 0o777 == 0o777 & ~umask()  # a server under another user can read it


def umask():
    current = os.umask(0)
    os.umask(current)
    return current


# Failures leave nothing.


@contextlib.contextmanager
def little_space(folder, size):
    """A full disk: a tiny file system where this user may mount one, else a limit on the size of each file."""
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True).returncode:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    else:
        try:
            yield
        finally:
            subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("size", [4096, 32768])
def test_no_disk_space(cases, tmp_path, size):
    with little_space(tmp_path, size):
        with pytest.raises(Exception, match="No space left|File too large"):
            serving.export(cases["adapted"]["model"], tmp_path / "model", images, preprocessing=to_unit, verify=False)
        assert everything_in(tmp_path) == []


def test_failure_while_writing(cases, tmp_path):
    lookup = layers.StringLookup(vocabulary=["u", "v"], output_mode="one_hot")
    with pytest.raises(AssertionError, match="untracked"):  # the callable hides the layer's table
        serving.export(
            cases["lookup"]["model"], tmp_path / "a/b", np.array(["u"]), preprocessing=lambda x: lookup(x), verify=False
        )
    assert everything_in(tmp_path) == []


def unbuilt():
    return keras.Sequential([layers.Dense(2)])


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"path": "file"}, NotADirectoryError, "Expected a directory to export to; received .*file"),
        ({"path": "file/model"}, NotADirectoryError, "file is a file"),
        ({"version": 0}, ValueError, "positive int as version; received 0"),
        ({"version": "1"}, ValueError, "positive int as version; received '1'"),
        ({"version": True}, ValueError, "positive int as version; received True"),
        ({"classes": ["a", "b"]}, ValueError, "Expected 3 classes, as the head has; received 2"),
        ({"classes": "ab", "model": "encoder", "x": images / 255}, ValueError, "Expected 5 classes"),
        ({"model": unbuilt}, ValueError, "Expected a built model"),
        ({"embed": lambda x, training: {"a": x}}, ValueError, r"Expected one tensor \(batch, ..., dim\) as `features`"),
        ({"metrics": {"gain": rows.dtype.type}}, TypeError, "Expected metrics that JSON can hold"),
    ],
)
def test_bad_input(cases, tmp_path, change, error, message):
    (tmp_path / "file").write_text("mine")
    options = {"model": "plain", "path": "model", "x": rows, **change}
    model = options["model"]() if callable(options["model"]) else cases[options["model"]]["model"]
    with pytest.raises(error, match=message):
        serving.export(**{**options, "model": model, "path": tmp_path / options["path"]}, verify=False)
    assert everything_in(tmp_path) == ["file"]


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs jax")
def test_other_backends_are_refused(tmp_path):
    script = f"""
import keras, numpy as np
from keras_transfer import serving
model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(2)])
serving.export(model, {str(tmp_path / "model")!r}, np.zeros((2, 2), "float32"))
"""
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert "RuntimeError: Expected Keras on the TensorFlow backend to export; received 'jax'." in process.stderr
    assert everything_in(tmp_path) == []
