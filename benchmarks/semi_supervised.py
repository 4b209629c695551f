"""What `fit` costs a step of FixMatch: `python -m benchmarks.semi_supervised`.

`kt.models.FixMatch` on the encoder of `learn_from_few`, 20 labelled and 80 unlabelled rows in two views (mu 4),
against the same step written by hand: one pass, the two losses, Adam, the average of the weights, in a `tf.function`
on the same batches. Steps in a second, and their ratio. Prints, and writes results/semi_supervised_costs.json.
"""

import argparse

import keras
import numpy as np
import tensorflow as tf

import keras_transfer as kt
from benchmarks import timing
from keras_transfer.recipes.pretrain_images import build_encoder

LABELLED, RATIO, CLASSES = 20, 4, 10


def networks():
    """Returns a new encoder and head."""
    keras.utils.set_random_seed(0)
    encoder = build_encoder((28, 28, 1), momentum=0.9)
    return encoder, keras.Sequential([keras.Input(encoder.output_shape[1:]), keras.layers.Dense(CLASSES)])


def batches(steps):
    """Returns the same batches for both."""
    rng = np.random.default_rng(0)
    rows = {"labelled": LABELLED, "unlabelled_weak": RATIO * LABELLED, "unlabelled_strong": RATIO * LABELLED}
    x = {name: rng.random((steps * n, 28, 28, 1)).astype("float32") * 255 for name, n in rows.items()}
    parts = {name: tf.data.Dataset.from_tensor_slices(x[name]).batch(n) for name, n in rows.items()}
    y = tf.data.Dataset.from_tensor_slices(rng.integers(0, CLASSES, steps * LABELLED).astype("int32")).batch(LABELLED)
    return kt.streams.prefetched(tf.data.Dataset.zip((parts, y)).cache())


def by_hand(data):
    """Returns a function that trains one pass over the batches, as one would write it."""
    encoder, head = networks()
    averages = [kt.networks.follower(part) for part in (encoder, head)]
    variables = [*encoder.trainable_variables, *head.trainable_variables]
    optimizer = keras.optimizers.Adam(2e-3)
    optimizer.build(variables)
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            rows = tf.concat([x["labelled"], x["unlabelled_weak"], x["unlabelled_strong"]], 0)
            logits = head(encoder(rows, training=True), training=True)
            few, weak, strong = tf.split(logits, [LABELLED, RATIO * LABELLED, RATIO * LABELLED])
            p = tf.stop_gradient(tf.nn.softmax(weak))
            sure = tf.cast(tf.reduce_max(p, -1) >= 0.95, tf.float32)
            told = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.argmax(p, -1), strong)
            loss = loss_of(y, few) + tf.reduce_mean(sure * told)
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
        for average, network in zip(averages, (encoder, head)):
            kt.networks.follow(average, network, 0.99, statistics="copied")

    def train():
        for x, y in data:
            step(x, y)

    return train


def ours(data):
    """Returns the same through `fit`."""
    model = kt.models.FixMatch(*networks())
    model.compile(
        keras.optimizers.Adam(2e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False
    )
    return lambda: model.fit(data, shuffle=False, verbose=0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8, help="timed rounds of each arm")
    parser.add_argument("--steps", type=int, default=40, help="training steps of a round")
    parser.add_argument("--output", default="results/semi_supervised_costs.json", help="the JSON file to write")
    arguments = parser.parse_args()
    data = batches(arguments.steps)
    turns = timing.turns({"fit": ours(data), "by_hand": by_hand(data)}, arguments.rounds)
    rates = timing.per_second(turns.seconds, arguments.steps)
    timing.write(
        {"steps_per_second": timing.medians(rates), "ratio": timing.compared(rates, "by_hand", "fit")}, arguments.output
    )
