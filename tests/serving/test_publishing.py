"""What a server never sees: versions that are not finite, not verified, or taken; and what is left of the dead."""

import json
import os
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_transfer as kt

rng = np.random.default_rng(0)
X = rng.normal(size=(8, 4)).astype("float32")


def model():
    return keras.Sequential([keras.Input((4,)), layers.Dense(2, name="answer")])


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite(value, verify, tmp_path):
    broken = model()
    broken.layers[0].bias.assign([0.0, value])
    with pytest.raises(ValueError, match="output 'prediction' of 'serving_default', the weight '.*answer/bias'"):
        kt.export(broken, tmp_path / "model", X, verify=verify)
    assert not list(tmp_path.iterdir())


def test_a_weight_that_no_request_shows(tmp_path):
    """Rows of an embedding that nobody asked for."""
    words = keras.Sequential([keras.Input((3,), dtype="int32"), layers.Embedding(9, 2, name="words")])
    words.layers[0].embeddings.assign(np.where(np.arange(9)[:, None] == 7, np.nan, 1.0) * np.ones((9, 2)))
    with pytest.raises(ValueError, match="finite weights to serve; .* the weight '.*words/embeddings'"):
        kt.export(words, tmp_path / "model", np.zeros((4, 3), "int32"))
    assert not list(tmp_path.iterdir())


def test_an_input_that_is_not_finite_is_named(tmp_path):
    with pytest.raises(ValueError, match="the output 'prediction' of 'serving_default', the input 'images'"):
        kt.export(model(), tmp_path, np.where(X[0, 0] == X, np.nan, X))


def test_the_cost_of_verifying_is_printed(tmp_path, capsys):
    version = kt.export(model(), tmp_path, X)
    said = capsys.readouterr().out
    assert said.startswith(f"{version}: verified in ") and "largest difference" in said
    kt.export(model(), tmp_path, X, verify=False)
    assert capsys.readouterr().out == ""


def test_large_outputs_are_compared_by_their_size(tmp_path):
    """886,886 in float32 has steps of 0.06."""
    large = model()
    large.layers[0].kernel.assign(1e6 * large.layers[0].kernel)
    kt.export(large, tmp_path, X)


@pytest.mark.parametrize("asked", [None, 3])
def test_a_version_that_another_export_takes_in_the_meantime(asked, tmp_path, recwarn):
    def taken(x):
        folder = tmp_path / str(asked or 1)
        folder.mkdir(exist_ok=True)
        (folder / "theirs").write_text("theirs")
        return x

    version = kt.export(model(), tmp_path, X, version=asked, preprocessing=taken)
    assert version.name == str((asked or 1) + 1) and names(tmp_path) == [str(asked or 1), version.name]
    told = [str(one.message) for one in recwarn if "another export took it" in str(one.message)]
    assert len(told) == (asked is not None)
    assert tf.saved_model.load(str(version)).signatures["serving_default"]
    with pytest.raises(FileExistsError, match=f"received {asked or 1}, found"):
        kt.export(model(), tmp_path, X, version=asked or 1)


def test_versions_that_no_server_could_read(tmp_path):
    with pytest.raises(ValueError, match=r"at most 2\*\*63 - 1, .*; received 9223372036854775808"):
        kt.export(model(), tmp_path / "model", X, version=2**63)
    for name in (str(2**63), "\u0663", "1e3"):  # too large, an Arabic 3, no integer: no versions
        (tmp_path / name).mkdir()
    assert kt.export(model(), tmp_path, X, verify=False).name == "1"
    (tmp_path / str(2**63 - 1)).mkdir()
    with pytest.raises(ValueError, match="a version below 9223372036854775807"):
        kt.export(model(), tmp_path, X)


def test_a_card_is_json(tmp_path):
    def no_constant(name):
        raise AssertionError(f"{name} is no JSON")

    metrics = {"gain": float("nan"), "all": [np.float32("inf"), 1.0], "by": {"seed": np.array([np.nan, 2.0])}}
    version = kt.export(model(), tmp_path, X, metrics=metrics, verify=False)
    card = json.loads((version / kt.serving.CARD).read_text(), parse_constant=no_constant)
    assert card["metrics"] == {"gain": None, "all": [None, 1.0], "by": {"seed": [None, 2.0]}}


def test_the_next_export_removes_what_a_killed_one_left(tmp_path):
    script = f"""
import keras, numpy as np
import keras_transfer as kt
from keras_transfer.serving import versions
def stop(folder, owners):
    print("writing", flush=True)
    import time
    time.sleep(600)
versions.check_stored = stop
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
kt.export(model, {str(tmp_path)!r}, np.ones((4, 4), "float32"))
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout.readline() == "writing\n"
        (hidden,) = names(tmp_path)
        kt.export(model(), tmp_path, X, verify=False)
        assert names(tmp_path) == [hidden, "1"]  # it lives
        process.send_signal(signal.SIGKILL)
    assert names(tmp_path) == [hidden, "1"] and (tmp_path / hidden / "saved_model.pb").is_file()
    kt.export(model(), tmp_path, X, verify=False)
    assert names(tmp_path) == ["1", "2"]


# What a server is told to load.


def test_names_in_the_configuration(tmp_path):
    from google.protobuf import text_format

    config_pb2 = pytest.importorskip("tensorflow_serving.config.model_server_config_pb2")
    made = ['a, "b", c', "plain", "tab\tand\nline", "\u00e4\\"]
    for name in (*made, ".hidden"):
        (tmp_path / name / "1").mkdir(parents=True)
        (tmp_path / name / "1/saved_model.pb").write_bytes(b"")
    (tmp_path / "data/2024").mkdir(parents=True)  # a folder of a year is no version
    (tmp_path / "empty").mkdir()
    foreign = os.fsencode(tmp_path) + b"/latin_\xe4"
    try:
        os.makedirs(foreign + b"/1")
    except OSError:
        foreign = None  # this file system knows UTF-8 alone
    if foreign is not None:
        with open(foreign + b"/1/saved_model.pb", "wb"):
            pass
        with pytest.warns(UserWarning, match="names of models in UTF-8; received .*latin_"):
            file = kt.serving.write_config(tmp_path)
    else:
        file = kt.serving.write_config(tmp_path)
    config = text_format.Parse(file.read_text(), config_pb2.ModelServerConfig()).model_config_list.config
    assert {one.name: one.base_path for one in config} == {name: f"/models/{name}" for name in made}


# Text: tables beside the variables, and operations that TensorFlow alone does not have.


def test_a_vocabulary_that_was_adapted(tmp_path):
    vectorize = layers.TextVectorization(output_sequence_length=3)
    texts = np.array(["good bad", "bad", "odd good"])
    vectorize.adapt(texts)
    parts = [keras.Input((), dtype="string"), vectorize, layers.Embedding(9, 2), layers.Flatten(), layers.Dense(1)]
    words = keras.Sequential(parts)
    version = kt.export(words, tmp_path, texts, input_name="text")
    found = kt.serving.verify(version, words, texts)
    assert found.differences == {"serving_default": 0.0} and len(found.stored) == 3
    card = json.loads((version / kt.serving.CARD).read_text())
    assert card["parameters"] == 9 * 2 + 6 + 1 and card["needs"] == []


def test_a_lookup_that_was_adapted(tmp_path):
    lookup = layers.IntegerLookup(output_mode="one_hot")
    numbers = np.array([5, 7, 9, 7])
    lookup.adapt(numbers)
    kt.export(keras.Sequential([keras.Input((4,)), layers.Dense(2)]), tmp_path, numbers, preprocessing=lookup)


def test_operations_of_a_package(tmp_path, monkeypatch):
    text = pytest.importorskip("tensorflow_text")
    tokenizer = text.WhitespaceTokenizer()

    def lengths(texts):
        tokens = tokenizer.tokenize(texts)
        return tf.cast(tf.strings.length(tokens).to_tensor(shape=(None, 3)), "float32")

    words = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
    texts = np.array(["good bad", "a b c"])
    version = kt.export(words, tmp_path, texts, preprocessing=lengths, input_name="text")
    assert json.loads((version / kt.serving.CARD).read_text())["needs"] == ["tensorflow_text"]
    assert kt.serving.verify(version, words, texts, preprocessing=lengths).differences["serving_default"] <= 1e-6
    card = json.loads((version / kt.serving.CARD).read_text())
    (version / kt.serving.CARD).write_text(json.dumps({**card, "needs": ["no_such_package"]}))
    with pytest.raises(RuntimeError, match="Expected no_such_package, which the card says the export needs"):
        kt.serving.verify(version, words, texts, preprocessing=lengths)
