"""Trains every method on one replica and on two, and on two workers; run as `python -m tests.replicas [worker port]`.

One process holds one strategy: a second MirroredStrategy would break the collectives of the first.
"""

import json
import os
import socket
import subprocess
import sys

import keras
import numpy as np
import tensorflow as tf

import keras_transfer as kt
from tests.contract import (
    ALIKE,
    METHODS,
    compiled,
    discriminator,
    domain_views,
    domains,
    encoder,
    episode_batch,
    few_and_many,
    few_and_one_view,
    head,
    heads,
    labelled,
    labelled_views,
    masked_texts,
    network,
    of_tasks,
    pairs,
    replayed,
    scrambled_texts,
    target_alone,
    tasks,
    texts,
    unlabelled_domains,
    views,
    with_logits,
)


def mirrored():
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    for name, row in METHODS.items():
        if row.draws or name in ALIKE:  # each replica draws other numbers
            continue
        batches = [row.batch, *(DRAW[streams(row)](seed=seed)[0] for seed in (1, 2))]
        difference = kt.testing.check_replicas(row.make, batches, strategy)
        print(f"{name}: equal to {difference:.1e}")
    check_epoch_of_a_stream(strategy)
    check_synchronized_batch_norm(strategy)
    check_weightings(strategy)
    check_unbuilt(strategy)
    check_masks(strategy)


def streams(row):
    """The names of the streams, and whether there are labels, or of which tasks."""
    x, y, *_ = row.batch
    names = sorted(x) if isinstance(x, dict) else ()
    inside = [name for name in ("logits",) if "memory" in names and name in x["memory"]]
    inside += sorted(x["text"]) if "text" in names and isinstance(x["text"], dict) else []
    return (*names, *inside, *(y if isinstance(y, dict) else [y is not None]))


DRAW = {
    (True,): labelled,
    ("whole", "half"): tasks,
    ("source", "target", True): domains,
    ("source", "target_strong", "target_weak", True): domain_views,
    ("source", "target", False): unlabelled_domains,
    ("description", "image", False): pairs,
    ("labelled", "unlabelled", True): few_and_one_view,
    ("labelled", "unlabelled_strong", "unlabelled_weak", True): few_and_many,
    ("target", False): target_alone,
    ("query", "support", True): episode_batch,
    ("current", "memory", True): replayed,
    ("current", "memory", "logits", True): with_logits,
    ("view_1", "view_2", False): views,
    ("view_1", "view_2", True): labelled_views,
    ("text", True): texts,
    ("text", "positions", "token_ids", True): masked_texts,
    ("text", "before", "token_ids", True): scrambled_texts,
}


def check_epoch_of_a_stream(strategy):
    """Epochs of the real stream: Keras peeks into it under a strategy, which must not change the order."""
    weights, steps = [], []
    for scope in (tf.distribute.get_strategy(), strategy):
        with scope.scope():
            keras.utils.set_random_seed(0)
            model = METHODS["DANN"].make()
        (x, y), plain = domains(160, 240)
        stream = kt.streams.domains((x["source"], y), x["target"], batch_size=16, target_batch_size=24, seed=0)
        model.fit(stream, epochs=2, shuffle=False, verbose=0, validation_data=plain)
        model.evaluate(*plain, verbose=0)
        weights.append(model.get_weights())
        steps.append(model.step.numpy())
    assert steps == [20, 20], steps
    assert max(np.abs(a - b).max() for a, b in zip(*weights)) < 1e-5
    print("stream: equal")


def check_synchronized_batch_norm(strategy):
    def make():
        normalized = keras.Sequential([encoder(), keras.layers.BatchNormalization(synchronized=True)])
        return compiled(kt.models.DANN(normalized, head(), discriminator()))

    kt.testing.check_replicas(make, [domains(seed=seed)[0] for seed in range(3)], strategy, tolerance=1e-4)
    print("synchronized BatchNormalization: equal")


def check_weightings(strategy):
    for weighting in (
        lambda: kt.weightings.MGDA(),
        lambda: kt.weightings.MGDA(on="representation"),
        lambda: kt.weightings.Uncertainty(from_first_losses=True),
    ):

        def make(weighting=weighting):
            return of_tasks(kt.models.SharedEncoder(encoder(), heads(), weighting(), missing=-1))

        kt.testing.check_replicas(make, [tasks(seed=seed)[0] for seed in range(3)], strategy)
    print("weightings: equal")


def check_unbuilt(strategy):
    """Networks without an input shape are built by `fit`, the discriminator included."""
    with strategy.scope():
        dense = keras.layers.Dense
        parts = [keras.Sequential([dense(16)]), keras.Sequential([dense(3)]), keras.Sequential([dense(1)])]
        model = compiled(kt.models.DANN(*parts))
    (x, y), _ = domains(16, 16)
    model.fit(x, y, batch_size=8, verbose=0)
    assert model.discriminator.built
    print("unbuilt: trains")


def check_masks(strategy):
    """Methods that draw in the step train on replicas too, though not as one does."""
    for row in (row for row in METHODS.values() if row.draws):
        with strategy.scope():
            model = row.make()
        batch = row.batch if row.batch[1] is not None else row.batch[0]
        history = model.fit(tf.data.Dataset.from_tensors(batch), epochs=2, verbose=0).history
        assert np.isfinite(history["loss"]).all(), history
    print("masks: train")


# Two workers.


def dann():
    keras.utils.set_random_seed(0)
    return compiled(kt.models.DANN(network(8, 16, "tanh"), head(), discriminator()))


def dataset():
    batches = [domains(seed=seed)[0] for seed in range(4)]
    joined = keras.tree.map_structure(lambda *parts: np.stack(parts), *batches)
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return tf.data.Dataset.from_tensor_slices(joined).with_options(options)


def train(model):
    history = model.fit(dataset(), epochs=2, shuffle=False, verbose=0).history
    logs = model.evaluate(dataset(), verbose=0, return_dict=True)
    return {"history": history, "evaluate": logs, "weights": np.concatenate([w.ravel() for w in model.get_weights()])}


def worker(index, ports):
    cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    with strategy.scope():
        model = dann()
    result = train(model)
    print(json.dumps({**result, "weights": result["weights"].tolist()}))


def workers():
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = [str(s.getsockname()[1]) for s in sockets]
    for s in sockets:
        s.close()
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.replicas", str(index), *ports], stdout=subprocess.PIPE, text=True
        )
        for index in range(2)
    ]
    printed = [process.communicate(timeout=300)[0] for process in processes]
    assert all(process.returncode == 0 for process in processes), printed
    one = train(dann())
    for result in map(json.loads, (text.strip().splitlines()[-1] for text in printed)):
        assert np.abs(result["weights"] - one["weights"]).max() < 1e-5
        for name, values in one["history"].items():
            np.testing.assert_allclose(result["history"][name], values, atol=1e-5)
        for name, value in one["evaluate"].items():
            np.testing.assert_allclose(result["evaluate"][name], value, atol=1e-5)
    print("workers: equal")


if __name__ == "__main__":
    if sys.argv[1:] == []:
        mirrored()
    elif sys.argv[1:] == ["workers"]:
        workers()
    else:
        worker(int(sys.argv[1]), sys.argv[2:])
