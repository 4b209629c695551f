"""TensorFlow's C++ loader reads an export and computes what the model computes.

A small C++ program, compiled against the installed TensorFlow wheel, loads the export with `tensorflow::LoadSavedModel`
and the tag `serve`, as TF Serving's core does, and runs each signature on the warm-up request that the export carries.
The request's message type is not in the wheel: Python parses the warm-up file and hands the request's tensors over,
unchanged, as TFRecord files; the replies come back the same way.

It is TensorFlow's C++ loader. It proves nothing about a server's own behaviour: polling of versions, batching, running
the warm-up requests, REST.

`KERAS_TRANSFER_RESULTS=results pytest tests/serving` writes what it measures to `results/`.
"""

import subprocess

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_transfer as kt
from tests.serving.cpp import largest_difference, replies, warm_up_requests, write

rng = np.random.default_rng(0)


def test_images(load_and_run, record, tmp_path):
    """A DANN with uint8 images in and class names out."""
    names = ["cat", "dög", "owl"]
    encoder = [layers.Input((8, 8, 1)), layers.Conv2D(4, 3, activation="relu"), layers.BatchNormalization()]
    encoder = keras.Sequential([*encoder, layers.Flatten(), layers.Dropout(0.5), layers.Dense(6)])
    head, discriminator = (keras.Sequential([layers.Input((6,)), layers.Dense(units)]) for units in (3, 1))
    model = kt.models.DANN(encoder, head, discriminator)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    images = rng.integers(0, 256, (6, 8, 8, 1)).astype("uint8")
    model.fit({"source": images / 255, "target": images / 255}, np.arange(6) % 3, verbose=0)
    to_unit = layers.Rescaling(1 / 255)
    version = kt.export(model, tmp_path / "model", images, classes=names, preprocessing=to_unit, verify=False)

    requests = warm_up_requests(version)
    assert set(requests) == {"serving_default", "embed"}
    got = replies(load_and_run, version, requests, tmp_path)
    rows = images[: len(got["embed"]["features"])] / 255
    features, logits = encoder.predict(rows, verbose=0), model.predict(rows, verbose=0)
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    differences = {
        "features": largest_difference(got["embed"]["features"], features),
        "logits": largest_difference(got["serving_default"]["logits"], logits),
        "probabilities": largest_difference(got["serving_default"]["probabilities"], probabilities),
    }
    print(f"C++ against Python, largest difference: {differences}")
    assert len(rows) > 1 and max(differences.values()) <= 1e-5
    np.testing.assert_array_equal(got["serving_default"]["class_id"], logits.argmax(-1))
    assert [name.decode() for name in got["serving_default"]["class_name"]] == [names[i] for i in logits.argmax(-1)]

    fresh = kt.serving.verify(version, model, images, preprocessing=to_unit)
    served = [weight.path for network in (encoder, head) for weight in network.weights]
    assert fresh.stored == sorted(served)
    figures = {
        "largest_difference_cpp": {name: float(value) for name, value in differences.items()},
        "largest_difference_fresh_process": fresh.differences,
        "stored_variables": fresh.stored,
    }
    record("export", figures)


def test_a_pretrained_hub_module(load_and_run, data_folder, record, tmp_path):
    """MobileNet from TF Hub, with a head."""
    folder = data_folder / "hub/mobilenet_v1_pw12_feature_vector"
    if not folder.is_dir():
        pytest.skip(f"needs {folder.name} in hub/ of KERAS_TRANSFER_DATA")
    encoder = kt.backbones.from_hub(folder, input_shape=(64, 64, 3))
    model = keras.Sequential([encoder, layers.Dense(7)])
    images = rng.integers(0, 256, (4, 64, 64, 3)).astype("uint8")
    version = kt.export(model, tmp_path / "model", images, verify=False)
    requests = warm_up_requests(version)
    got = replies(load_and_run, version, requests, tmp_path)["serving_default"]["prediction"]
    difference = largest_difference(got, model.predict(images[: len(got)], verbose=0))
    record("hub", {"largest_difference_cpp": float(difference)})
    assert difference <= 1e-5


def test_episodes_of_any_size(load_and_run, record, tmp_path):
    """`classify_episode` of a prototypical network, for ways, shots and numbers of queries that no request has had."""
    encoder = [layers.Input((8, 8, 1)), layers.Rescaling(1 / 255), layers.Conv2D(4, 3), layers.BatchNormalization()]
    model = kt.models.PrototypicalNetwork(keras.Sequential([*encoder, layers.Flatten(), layers.Dense(6)]))
    images = rng.integers(0, 256, (60, 8, 8, 1)).astype("uint8")
    version = kt.export(model, tmp_path / "model", images[:6], verify=False)
    differences = {}
    for ways, shots, queries in ((3, 1, 2), (7, 4, 1), (10, 2, 9)):
        labels = rng.permutation(np.repeat(np.arange(ways, dtype="int32"), shots))
        episode = {"support": images[: ways * shots], "labels": labels, "query": images[-queries:]}
        request = {name: tf.make_tensor_proto(value) for name, value in episode.items()}
        got = replies(load_and_run, version, {"classify_episode": request}, tmp_path)["classify_episode"]
        x = {"support": (episode["support"][None], labels[None]), "query": episode["query"][None]}
        logits = model.predict(x, verbose=0)["prediction"][0, :, :ways]
        probabilities = np.exp(logits - logits.max(-1, keepdims=True))
        probabilities /= probabilities.sum(-1, keepdims=True)
        differences[f"{ways}-way {shots}-shot {queries} queries"] = float(
            max(largest_difference(got["logits"], logits), largest_difference(got["probabilities"], probabilities))
        )
        np.testing.assert_array_equal(got["class_id"], logits.argmax(-1))
    record("few_shot_serving", {"largest_difference_cpp": differences})
    assert max(differences.values()) <= 1e-5


def test_adaptation_of_any_size(load_and_run, record, tmp_path):
    """`adapt_and_classify` of MAML: gradient steps in the graph, for shots and queries of any number."""
    network = [layers.Input((8, 8, 1)), layers.Rescaling(1 / 255), layers.Conv2D(4, 3), layers.BatchNormalization()]
    model = kt.models.MAML(keras.Sequential([*network, layers.Flatten(), layers.Dense(3)]), steps=2, rate=0.1)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    images = rng.integers(0, 256, (40, 8, 8, 1)).astype("uint8")
    version = kt.export(model, tmp_path / "model", images[:6], outputs="logits", verify=False)
    differences = {}
    for shots, queries in ((1, 2), (4, 1), (2, 9)):
        labels = rng.permutation(np.repeat(np.arange(3, dtype="int32"), shots))
        support, query = images[: 3 * shots], images[-queries:]
        request = {"support": support, "labels": labels, "query": query}
        request = {name: tf.make_tensor_proto(value) for name, value in request.items()}
        got = replies(load_and_run, version, {"adapt_and_classify": request}, tmp_path)["adapt_and_classify"]
        logits = model.adapt(support, labels).predict(query, verbose=0)
        differences[f"{shots}-shot {queries} queries"] = float(largest_difference(got["logits"], logits))
        np.testing.assert_array_equal(got["class_id"], logits.argmax(-1))
    record("adaptation_serving", {"largest_difference_cpp": differences})
    assert max(differences.values()) <= 1e-5


def test_strings_and_another_batch_size(load_and_run, tmp_path):
    """A one-logit text model, whose vocabulary is a lookup table, on a batch that is not the warm-up request's."""
    vectorize = layers.TextVectorization(vocabulary=["good", "bad"], output_sequence_length=3)
    model = [layers.Input((), dtype="string"), vectorize, layers.Embedding(4, 2), layers.Flatten(), layers.Dense(1)]
    model = keras.Sequential(model)
    version = kt.export(
        model, tmp_path / "model", np.array(["good bad", "bad"]), input_name="text", outputs="logits", verify=False
    )
    words = tf.constant(["bad good", "odd", "good good good"])
    request = {"serving_default": {"text": tf.make_tensor_proto(words)}}
    got = replies(load_and_run, version, request, tmp_path)["serving_default"]
    logits = model.predict(words, verbose=0)
    difference = float(largest_difference(got["logits"], logits))
    print(f"C++ against Python, largest difference: {difference}")
    assert difference <= 1e-5
    np.testing.assert_allclose(got["probabilities"][:, 1:], 1 / (1 + np.exp(-logits)), atol=1e-5)


def test_a_request_of_another_shape_is_an_error_of_the_client(load_and_run, tmp_path):
    """Without a check in the graph convolutions of some ranks end the whole process, with the other models in it."""
    network = [layers.Input((8, 8, 1)), layers.Conv2D(4, 3, activation="relu"), layers.MaxPooling2D()]
    encoder = keras.Sequential([*network, layers.BatchNormalization(), layers.Flatten(), layers.Dense(6)])
    images = rng.normal(size=(4, 8, 8, 1)).astype("float32")
    models = {"plain": encoder, "episodes": kt.models.PrototypicalNetwork(encoder)}
    versions = {name: kt.export(model, tmp_path / name, images, verify=False) for name, model in models.items()}
    for name, signature, key, shape in (
        ("plain", "serving_default", "images", ()),
        ("plain", "serving_default", "images", (2,)),
        ("plain", "serving_default", "images", (2, 8, 8)),
        ("plain", "serving_default", "images", (2, 8, 8, 1, 1)),
        ("plain", "serving_default", "images", (2, 8, 7, 1)),
        ("episodes", "embed", "images", (8, 8, 1)),
        ("episodes", "classify_episode", "query", (8, 8, 1)),
        ("episodes", "prototypes", "support", (3, 64)),
        ("episodes", "classify", "prototypes", (6,)),
    ):
        request = dict(warm_up_requests(versions[name])[signature])
        write(tmp_path / "request", {**request, key: tf.make_tensor_proto(np.ones(shape, "float32"))})
        arguments = [load_and_run, versions[name], signature, tmp_path / "request", tmp_path / "reply"]
        process = subprocess.run(arguments, capture_output=True, text=True)
        assert process.returncode == 1, (signature, shape, process.returncode)  # and not -6, aborted
        assert "INVALID_ARGUMENT" in process.stderr and "is not compatible with" in process.stderr, process.stderr


def test_errors_reach_the_caller(load_and_run, tmp_path):
    process = subprocess.run([load_and_run, tmp_path / "nothing"], capture_output=True, text=True)
    assert process.returncode == 1 and "NOT_FOUND" in process.stderr
