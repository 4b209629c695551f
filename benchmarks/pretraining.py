"""SimCLR's step, its views, batches in chunks and on replicas: `python -m benchmarks.pretraining`.

28 x 28 images; a network of four convolutions of stride 2 and a projector of two layers; random crops, mirroring and
tones, drawn for each image; AdamW; batches of 256. About 10 minutes on two cores that are idle otherwise.
- step: `kt.models.SimCLR.fit` on `kt.streams.views`, against a Python loop over a tf.data pipeline that calls one
  `tf.function`: the same layers and augmentation, NT-Xent in TensorFlow, gradient tape, AdamW and a Keras mean.
- views: pairs of views per second from `kt.streams.views` alone, and from the pipeline by hand.
- chunks: batches of 4,096 in chunks of 256, and whole, against batches of 256; each in a fresh process, in turns: the
  peak of its memory and the time for an image.
- gradients: without BatchNormalization, the distance of one step's gradient in chunks of 32, and on two replicas, from
  that of one whole batch, divided by the length of the latter.
Prints, and writes results/pretraining.json.
"""

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import keras_transfer as kt
from benchmarks import timing

ROWS, LARGE, TEMPERATURE = 256, 4096, 0.2
GRADIENTS = "gradients"
SIZES = {"256": (ROWS, None), "4096 in chunks of 256": (LARGE, ROWS), "4096 whole": (LARGE, None)}


def networks(normalized=True):
    """Returns an encoder and a projector."""

    def block(layer):
        return [layer, *([layers.BatchNormalization()] if normalized else []), layers.ReLU()]

    encoder = [keras.Input((28, 28, 1)), layers.Rescaling(1 / 255)]
    for filters in (32, 64, 128, 256):
        encoder += block(layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False))
    projector = [keras.Input((256,)), *block(layers.Dense(256, use_bias=False)), layers.Dense(128)]
    return keras.Sequential([*encoder, layers.GlobalAveragePooling2D()]), keras.Sequential(projector)


def augmentation():
    """Returns the layers that make a view."""
    crop, tones = kt.layers.RandomResizedCrop(28, 28, scale=(0.3, 1.0)), kt.layers.RandomGamma((0.2, 5.0), (0.25, 1.0))
    return keras.Sequential([crop, layers.RandomFlip("horizontal"), tones])


def pipeline(images):
    """Returns pairs of views by hand."""
    augment = augmentation()
    rows = tf.data.Dataset.from_tensor_slices(images).shuffle(len(images)).batch(ROWS, drop_remainder=True)
    return kt.streams.prefetched(rows.map(lambda x: augment(tf.concat([x, x], 0))))


def fit_arm(images, chunk_size=None, rows=ROWS):
    """Returns a function that trains through `fit` for an epoch and returns the loss."""
    model = kt.models.SimCLR(*networks(), TEMPERATURE, chunk_size)
    model.compile(keras.optimizers.AdamW())
    stream = kt.streams.views(images, augmentation(), rows, seed=0)
    return lambda: model.fit(stream, shuffle=False, verbose=0).history["contrast_term"][0]


def hand_arm(images):
    """Returns a function that trains by hand for an epoch and returns the loss."""
    encoder, projector = networks()
    weights = encoder.trainable_variables + projector.trainable_variables
    optimizer, mean, stream = keras.optimizers.AdamW(), keras.metrics.Mean(), pipeline(images)
    optimizer.build(weights)
    partners = tf.concat([tf.range(ROWS, 2 * ROWS), tf.range(ROWS)], 0)

    @tf.function
    def step(both):
        with tf.GradientTape() as tape:
            z = tf.math.l2_normalize(projector(encoder(both, training=True), training=True), 1)
            logits = tf.matmul(z, z, transpose_b=True) / TEMPERATURE
            logits = tf.linalg.set_diag(logits, tf.fill([2 * ROWS], -1e9))
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(partners, logits))
        optimizer.apply(tape.gradient(loss, weights), weights)
        mean.update_state(loss)

    def epoch():
        mean.reset_state()
        for both in stream:
            step(both)
        return float(mean.result())

    return epoch


def measure_step(images, rounds):
    """Measures the milliseconds of a step, through `fit` and by hand."""
    arms = {"fit": fit_arm, "hand": hand_arm}
    for name, arm in arms.items():
        keras.utils.set_random_seed(0)
        arms[name] = arm(images)
    found = timing.turns(arms, rounds)
    np.testing.assert_allclose(found.first["fit"], found.first["hand"], rtol=0.05, err_msg="not the same work")
    compared = timing.compared(found.seconds, "fit", "hand")
    return {**compared, "milliseconds": timing.milliseconds(found.seconds, len(images) // ROWS)}


def measure_views(images, rounds):
    """Measures the images per second of which two views are made."""
    streams = {"kt.streams.views": kt.streams.views(images, augmentation(), ROWS, seed=0), "hand": pipeline(images)}

    def pass_over(stream):
        for _ in stream:
            pass

    arms = {name: lambda stream=stream: pass_over(stream) for name, stream in streams.items()}
    rates = timing.per_second(timing.turns(arms, rounds).seconds, len(images) // ROWS * ROWS)
    return {"images_per_second": timing.medians(rates)}


def measure_size(name, images):
    """Measures the peak memory in MiB and the milliseconds for an image, of this process."""
    rows, chunk_size = SIZES[name]
    seconds = timing.turns({name: fit_arm(images, chunk_size, rows)}, 3).seconds
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    times = timing.medians(timing.milliseconds(seconds, len(images) // rows * rows))
    return {"peak": peak, "milliseconds_per_image": times[name]}


def gradient(make, batch, strategy):
    """Returns the gradient of one step of a model, through the weights that plain SGD leaves."""
    with strategy.scope():
        keras.utils.set_random_seed(0)
        model = make()
        model.compile(keras.optimizers.SGD(1.0))
    before = [np.array(weight) for weight in model.trainable_variables]
    model.fit(tf.data.Dataset.from_tensors(batch), shuffle=False, verbose=0)
    return np.concatenate([np.ravel(old - np.array(new)) for old, new in zip(before, model.trainable_variables)])


def measure_gradients(images):
    """Measures relative distances from the gradients of whole batches, in two precisions."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    one, two = tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    keras.utils.set_random_seed(0)
    batch = dict(zip(("view_1", "view_2"), (np.array(augmentation()(images[:ROWS])) for _ in range(2))))

    def simclr(chunk_size=None):
        return kt.models.SimCLR(*networks(normalized=False), TEMPERATURE, chunk_size)

    def barlow_twins():
        return kt.models.BarlowTwins(*networks(normalized=False))

    found = {}
    for precision in ("float32", "float64"):
        keras.config.set_dtype_policy(precision)
        whole = {make: gradient(make, batch, one) for make in (simclr, barlow_twins)}
        arms = {
            "SimCLR in chunks": (simclr, lambda: simclr(32), one),
            "SimCLR on two replicas": (simclr, simclr, two),
            "SimCLR in chunks on two replicas": (simclr, lambda: simclr(32), two),
            "BarlowTwins on two replicas": (barlow_twins, barlow_twins, two),
        }
        found[precision] = {
            name: float(np.linalg.norm(gradient(make, batch, strategy) - whole[base]) / np.linalg.norm(whole[base]))
            for name, (base, make, strategy) in arms.items()
        }
    return found


def in_fresh_process(part):
    """Returns what a part prints, which is run in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.pretraining", "--part", part]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def main(rounds, processes, part, output):
    """Measures, prints, writes."""
    images = np.random.default_rng(0).integers(0, 256, (4 * LARGE, 28, 28, 1)).astype("uint8")
    if part is not None:
        return print(json.dumps(measure_gradients(images) if part == GRADIENTS else measure_size(part, images)))
    load = os.getloadavg()[0]
    sizes = {name: [] for name in SIZES}
    for _ in range(processes):  # first, since a new process's peak begins at the size of this one
        for name, runs in sizes.items():
            runs.append(in_fresh_process(name))
    medians = {
        name: {what: float(np.median([run[what] for run in runs])) for what in runs[0]} for name, runs in sizes.items()
    }
    ratios = {name: {what: values[what] / medians["256"][what] for what in values} for name, values in medians.items()}
    result = {
        "step": measure_step(images, rounds),
        "views": measure_views(images, rounds),
        "chunks": {"median": medians, "ratio_to_256": ratios, "runs": sizes},
        "gradients": in_fresh_process(GRADIENTS),
        "load_average": [load, os.getloadavg()[0]],
    }
    timing.write(result, output)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=16, help="timed epochs of each arm (default: 16)")
    parser.add_argument("--processes", type=int, default=3, help="processes of each batch size (default: 3)")
    parser.add_argument("--part", choices=[*SIZES, GRADIENTS], help="measure this alone, in this process")
    parser.add_argument("--output", type=pathlib.Path, default="results/pretraining.json", help="where to write")
    main(**vars(parser.parse_args()))
