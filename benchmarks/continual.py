"""What continual learning costs: `python -m benchmarks.continual`.

Fisher information, exact, of a dense network (784-400-400-10) and a small CNN (three 3x3 convolutions of 16, 32 and 32
on 28x28 pixels), against a loop over the examples by automatic differentiation, a pass backwards for each class: once
compiled, a `tf.while_loop` in a `tf.function`; once eager. Rows differ in number, times are those of a row; the three
are checked to be equal on the rows that all have seen.

Steps of EWC, synaptic intelligence and A-GEM through `fit` against `fit` of the plain network of two layers of 400, in
batches of 128 rows, A-GEM's with as many of the buffer, Adam and accuracy. All have learned one task before.

Going on: DER++ and synaptic intelligence learn five tasks of printed digits, once in one process, and once in two, of
which the second loads the `.keras` file of after the third task: how far the accuracies on all tasks are apart.
Prints, and writes results/continual.json.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import keras_transfer as kt
from benchmarks import timing

CLASSES = 10


def dense():
    """Returns the dense network, whole."""
    return keras.Sequential([*parts()[0].layers, *parts()[1].layers])


def parts():
    """Returns the encoder and the head of the dense network."""
    hidden = [layers.Dense(400, activation="relu") for _ in range(2)]
    encoder = keras.Sequential([keras.Input((784,)), *hidden])
    return encoder, keras.Sequential([keras.Input((400,)), layers.Dense(CLASSES)])


def convolutional():
    """Returns the CNN."""
    blocks = [layers.Conv2D(n, 3, strides=2, padding="same", activation="relu") for n in (16, 32, 32)]
    last = [layers.Flatten(), layers.Dense(CLASSES)]
    return keras.Sequential([keras.Input((28, 28, 1)), *blocks, *last])


def by_row(network):
    """Returns a function from one row to the exact Fisher information of it, by a pass backwards for each class."""

    def one(row):
        with tf.GradientTape(persistent=True) as tape:
            log_p = tf.unstack(tf.nn.log_softmax(network(row, training=False))[0])
        sources = [v.value for v in network.trainable_variables]
        totals = [tf.zeros(v.shape) for v in network.trainable_variables]
        for said in log_p:
            gradients = tape.gradient(said, sources)
            totals = [total + tf.exp(said) * g * g for total, g in zip(totals, gradients)]
        return totals

    return one


def compiled_loop(network):
    """Returns a traced function of rows to their mean Fisher information, in which a loop runs over them."""
    one = by_row(network)

    @tf.function
    def loop(x):
        def body(place, totals):
            return place + 1, [total + part for total, part in zip(totals, one(x[place : place + 1]))]

        start = [tf.constant(0), [tf.zeros(v.shape) for v in network.trainable_variables]]
        totals = tf.while_loop(lambda place, _: place < tf.shape(x)[0], body, start)[1]
        return [total / tf.cast(tf.shape(x)[0], "float32") for total in totals]

    return loop


def fishers(make, shape, rounds, rows=6000, looped=200, eager=20):
    """Times the three ways; returns the record of a network."""
    keras.utils.set_random_seed(0)
    network = make()
    x = np.random.default_rng(0).normal(size=(rows, *shape)).astype("float32")
    loop, one = compiled_loop(network), by_row(network)

    def eagerly():
        found = [one(x[place : place + 1]) for place in range(eager)]
        return [np.mean([part[i] for part in found], axis=0) for i in range(len(found[0]))]

    # The function is traced anew in each call, as it is for a user: as many rows as a task of MNIST has of a class.
    arms = {"closed": lambda: kt.metrics.fisher(network, x), "compiled": lambda: loop(x[:looped]), "eager": eagerly}
    found = timing.turns(arms, rounds)
    for name, number in (("compiled", looped), ("eager", eager)):
        for a, b in zip(kt.metrics.fisher(network, x[:number]), found.first[name]):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5 * np.abs(b).max())
    per_row = {name: timing.milliseconds({name: found.seconds[name]}, n)[name] for name, n in
               (("closed", rows), ("compiled", looped), ("eager", eager))}  # fmt: skip
    faster = {name: timing.compared(per_row, name, "closed") for name in ("compiled", "eager")}
    return {"milliseconds": timing.medians(per_row), "times_faster_than": faster, "load_average": found.load_average}


def steps(rounds, batches=200, rows=128):
    """Times steps through `fit`; returns the record."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(batches * rows, 784)).astype("float32"), rng.integers(0, CLASSES, batches * rows)
    makers = {
        "plain": lambda *networks: keras.Sequential(networks),
        "ewc": lambda *networks: kt.models.EWC(*networks, 1.0),
        "si": lambda *networks: kt.models.SynapticIntelligence(*networks, 1.0),
        "agem": lambda *networks: kt.models.AGEM(*networks, kt.layers.ReplayBuffer(1000, (784,), CLASSES)),
    }
    arms = {}
    for name, make in makers.items():
        keras.utils.set_random_seed(0)
        model = make(*parts())
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(), loss, metrics=["accuracy"])
        memory = getattr(model, "memory", None)
        if name != "plain":
            before = kt.streams.replay((x[:1000], y[:1000].astype("int32")), memory, rows, seed=0)
            model.fit(before, shuffle=False, verbose=0)
            model.consolidate(x[:1000], y[:1000])
        stream = kt.streams.replay((x, y.astype("int32")), memory, rows, seed=0)
        arms[name] = lambda model=model, stream=stream: model.fit(stream, shuffle=False, verbose=0)
    found = timing.turns(arms, rounds)
    each = timing.milliseconds(found.seconds, batches)
    ratios = {name: timing.compared(found.seconds, name, "plain") for name in makers if name != "plain"}
    return {"milliseconds": timing.medians(each), "against_plain": ratios, "load_average": found.load_average}


PAIRS = [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
RESUMED = {
    "derpp": lambda *networks: kt.models.DERpp(*networks, kt.layers.ReplayBuffer(500, (784,), CLASSES, logits=True)),
    "si": lambda *networks: kt.models.SynapticIntelligence(*networks, 10.0),
}


def learn(model, first, last):
    """Learns some of the tasks; returns the accuracies on all of them after each."""
    parts = []
    for seed, number in enumerate((5000, 1000)):
        x, y = kt.datasets.printed_digits(number, seed=seed)
        parts.append(kt.streams.tasks(x.reshape(number, 784).astype("float32") / 255, y, PAIRS))
    rows = []
    for number in range(first, last):
        x, y = parts[0][number]
        memory = model.memory if model.streams else None
        stream = kt.streams.replay((x, y), memory, 64, seed=number, steps=50)
        model.fit(stream, epochs=2, shuffle=False, verbose=0)
        model.consolidate(x, y)
        rows.append([model.evaluate(*test, verbose=0, return_dict=True)["accuracy"] for test in parts[1]])
    return rows


def resumed(name):
    """Returns how far the accuracies of two processes are from those of one."""
    keras.utils.set_random_seed(0)
    model = RESUMED[name](*parts())
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(), loss, metrics=["accuracy"])
    before = learn(model, 0, 3)
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/after_three.keras"
        model.save(file)
        command = [sys.executable, "-m", "benchmarks.continual", "--go-on", file]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    there, here = json.loads(printed.strip().splitlines()[-1]), learn(model, 3, 5)
    apart = np.abs(np.subtract(there, here)).max().item()
    return {"largest_difference": apart, "accuracies": before + here}


def main():
    """Times all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="timed rounds of each (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("results/continual.json"), help="file to write")
    parser.add_argument("--go-on", type=Path, help="a model that has learned three tasks: learn the others, and print")
    arguments = parser.parse_args()
    if arguments.go_on:
        print(json.dumps(learn(keras.saving.load_model(arguments.go_on), 3, 5)))
        return
    result = {
        "fisher": {
            "dense": fishers(dense, (784,), arguments.rounds),
            "convolutional": fishers(convolutional, (28, 28, 1), arguments.rounds),
        },
        "steps": steps(arguments.rounds),
        "resumed": {name: resumed(name) for name in RESUMED},
        "threads": tf.config.threading.get_intra_op_parallelism_threads() or 0,
    }
    timing.write(result, arguments.output)


if __name__ == "__main__":
    main()
