"""Tasks per second of a training step of MAML, against steps written by hand: `python -m benchmarks.maml`.

5-way 1-shot, 28 x 28, 16 tasks of 1 inner step, Adam; the field's network of 4 x 64 filters, pooled with 15 queries, or
of stride 2 with 5 queries. By hand, for these very networks: tasks side by side in the graph, `tf.map_fn` over tasks,
and all tasks in one batched matrix product of unfolded images (pooled only). The queries are normalised by their own
statistics, as the steps by hand do. Prints, and writes results/maml.json.
"""

import argparse

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import keras_transfer as kt
from benchmarks import timing

WAYS, TASKS, FILTERS, RATE = 5, 16, 64, 0.4


def network(pooled):
    """Returns the field's four convolutions and a head."""
    x = images = keras.Input((28, 28, 1))
    for _ in range(4):
        x = layers.Conv2D(FILTERS, 3, strides=1 if pooled else 2, padding="same")(x)
        x = layers.BatchNormalization()(x)
        x = layers.ReLU()(x)
        x = layers.MaxPooling2D(2)(x) if pooled else x
    return keras.Model(images, layers.Dense(WAYS)(layers.Flatten()(x)))


def cross_entropy(labels, logits):
    """Returns the mean over rows."""
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))


def by_hand(net, how, first_order):
    """Returns a training step `(x, y) -> loss` without this library."""
    optimizer = keras.optimizers.Adam(1e-3)
    optimizer.build(net.trainable_variables)
    state = [v.value for v in net.non_trainable_variables]

    def run(weights, x):
        return net.stateless_call(weights, state, x, training=True)[0]

    def adapted(weights, loss):
        with tf.GradientTape() as tape:
            tape.watch(weights)
            value = loss(weights)
        gradients = tape.gradient(value, weights)
        if first_order:
            gradients = [tf.stop_gradient(g) for g in gradients]
        return [w - RATE * g for w, g in zip(weights, gradients)]

    def task_loss(task):
        support, labels, query, answers = task
        weights = [tf.identity(v.value) for v in net.trainable_variables]
        return cross_entropy(answers, run(adapted(weights, lambda w: cross_entropy(labels, run(w, support))), query))

    def batched_loss(support, labels, query, answers):
        weights = [tf.tile(v.value[None], [TASKS, *[1] * len(v.shape)]) for v in net.trainable_variables]
        weights = adapted(weights, lambda w: TASKS * cross_entropy(labels, unfolded(w, support)))
        return cross_entropy(answers, unfolded(weights, query))

    @tf.function
    def step(x, y):
        parts = (*x["support"], x["query"], y)
        with tf.GradientTape() as tape:
            if how == "unrolled":
                loss = tf.add_n([task_loss([part[i] for part in parts]) for i in range(TASKS)]) / TASKS
            elif how == "map_fn":
                losses = tf.map_fn(task_loss, parts, fn_output_signature=tf.float32, parallel_iterations=2)
                loss = tf.reduce_mean(losses)
            else:
                loss = batched_loss(*parts)
        optimizer.apply(tape.gradient(loss, [v.value for v in net.trainable_variables]), net.trainable_variables)
        return loss

    return step


def unfolded(weights, x):
    """Runs the pooled network for all tasks at once: `(tasks, rows, ...)`, weights with a leading axis of tasks."""
    x = tf.cast(x, tf.float32)
    for block in range(4):
        kernel, bias, gamma, beta = weights[4 * block : 4 * block + 4]
        tasks, rows, height, width, channels = x.shape
        padded = tf.pad(tf.reshape(x, (-1, height, width, channels)), [[0, 0], [1, 1], [1, 1], [0, 0]])
        patches = [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
        columns = tf.reshape(tf.concat(patches, -1), (tasks, rows * height * width, 9 * channels))
        y = tf.matmul(columns, tf.reshape(kernel, (tasks, 9 * channels, FILTERS))) + bias[:, None]
        mean, variance = tf.nn.moments(y, [1], keepdims=True)
        y = tf.nn.relu((y - mean) * tf.math.rsqrt(variance + 1e-3) * gamma[:, None] + beta[:, None])
        y = tf.nn.max_pool2d(tf.reshape(y, (tasks * rows, height, width, FILTERS)), 2, 2, "VALID")
        x = tf.reshape(y, (tasks, rows, height // 2, width // 2, FILTERS))
    return tf.matmul(tf.reshape(x, (tasks, rows, -1)), weights[-2]) + weights[-1][:, None]


def batch(queries):
    """Returns random episodes; their content costs nothing."""
    rng = np.random.default_rng(0)
    support, query = (rng.random((TASKS, WAYS * n, 28, 28, 1), "float32") for n in (1, queries))
    labels, answers = (np.tile(np.repeat(np.arange(WAYS, dtype="int32"), n), (TASKS, 1)) for n in (1, queries))
    return tf.nest.map_structure(tf.constant, ({"support": (support, labels), "query": query}, answers))


def measure(pooled, first_order, rounds):
    """Returns the tasks per second of every arm, and the ratio to the best by hand, round by round."""
    x, y = batch(15 if pooled else 5)
    model = kt.models.MAML(network(pooled), rate=RATE, first_order=first_order, statistics="batch")
    model.compile(keras.optimizers.Adam(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    ours = tf.function(lambda x, y: model.train_step((x, y))["loss"])
    ways = ("unrolled", "map_fn", "unfolded") if pooled else ("unrolled", "map_fn")
    steps = {"MAML": ours} | {way: by_hand(network(pooled), way, first_order) for way in ways}
    arms = {name: lambda step=step: step(x, y).numpy() for name, step in steps.items()}
    found = timing.turns(arms, rounds)
    rates = timing.per_second(found.seconds, TASKS)
    medians = timing.medians(rates)
    best = max(ways, key=medians.get)
    result = {"tasks_per_second": medians, "best_by_hand": best, **timing.compared(rates, "MAML", best)}
    return {**result, "load_average": found.load_average}


def main(rounds, output):
    """Measures, prints, writes."""
    results = {}
    for pooled in (False, True):
        for first_order in (False, True):
            name = f"{'pooled' if pooled else 'strided'}, {'first' if first_order else 'second'} order"
            results[name] = measure(pooled, first_order, rounds)
            print(f"{name}: {results[name]['ratio']:.2f} times the best by hand", flush=True)
    timing.write(results, output)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10, help="steps of each arm (default: %(default)s)")
    parser.add_argument("--output", default="results/maml.json", help="where to write (default: %(default)s)")
    main(**vars(parser.parse_args()))
