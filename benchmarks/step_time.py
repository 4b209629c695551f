"""Step time of DANN through `fit` against a hand-written loop: `python -m benchmarks.step_time`.

Both arms train the same network (convolutions 32 and 48 of 5x5, both heads with 100 units) from the same weights on the
same batches of 128 + 128 random 28x28 images, from a `kt.streams.domains` pipeline each, with Adam and a traced step.
- fit: `kt.models.DANN.fit(verbose=0)`, which logs loss, both terms and accuracy, and calls its History.
- hand: a Python loop over the pipeline that calls one `tf.function`: joint pass through the encoder, TensorFlow's own
  losses, gradient tape, Adam, a Keras mean for each term and accuracy; read and reset every epoch.
A round is one epoch, its iterators and logs included; the logs of the round that is not timed, checked to be equal,
show that the arms do the same work. Prints, and writes results/step_time.json.
"""

import argparse
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import keras_transfer as kt
from benchmarks import timing

ROWS, REVERSAL = 128, 0.1


def networks():
    """Returns an encoder, a head and a discriminator."""
    convolutions = [[layers.Conv2D(n, 5, activation="relu"), layers.MaxPooling2D()] for n in (32, 48)]
    encoder = keras.Sequential([keras.Input((28, 28, 1)), *convolutions[0], *convolutions[1], layers.Flatten()])
    heads = [[keras.Input((768,)), layers.Dense(100, activation="relu"), layers.Dense(units)] for units in (10, 1)]
    return encoder, *map(keras.Sequential, heads)


def fit_arm(dataset):
    """Returns a function that trains through `fit` for an epoch and returns task term, domain term and accuracy."""
    model = kt.models.DANN(*networks(), reversal=REVERSAL)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])

    def epoch():
        history = model.fit(dataset, shuffle=False, verbose=0).history  # the pipeline shuffles
        return [history[name][0] for name in ("task_term", "domain_term", "accuracy")]

    return epoch


def hand_arm(dataset):
    """Returns a function that trains by hand for an epoch and returns task term, domain term and accuracy."""
    encoder, head, discriminator = parts = networks()
    weights = [weight for part in parts for weight in part.trainable_variables]
    optimizer = keras.optimizers.Adam()
    optimizer.build(weights)
    logs = [keras.metrics.Mean(), keras.metrics.Mean(), keras.metrics.SparseCategoricalAccuracy()]
    reverse = tf.custom_gradient(lambda features: (features, lambda gradient: -REVERSAL * gradient))
    is_target = tf.repeat([[0.0], [1.0]], ROWS, axis=0)

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            features = encoder(tf.concat([x["source"], x["target"]], 0), training=True)
            logits, domain = head(features[:ROWS], training=True), discriminator(reverse(features), training=True)
            task_term = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits))
            domain_term = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(is_target, domain))
            loss = task_term + domain_term
        optimizer.apply(tape.gradient(loss, weights), weights)
        for metric, values in zip(logs, ([task_term], [domain_term], [y, logits])):
            metric.update_state(*values)

    def epoch():
        for metric in logs:
            metric.reset_state()
        for x, y in dataset:
            step(x, y)
        return [float(metric.result()) for metric in logs]

    return epoch


def main(rounds, steps, output):
    """Measures, prints, writes."""
    rng = np.random.default_rng(0)
    images, labels = rng.random((2, ROWS * steps, 28, 28, 1), "float32"), rng.integers(0, 10, ROWS * steps)
    arms = {"fit": fit_arm, "hand": hand_arm}
    for name, arm in arms.items():
        keras.utils.set_random_seed(0)
        arms[name] = arm(kt.streams.domains((images[0], labels), images[1], batch_size=ROWS, seed=0))
    found = timing.turns(arms, rounds)
    np.testing.assert_allclose(found.first["fit"], found.first["hand"], rtol=1e-2, err_msg="not the same work")
    result = timing.compared(found.seconds, "fit", "hand")
    result |= {"milliseconds": timing.milliseconds(found.seconds, steps), "load_average": found.load_average}
    timing.write({**result, "steps": steps}, output)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=16, help="timed epochs of each arm (default: 16)")
    parser.add_argument("--steps", type=int, default=60, help="batches in an epoch (default: 60)")
    parser.add_argument("--output", type=Path, default=Path("results/step_time.json"), help="where to write")
    main(**vars(parser.parse_args()))
