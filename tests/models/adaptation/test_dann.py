import keras
import numpy as np

import keras_transfer as kt
from tests.models.adaptation import toy


def compiled(model, learning_rate=0.0, run_eagerly=True):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(learning_rate), loss, run_eagerly=run_eagerly)
    return model


def test_terms_by_hand():
    x, y = toy.batch()
    model = compiled(kt.models.DANN(**toy.networks(), domain_weight=0.3))
    outputs = {name: output.numpy().astype("float64") for name, output in model(x).items()}
    assert outputs["source_domain"].shape == (12, 1) and outputs["target_domain"].shape == (20, 1)
    task = toy.cross_entropy(y, outputs["prediction"])
    called_source, called_target = (1 / (1 + np.exp(sign * outputs[f"{name}_domain"])) for name, sign in
                                    (("source", 1), ("target", -1)))  # fmt: skip
    domain = (np.mean(-np.log(called_source)) + np.mean(-np.log(called_target))) / 2
    logs = model.train_on_batch(x, y, return_dict=True)
    np.testing.assert_allclose([logs["task_term"], logs["domain_term"]], [task, domain], rtol=1e-5)
    np.testing.assert_allclose(logs["loss"], task + 0.3 * domain, rtol=1e-5)


def test_outputs_are_those_of_the_networks():
    x, _ = toy.batch()
    networks = toy.networks()
    outputs = kt.models.DANN(**networks)(x)
    features = {name: networks["encoder"](rows) for name, rows in x.items()}
    np.testing.assert_allclose(outputs["prediction"], networks["head"](features["source"]), atol=1e-6)
    for name in x:
        np.testing.assert_allclose(outputs[f"{name}_domain"], networks["discriminator"](features[name]), atol=1e-6)


def test_domain_term_of_an_ignorant_discriminator_is_log_2():
    networks = toy.networks()
    networks["discriminator"].set_weights([np.zeros_like(w) for w in networks["discriminator"].get_weights()])
    logs = compiled(kt.models.DANN(**networks)).train_on_batch(*toy.batch(), return_dict=True)
    np.testing.assert_allclose(logs["domain_term"], np.log(2), rtol=1e-6)


def test_discriminator_tells_separable_domains_apart():
    """With `reversal=0` nothing hides the domains: source is 0, target is 1."""
    rng = np.random.default_rng(0)
    keras.utils.set_random_seed(0)
    (x, y), new = toy.domain(256, rng), toy.domain(1000, rng)[0]
    encoder = keras.Sequential([keras.Input((2,)), keras.layers.Dense(toy.DIM)])  # linear: loses nothing
    model = compiled(kt.models.DANN(**{**toy.networks(), "encoder": encoder}, reversal=0.0), 0.05, run_eagerly=False)
    model.fit(kt.streams.domains((x, y), x + 4.0, batch_size=64, seed=0), epochs=10, verbose=0)
    outputs = model({"source": new, "target": new + 4.0})
    accuracy = np.mean([outputs["source_domain"].numpy() < 0, outputs["target_domain"].numpy() > 0])
    assert accuracy > 0.95


def test_reversal_of_zero_leaves_the_encoder_to_the_task():
    """The encoder then moves as if there were no domain term."""
    encoders = []
    for domain_weight in (0.0, 1.0):
        keras.utils.set_random_seed(0)
        model = compiled(kt.models.DANN(**toy.networks(), reversal=0.0, domain_weight=domain_weight), 0.01)
        model.train_on_batch(*toy.batch())
        encoders.append(model.encoder.get_weights())
    for without, with_term in zip(*encoders):
        np.testing.assert_allclose(with_term, without, atol=1e-7)


def test_beats_the_source_only_baseline():
    def make(**networks):
        return kt.models.DANN(**networks, reversal=kt.schedules.DannRamp(toy.STEPS))

    assert toy.target_accuracy(make) > toy.source_only() + toy.MARGIN
