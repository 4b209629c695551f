import keras
import numpy as np
import pytest

import keras_transfer as kt
from tests.contract import encoder, episode_batch


def similarity(q, s, cosine):
    return q @ s / np.linalg.norm(q) / np.linalg.norm(s) if cosine else -((q - s) ** 2).sum()


@pytest.mark.parametrize("cosine, temperature", [(True, 0.1), (False, 2.0)])
def test_prediction_against_the_paper(cosine, temperature):
    """p_k = sum of the attention on the examples of class k, written with loops."""
    model = kt.models.MatchingNetwork(encoder(), temperature=temperature, cosine=cosine)
    (x, _), _ = episode_batch(shots=2)
    (support, labels), query = x["support"], x["query"]
    got = keras.ops.convert_to_numpy(keras.ops.softmax(model(x)["prediction"]))
    for e in range(len(query)):
        s, q = model.encoder.predict(support[e], verbose=0), model.encoder.predict(query[e], verbose=0)
        for i, feature in enumerate(q):
            attention = np.exp([similarity(feature, example, cosine) / temperature for example in s])
            attention /= attention.sum()
            np.testing.assert_allclose(got[e, i, :3], [attention[labels[e] == k].sum() for k in range(3)], rtol=1e-4)
    assert not got[..., 3:].any()


def test_a_low_temperature_is_the_nearest_neighbour():
    model = kt.models.MatchingNetwork(encoder(), temperature=1e-4)
    (x, _), _ = episode_batch(shots=4)
    (support, labels), query = x["support"], x["query"]
    answers = model.predict(x, verbose=0)["prediction"].argmax(-1)
    for e in range(len(query)):
        s, q = model.encoder.predict(support[e], verbose=0), model.encoder.predict(query[e], verbose=0)
        nearest = ((q[:, None] - s[None]) ** 2).sum(-1).argmin(1)
        np.testing.assert_array_equal(answers[e], labels[e][nearest])


def test_bad_temperature():
    with pytest.raises(ValueError, match="`temperature` to be a finite number above 0; received 0"):
        kt.models.MatchingNetwork(encoder(), temperature=0)
