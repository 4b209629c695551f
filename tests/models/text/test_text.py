"""The methods on text against what NumPy says, and each against its baseline."""

import keras
import numpy as np
import pytest

import keras_transfer as kt
from tests import contract, oracles

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="eager steps, traced elsewhere")


def cross_entropy(logits, targets, weights):
    logits = logits - logits.max(-1, keepdims=True)
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    picked = np.take_along_axis(logs, targets[..., None], axis=-1)[..., 0]
    return -(picked * weights).sum() / weights.sum()


def test_masked_language_model_by_hand():
    (x, y, weights), _ = contract.masked_texts()
    keras.utils.set_random_seed(0)
    model = kt.models.MaskedLanguageModel(contract.text_encoder())
    model.compile("sgd", run_eagerly=True)
    tokens = np.asarray(model.encoder.get_layer("tokens")(x["text"]["token_ids"]))
    hidden = np.take_along_axis(tokens, x["text"]["positions"][..., None], axis=1)
    dense = np.asarray(model.transform(hidden))
    normal = (dense - dense.mean(-1, keepdims=True)) / np.sqrt(dense.var(-1, keepdims=True) + 1e-3)
    table = next(w for w in model.encoder.weights if "token_embedding" in w.path).numpy()
    expected = cross_entropy(normal @ table.T, y, weights)
    logs = model.train_on_batch(x, y, weights, return_dict=True)
    np.testing.assert_allclose(logs["masked_term"], expected, rtol=1e-5)
    np.testing.assert_allclose(logs["loss"], expected, rtol=1e-5)


def test_logs_are_means_over_tokens_not_over_batches():
    (x, y, weights), _ = contract.masked_texts()
    model = kt.models.MaskedLanguageModel(contract.text_encoder())
    model.compile("sgd", run_eagerly=True)
    few = np.where(np.arange(len(y))[:, None] < 4, 0.0, weights).astype("float32")
    parts = [model.evaluate(x, y, 8, 0, w, return_dict=True)["masked_term"] for w in (weights, few)]
    both = {name: np.concatenate([part, part]) for name, part in x["text"].items()}
    joined = np.concatenate([weights, few])
    whole = model.evaluate({"text": both}, np.tile(y, (2, 1)), 8, 0, joined, return_dict=True)
    counts = [weights.sum(), few.sum()]
    np.testing.assert_allclose(whole["masked_term"], np.average(parts, weights=counts), rtol=1e-5)
    np.testing.assert_allclose(whole["loss"], whole["masked_term"], rtol=1e-5)


def test_denoising_by_hand_and_no_look_ahead():
    (x, y, weights), _ = contract.scrambled_texts()
    model = kt.models.DenoisingText(contract.text_encoder(), contract.text_decoder())
    model.compile("sgd", run_eagerly=True)
    logits = np.asarray(model(x)["prediction"])
    logs = model.train_on_batch(x, y, weights, return_dict=True)
    np.testing.assert_allclose(logs["denoised_term"], cross_entropy(logits, y, weights), rtol=1e-5)
    later = {"text": {**x["text"], "before": x["text"]["before"].copy()}}
    later["text"]["before"][:, 3:] = 1
    again = model(x)["prediction"]
    np.testing.assert_allclose(model(later)["prediction"][:, :3], again[:, :3], atol=1e-5)
    assert np.abs(np.asarray(model(later)["prediction"])[:, 3:] - np.asarray(again)[:, 3:]).max() > 1e-3
    short = np.where(np.arange(6) < 5, x["text"]["token_ids"], 0)
    answers = [model({"text": {**x["text"], "token_ids": ids}})["prediction"] for ids in (short, short[:, :5])]
    np.testing.assert_allclose(*answers, atol=1e-5)  # padding is not read


def test_batches_of_another_form():
    (x, y, weights), _ = contract.masked_texts()
    model = kt.models.MaskedLanguageModel(contract.text_encoder())
    model.compile("sgd", run_eagerly=True)
    with pytest.raises(ValueError, match="received no weights"):
        model.train_on_batch(x, y)
    for kind in (
        kt.models.MaskedLanguageModel,
        lambda encoder: kt.models.DenoisingText(encoder, contract.text_decoder()),
    ):
        with pytest.raises(ValueError, match="Expected a built encoder with the layer 'tokens'"):
            kind(contract.encoder())
    with pytest.raises(ValueError, match="the embedding 'token_embedding'"):
        ids = keras.Input((None,), dtype="int32")
        tokens = keras.Model(ids, keras.layers.Embedding(12, 8)(ids), name="tokens")
        kt.models.MaskedLanguageModel(keras.Model(ids, keras.ops.mean(tokens(ids), axis=1)))


def spans(seed=0, rows=400, length=12):
    """Token ids of a language in which each token follows from the one before."""
    rng = np.random.default_rng(seed)
    follower = rng.permutation(np.arange(5, 25))
    ids = np.zeros((rows, length), "int32")
    ids[:, 0], ids[:, -1] = 2, 3
    ids[:, 1] = rng.integers(5, 25, rows)
    for place in range(2, length - 1):
        ids[:, place] = follower[ids[:, place - 1] - 5]
    return ids


def tokens():
    return kt.layers.WordPiece(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrst"])


def test_masked_tokens_are_learned_better_than_by_counting():
    keras.utils.set_random_seed(0)
    stream = kt.streams.masked_text(spans(), tokens(), length=12, batch_size=50, whole_words=False, seed=0)
    model = kt.models.MaskedLanguageModel(kt.backbones.small_transformer(25, 12, dim=32, blocks=1, convolution=3))
    accuracy = keras.metrics.SparseCategoricalAccuracy(name="accuracy")
    model.compile(keras.optimizers.Adam(3e-3), weighted_metrics=[accuracy])
    history = model.fit(stream, epochs=40, shuffle=False, verbose=0).history
    assert history["accuracy"][0] < 0.3 and history["accuracy"][-1] > 0.6  # the most frequent token: .06


def test_setfit_tells_more_than_the_frozen_features_and_waits_for_its_head(tmp_path):
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    x = np.concatenate([np.eye(3)[y] * 0.7 + rng.normal(size=(60, 3)) * 0.3, rng.normal(size=(60, 29)) * 2], axis=1)
    x, few = x.astype("float32"), slice(0, 24)
    keras.utils.set_random_seed(0)
    encoder = keras.Sequential([keras.Input((32,)), keras.layers.Dense(16)])
    frozen, _ = kt.metrics.tuned_probe(encoder.predict(x[few], verbose=0), y[few])
    model = kt.models.SetFit(encoder, 3)
    before = frozen.score(encoder.predict(x[24:], verbose=0), y[24:])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])
    with pytest.raises(ValueError, match="Expected `calibrate.x, y.` before an export"):
        kt.export(model, tmp_path / "model", x[:4])
    head = model.head.get_weights()[0]
    model.fit(kt.streams.balanced(x[few], y[few], 24, steps=40, seed=0, stream="text"), shuffle=False, verbose=0)
    np.testing.assert_array_equal(model.head.get_weights()[0], head)
    scores = model.calibrate(x[few], y[few])
    assert max(scores.values()) > 0.9
    tuned = model.evaluate(x[24:], y[24:], verbose=0, return_dict=True)["accuracy"]
    assert tuned > before + 0.05
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-6)
    assert float(again.calibrated.numpy()) == 1.0
    with pytest.raises(ValueError, match="labels of all classes 0 to 2; received .0, 1."):
        model.calibrate(x[:2], [0, 1])


def test_simcse_by_hand_and_that_dropout_is_what_it_learns_from():
    (x, _), _ = contract.views()
    model = kt.models.SimCSE(contract.encoder(), contract.projector())
    model.compile("sgd", run_eagerly=True)
    z = [np.asarray(model.projector(model.encoder(x[view]))) for view in ("view_1", "view_2")]
    logs = model.train_on_batch(x, return_dict=True)
    np.testing.assert_allclose(logs["contrast_term"], oracles.in_batch(*z, 0.05), rtol=1e-4)
    noisy = keras.Sequential([keras.Input((8,)), keras.layers.Dense(16), keras.layers.Dropout(0.5)])
    model = kt.models.SimCSE(noisy)
    model.compile("sgd", run_eagerly=True)
    one = model({"view_1": x["view_1"], "view_2": x["view_1"]}, training=True)
    assert np.abs(np.asarray(one["view_1"]) - np.asarray(one["view_2"])).max() > 0.1
