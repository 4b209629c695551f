"""Classes that come to a served model of pictures: in the request, and in a version that is written without training.

`KERAS_TRANSFER_RESULTS=results pytest tests/serving` writes what it measures to `results/zero_shot.json`.
"""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt
from tests.serving.cpp import largest_difference, replies, warm_up_requests

LETTERS = kt.datasets.letter_descriptions("aàáäoòóöeèéë")
SEEN = [name for i, name in enumerate(LETTERS.names) if i % 4 != 3]
LAST = LETTERS.names[-1]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A trained model of letters, its export, and a version that also knows the last letter."""
    keras.utils.set_random_seed(0)
    known = dict(zip(LETTERS.names[:-1], LETTERS.attributes[:-1]))
    images = kt.datasets.glyphs([LETTERS.letters[i] for i, n in enumerate(LETTERS.names) if n in SEEN], n=256, seed=0)
    encoder = kt.backbones.small_cnn((28, 28, 1), dim=16, momentum=0.9)
    model = kt.models.BilinearCompatibility(encoder, keras.layers.Dense(len(LETTERS.attribute_names)), known, SEEN)
    model.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    y = np.array([LETTERS.names.index(name) for name in SEEN])[images.labels]
    model.fit(images.images, y, epochs=2, verbose=0)
    model.calibrate(penalty=0.7)
    path = tmp_path_factory.mktemp("saved_models") / "letters"
    first = kt.export(model, path, images.images[:16])
    second = kt.serving.add_classes(path, {LAST: LETTERS.attributes[-1]}, images.images[:16])
    return model, images.images[:16], first, second


def in_cpp(load_and_run, version, folder):
    return replies(load_and_run, version, warm_up_requests(version), folder)


def test_added_classes_in_cpp(served, load_and_run, record, tmp_path):
    model, x, _, second = served
    answers = in_cpp(load_and_run, second, tmp_path)["serving_default"]
    expected = model.grow({LAST: LETTERS.attributes[-1]}).predict(x[: len(answers["logits"])], verbose=0)
    difference = float(largest_difference(answers["logits"], expected))
    record("zero_shot", {"added_classes": difference})
    assert difference <= 1e-5 and expected.shape[1] == len(LETTERS.names)
    assert [name.decode() for name in answers["class_name"]] == [LETTERS.names[i] for i in expected.argmax(-1)]


def test_classes_of_a_request_in_cpp(served, load_and_run, record, tmp_path):
    """As Python scores them: the request of `score` holds the stored matrix for each row, without the penalty."""
    model, x, first, _ = served
    model.calibrate()
    expected = model.predict(x, verbose=0)
    model.calibrate(penalty=0.7)
    answers = in_cpp(load_and_run, first, tmp_path)
    differences = []
    for name in ("score", "score_all"):
        logits = answers[name]["logits"]
        differences.append(float(largest_difference(logits, expected[: len(logits)])))
    record("zero_shot", {"classes_of_a_request": max(differences)})
    assert max(differences) <= 1e-5


def test_what_is_embedded_scores_as_what_is_stored(served):
    model, x, first, _ = served
    loaded = tf.saved_model.load(str(first)).signatures
    vectors = [loaded["embed_class"](descriptions=row[None])["class_vector"] for row in LETTERS.attributes[:-1]]
    features = loaded["embed"](images=tf.constant(x))["features"].numpy()
    np.testing.assert_allclose(np.concatenate(vectors), model.class_matrix, atol=1e-6)
    logits = loaded["score_all"](images=tf.constant(x), classes=tf.concat(vectors, 0))["logits"]
    np.testing.assert_allclose(features @ np.concatenate(vectors).T, logits, rtol=1e-4, atol=1e-4)


def test_the_card_names_all_classes(served):
    card = json.loads((served[3] / kt.serving.CARD).read_text())
    assert card["own_classes"]["serving_default"] == list(LETTERS.names)
    assert {"score", "embed", "serving_default"} <= set(card["rowwise"]) and "score_all" not in card["rowwise"]


@pytest.mark.parametrize(
    "more, message",
    [
        ({"z": [1.0, 0.0]}, "vectors of [0-9]+ numbers; received float.* of shape"),
        ({"z": ["a letter"]}, "are vectors of [0-9]+ numbers"),
        ({"z": np.zeros(len(LETTERS.attribute_names))}, "zeros alone for 'z'"),
        ({LETTERS.names[0]: LETTERS.attributes[-1]}, "which is there already"),
    ],
)
def test_classes_that_are_none(served, more, message):
    with pytest.raises(ValueError, match=message):
        kt.serving.add_classes(served[2].parent, more)


def test_without_inputs_noise_does(served, tmp_path):
    model, x, *_ = served
    kt.export(model, tmp_path / "letters", x, verify=False)
    version = kt.serving.add_classes(tmp_path / "letters", {LAST: LETTERS.attributes[-1]})
    answers = tf.saved_model.load(str(version)).signatures["serving_default"](images=tf.constant(x))
    expected = model.grow({LAST: LETTERS.attributes[-1]}).predict(x, verbose=0)
    np.testing.assert_allclose(answers["logits"], expected, atol=1e-4)
