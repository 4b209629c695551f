import keras
import numpy as np

import keras_transfer as kt
from tests.models.adaptation import toy


def test_terms_by_hand():
    """The slope of the critic by finite differences, at points that are the features or lie between them."""
    keras.utils.set_random_seed(0)
    networks = toy.networks()
    critic = keras.Sequential([keras.Input((toy.DIM,)), keras.layers.Dense(8, "tanh"), keras.layers.Dense(1)])
    model = kt.models.WDGRL(networks["encoder"], networks["head"], critic, closeness_weight=0.5, penalty_weight=3.0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.0), loss, run_eagerly=True)
    x, y = toy.batch()
    seed = model.seed_generator.state.numpy()
    outputs = {name: np.asarray(output) for name, output in model(x).items()}
    assert len(outputs["slope"]) == 12 + 20 + 12
    points = np.concatenate([outputs["source"], outputs["target"]]).astype("float64")

    def said(points):
        kernel, bias, last, _ = (w.astype("float64") for w in critic.get_weights())
        return np.tanh(points @ kernel + bias) @ last

    slopes = [(said(points + 1e-5 * axis) - said(points - 1e-5 * axis)) / 2e-5 for axis in np.eye(toy.DIM)]
    np.testing.assert_allclose(outputs["slope"][:32], np.linalg.norm(slopes, axis=0)[:, 0], rtol=1e-4)
    model.seed_generator.state.assign(seed)
    logs = model.train_on_batch(x, y, return_dict=True)
    closeness = said(points[12:]).mean() - said(points[:12]).mean()
    penalty = ((outputs["slope"] - 1) ** 2).mean()
    np.testing.assert_allclose([logs["closeness_term"], logs["penalty_term"]], [closeness, penalty], rtol=1e-4)
    total = toy.cross_entropy(y, outputs["prediction"].astype("float64")) + 0.5 * closeness + 3.0 * penalty
    np.testing.assert_allclose(logs["loss"], total, rtol=1e-4)


def test_the_penalty_moves_the_critic_alone():
    encoders = []
    for weight in (0.0, 10.0):
        keras.utils.set_random_seed(0)
        networks = toy.networks()
        model = kt.models.WDGRL(*networks.values(), reversal=0.0, penalty_weight=weight)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.1), loss, run_eagerly=True)
        model.train_on_batch(*toy.batch())
        encoders.append(model.encoder.get_weights())
    for without, with_penalty in zip(*encoders):
        np.testing.assert_allclose(with_penalty, without, atol=1e-7)
