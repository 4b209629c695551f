import keras
import numpy as np
from keras import layers, ops

import keras_transfer as kt
from tests.contract import compiled, episode_batch, network


def adam(weights, moment, x, y, steps, taken, rate, size, beta=0.999):
    """Least squares of x @ weights by Adam without momentum; mini-batch k holds every n-th row."""
    number = len(x) // size
    for k in range(steps):
        rows = np.arange(k % number, number * size, number)
        gradient = 2 / size * x[rows].T @ (x[rows] @ weights - y[rows])
        moment = beta * moment + (1 - beta) * gradient**2
        weights = weights - rate * gradient / (np.sqrt(moment / (1 - beta ** (taken + k + 1))) + 1e-8)
    return weights, moment


def test_moves_to_the_mean_of_the_adapted_weights():
    """With plain SGD at rate 1 a step leads to the mean of the tasks' weights, which numpy computes too."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(3, 7, 4)).astype("float32"), rng.normal(size=(3, 7, 1)).astype("float32")
    net = keras.Sequential([keras.Input((4,)), layers.Dense(1, use_bias=False)])
    start, moment = net.get_weights()[0], np.zeros((4, 1))
    model = kt.models.Reptile(net, steps=5, rate=0.05, batch_size=3)
    model.compile(keras.optimizers.SGD(1.0), "mse", run_eagerly=True)
    for number in range(3):  # moments go on where the mean of the tasks' left them
        found = [adam(start, moment, *task, 5, 5 * number, rate=0.05, size=3) for task in zip(x, y)]
        logs = model.train_on_batch({"support": (x, y), "query": x}, y, return_dict=True)
        distances = [((start - w) ** 2).sum() / 2 for w, _ in found]
        np.testing.assert_allclose(logs["distance_term"], np.mean(distances), rtol=1e-3)
        start, moment = (np.mean(parts, 0) for parts in zip(*found))
        np.testing.assert_allclose(net.get_weights()[0], start, atol=1e-5)
        np.testing.assert_allclose(ops.convert_to_numpy(model.moments[0]), moment, rtol=1e-4)
        model.reset_metrics()


def test_steps_outside_of_training():
    (x, _), _ = episode_batch()
    few, many = (compiled(kt.models.Reptile(network(8, 3), rate=0.05, test_steps=k)) for k in (0, 30))
    many.set_weights(few.get_weights())
    accuracies = []
    for model in (few, many):
        answers = ops.convert_to_numpy(model({**x, "query": x["support"][0]})["prediction"]).argmax(-1)
        accuracies.append((answers == x["support"][1]).mean())
    assert accuracies[1] > accuracies[0] + 0.3


def test_beats_its_untrained_self():
    """A bias that all tasks share is learned from the first 5 steps of each."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)

    def tasks(number):
        slope = rng.normal(size=(number, 1, 1))
        x = rng.uniform(-1, 1, (number, 20, 1))
        y = 3.0 + slope * x
        return {"support": (x[:, :10], y[:, :10]), "query": x[:, 10:]}, y[:, 10:]

    net = keras.Sequential([keras.Input((1,)), layers.Dense(1)])
    model = kt.models.Reptile(net, rate=0.05, batch_size=5, test_steps=5)
    model.compile(keras.optimizers.SGD(0.5), "mse", metrics=["mse"])
    new = tasks(100)
    before = model.evaluate(*new, verbose=0, return_dict=True)["mse"]
    for _ in range(40):
        model.train_on_batch(*tasks(5))
    after = model.evaluate(*new, verbose=0, return_dict=True)["mse"]
    assert before > 5 and after < before / 5
    assert abs(net.get_weights()[1].item() - 3.0) < 0.5


def test_moments_stay_where_a_step_overflows():
    """As under float16, where the optimizer skips it; otherwise no later step would be finite."""
    model = compiled(kt.models.Reptile(network(8, 3)))
    model.build((None, 8))
    values = [np.full((2, *moment.shape), place + 1.0, "float32") for place, moment in enumerate(model.moments)]
    model.advance({"moments": values})
    values[0][1, 0] = np.inf
    model.advance({"moments": [5 * value for value in values]})
    for place, moment in enumerate(model.moments):
        np.testing.assert_array_equal(moment, np.full(moment.shape, 1.0 if place == 0 else 5 * (place + 1.0)))
