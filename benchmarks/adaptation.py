"""Step time of every adaptation method through `fit` against a hand-written loop: `python -m benchmarks.adaptation`.

Both arms of a method train the same network (convolutions 32 and 48 of 5x5, heads of 100 units) from the same weights
on the same batches of 64 random 28x28 images of each domain, or view, with Adam and a traced step.
- fit: the method's `fit(verbose=0)`, which logs loss, every term and accuracy, and calls its History.
- hand: a Python loop over the same batches that calls one `tf.function`, which is written below for the method with
  TensorFlow's own operations: the same passes, gradient tape, Adam, a Keras mean for each term and accuracy.
A round is one epoch. The terms of the round that is not timed are checked to be equal: the arms do the same work.
Prints, and writes results/adaptation_steps.json.
"""

import argparse
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import keras_transfer as kt
from benchmarks import timing

ROWS, CLASSES, DIM, REVERSAL = 64, 10, 768, 0.1


def encoder():
    """Returns the encoder of a method."""
    convolutions = [[layers.Conv2D(n, 5, activation="relu"), layers.MaxPooling2D()] for n in (32, 48)]
    return keras.Sequential([keras.Input((28, 28, 1)), *convolutions[0], *convolutions[1], layers.Flatten()])


def dense(inputs=DIM, outputs=1):
    """Returns a network of one hidden layer."""
    return keras.Sequential([keras.Input((inputs,)), layers.Dense(100, activation="relu"), layers.Dense(outputs)])


def head():
    """Returns a head."""
    return dense(outputs=CLASSES)


# What a step computes by hand: a function of a method's networks, of x and y, that returns its terms in the order of
# the method's own, the logits of the labelled rows, and what moves after the step.


@tf.custom_gradient
def reverse(features):
    """Reverses the gradient."""
    return features, lambda gradient: -REVERSAL * gradient


def task(y, logits):
    """The cross-entropy of labels."""
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits))


def binary(value, logits):
    """The cross-entropy of one answer for all rows."""
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(tf.fill(tf.shape(logits), value), logits))


def domain(source, target):
    """The cross-entropy of a discriminator."""
    return 0.5 * (binary(0.0, source) + binary(1.0, target))


def both(m, x, joint):
    """Features and logits of both domains."""
    if not joint:
        features = [m.encoder(x[name], training=True) for name in ("source", "target")]
        return *features, *(m.head(f, training=True) for f in features)
    features = m.encoder(tf.concat([x["source"], x["target"]], 0), training=True)
    logits = m.head(features, training=True)
    return features[:ROWS], features[ROWS:], logits[:ROWS], logits[ROWS:]


def dann(m, x, y):
    """DANN."""
    source, target, logits, _ = both(m, x, joint=False)
    told = [m.discriminator(reverse(f), training=True) for f in (source, target)]
    return [task(y, logits), domain(*told)], logits, None


def cdan(m, x, y):
    """CDAN."""
    source, target, logits, target_logits = both(m, x, joint=False)
    losses = []
    for value, f, z in ((0.0, source, logits), (1.0, target, target_logits)):
        p = tf.stop_gradient(tf.nn.softmax(z))
        told = m.discriminator(tf.reshape(reverse(f)[:, :, None] * p[:, None], (-1, DIM * CLASSES)), training=True)
        weight = 1.0 + tf.exp(tf.reduce_sum(p * tf.math.log(p + 1e-30), -1, keepdims=True))
        loss = tf.nn.sigmoid_cross_entropy_with_logits(tf.fill(tf.shape(told), value), told)
        losses.append(tf.reduce_mean(weight * loss) / tf.reduce_mean(weight))
    return [task(y, logits), 0.5 * sum(losses)], logits, None


def wdgrl(m, x, y):
    """WDGRL."""
    source, target, logits, _ = both(m, x, joint=False)
    told = [tf.reduce_mean(m.critic(reverse(f), training=True)) for f in (source, target)]
    share = tf.random.uniform((ROWS, 1))
    points = tf.stop_gradient(tf.concat([source, target, share * source + (1.0 - share) * target], 0))
    with tf.GradientTape() as tape:
        tape.watch(points)
        value = tf.reduce_sum(m.critic(points, training=True))
    slope = tf.sqrt(tf.reduce_sum(tape.gradient(value, points) ** 2, -1) + 1e-12)
    return [task(y, logits), told[1] - told[0], tf.reduce_mean((slope - 1.0) ** 2)], logits, None


def adda(m, x, y):
    """ADDA."""
    source, target = m.source_encoder(x["source"]), m.encoder(x["target"], training=True)
    kernels = [tf.stop_gradient(w) for w in m.discriminator.trainable_variables]
    hidden = tf.nn.relu(target @ kernels[0] + kernels[1])
    told = [m.discriminator(f, training=True) for f in (source, tf.stop_gradient(target))]
    m.head(target)
    return [domain(*told), binary(0.0, hidden @ kernels[2] + kernels[3])], None, None


def mcd(m, x, y):
    """MCD."""
    source, target, logits, _ = both(m, x, joint=False)
    second = m.second_head(source, training=True)
    p, q = (tf.nn.softmax(head(reverse(target), training=True)) for head in (m.head, m.second_head))
    return [task(y, logits), task(y, second), -tf.reduce_mean(tf.reduce_sum(tf.abs(p - q), -1))], logits, None


def mdd(m, x, y):
    """MDD."""
    source, target, logits, target_logits = both(m, x, joint=False)
    against = [m.adversary(reverse(f), training=True) for f in (source, target)]
    agrees = task(tf.argmax(logits, -1), against[0])
    said = tf.one_hot(tf.argmax(target_logits, -1), CLASSES)
    others = tf.reduce_logsumexp(against[1] - 1e9 * said, -1)
    differs = tf.reduce_mean(tf.reduce_logsumexp(against[1], -1) - others)
    return [task(y, logits), 4.0 * agrees + differs], logits, None


def kernel(rows):
    """The kernel of both domains' rows."""
    rows = rows - tf.stop_gradient(tf.reduce_mean(rows, 0))
    squares = tf.reduce_sum(rows * rows, 1)
    distances = tf.nn.relu(squares[:, None] + squares[None] - 2.0 * rows @ tf.transpose(rows))
    distances *= 1.0 - tf.eye(2 * ROWS)
    middle = 2 * ROWS + ROWS * (2 * ROWS - 1)
    width = tf.stop_gradient(tf.reduce_mean(tf.sort(tf.reshape(distances, [-1]))[middle - 1 : middle + 1]))
    return tf.add_n([tf.exp(-distances / (factor * width)) for factor in (0.25, 0.5, 1.0, 2.0, 4.0)]) / 5.0


def discrepancy(kernel):
    """The maximum mean discrepancy under a kernel."""
    within = tf.reduce_mean(kernel[:ROWS, :ROWS]) + tf.reduce_mean(kernel[ROWS:, ROWS:])
    return within - 2.0 * tf.reduce_mean(kernel[:ROWS, ROWS:])


def dan(m, x, y):
    """DAN."""
    source, target, logits, _ = both(m, x, joint=True)
    return [task(y, logits), discrepancy(kernel(tf.concat([source, target], 0)))], logits, None


def jan(m, x, y):
    """JAN."""
    source, target, logits, target_logits = both(m, x, joint=True)
    p = tf.nn.softmax(tf.concat([logits, target_logits], 0))
    return [task(y, logits), discrepancy(kernel(tf.concat([source, target], 0)) * kernel(p))], logits, None


def deep_coral(m, x, y):
    """Deep CORAL."""
    source, target, logits, _ = both(m, x, joint=True)
    centred = [f - tf.reduce_mean(f, 0) for f in (source, target)]
    covariances = [tf.matmul(f, f, transpose_a=True) / (ROWS - 1.0) for f in centred]
    return [task(y, logits), tf.reduce_sum((covariances[0] - covariances[1]) ** 2) / (4.0 * DIM**2)], logits, None


def deep_jdot(m, x, y):
    """DeepJDOT."""
    source, target, logits, target_logits = both(m, x, joint=True)
    squares = [tf.reduce_sum(f * f, 1) for f in (source, target)]
    apart = tf.nn.relu(squares[0][:, None] + squares[1][None] - 2.0 * source @ tf.transpose(target))
    wrong = -tf.gather(tf.nn.log_softmax(target_logits), y, axis=1)
    cost = 0.01 * apart + tf.transpose(wrong)
    scaled = tf.stop_gradient(-cost / (0.05 * tf.reduce_mean(cost)))
    share = -tf.math.log(float(ROWS))

    def scale(i, _, second):
        first = share - tf.reduce_logsumexp(scaled + second[None], 1)
        return i + 1, first, share - tf.reduce_logsumexp(scaled + first[:, None], 0)

    _, first, second = tf.while_loop(lambda i, *_: i < 100, scale, (0, tf.zeros(ROWS), tf.zeros(ROWS)))
    plan = tf.stop_gradient(tf.exp(scaled + first[:, None] + second[None]))
    return [task(y, logits), tf.reduce_sum(plan * cost)], logits, None


def adamatch(m, x, y):
    """AdaMatch."""
    logits = m.head(m.encoder(tf.concat([x[name] for name in m.streams], 0), training=True), training=True)
    source, weak, strong = tf.split(logits, 3)
    p, q = (tf.stop_gradient(tf.nn.softmax(z)) for z in (source, weak))
    q *= tf.reduce_mean(p, 0) / tf.maximum(tf.reduce_mean(q, 0), 1e-6)
    q /= tf.reduce_sum(q, -1, keepdims=True)
    sure = tf.reduce_max(q, -1) >= 0.9 * tf.reduce_mean(tf.reduce_max(p, -1))
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.argmax(q, -1), strong)
    return [task(y, source), tf.reduce_mean(tf.cast(sure, "float32") * losses)], source, None


def self_ensembling(m, x, y):
    """Self-ensembling."""
    logits, strong = (m.head(m.encoder(x[name], training=True), training=True) for name in ("source", "target_strong"))
    taught = m.teacher_head(m.teacher_encoder(x["target_weak"], training=True), training=True)
    p, q = tf.nn.softmax(strong), tf.stop_gradient(tf.nn.softmax(taught))
    sure = tf.cast(tf.reduce_max(q, -1) > 0.5, "float32")

    def follow():
        for teacher, student in ((m.teacher_encoder, m.encoder), (m.teacher_head, m.head)):
            for old, new in zip(teacher.weights, student.weights):
                old.assign(0.99 * old + 0.01 * new)

    return [task(y, logits), tf.reduce_mean(sure * tf.reduce_sum((p - q) ** 2, -1))], logits, follow


def shot(m, x, y):
    """SHOT."""
    features = m.encoder(x["target"], training=True)
    logits = m.head(features, training=True)
    rows, log_p = tf.stop_gradient(tf.nn.l2_normalize(features, -1)), tf.nn.log_softmax(logits)
    p = tf.exp(log_p)
    means = 0.9 * m.class_means.value + 0.1 * tf.matmul(tf.stop_gradient(p), rows, transpose_a=True) / ROWS
    pseudo = tf.argmax(rows @ tf.transpose(tf.nn.l2_normalize(means, -1)), -1)
    mean = tf.reduce_mean(p, 0)
    information = -tf.reduce_mean(tf.reduce_sum(p * log_p, -1)) + tf.reduce_sum(mean * tf.math.log(mean))
    return [information, task(pseudo, logits)], None, lambda: m.class_means.assign(means)


def mcc(m, x, y):
    """MCC."""
    _, _, logits, target = both(m, x, joint=True)
    log_p = tf.nn.log_softmax(target / 2.5)
    p = tf.exp(log_p)
    weight = 1.0 + tf.exp(tf.reduce_sum(p * log_p, -1, keepdims=True))
    confusion = tf.matmul(tf.stop_gradient(weight / tf.reduce_mean(weight)) * p, p, transpose_a=True)
    confusion /= tf.reduce_sum(confusion, -1, keepdims=True)
    return [task(y, logits), 1.0 - tf.reduce_mean(tf.linalg.diag_part(confusion))], logits, None


METHODS = {
    "DANN": (lambda: kt.models.DANN(encoder(), head(), dense(), reversal=REVERSAL), dann),
    "CDAN": (lambda: kt.models.CDAN(encoder(), head(), dense(DIM * CLASSES), reversal=REVERSAL), cdan),
    "WDGRL": (lambda: kt.models.WDGRL(encoder(), head(), dense(), reversal=REVERSAL), wdgrl),
    "ADDA": (lambda: kt.models.ADDA(encoder(), encoder(), head(), dense()), adda),
    "MCD": (lambda: kt.models.MCD(encoder(), head(), head(), reversal=REVERSAL), mcd),
    "MDD": (lambda: kt.models.MDD(encoder(), head(), head(), reversal=REVERSAL), mdd),
    "DAN": (lambda: kt.models.DAN(encoder(), head()), dan),
    "JAN": (lambda: kt.models.JAN(encoder(), head()), jan),
    "DeepCORAL": (lambda: kt.models.DeepCORAL(encoder(), head()), deep_coral),
    "DeepJDOT": (lambda: kt.models.DeepJDOT(encoder(), head()), deep_jdot),
    "AdaMatch": (lambda: kt.models.AdaMatch(encoder(), head()), adamatch),
    "SelfEnsembling": (lambda: kt.models.SelfEnsembling(encoder(), head(), threshold=0.5), self_ensembling),
    "SHOT": (lambda: kt.models.SHOT(encoder(), head()), shot),
    "TargetTerms": (lambda: kt.models.TargetTerms(encoder(), head(), {"mcc": (kt.losses.MCC(), 1.0)}), mcc),
}
LABELLED = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def fit_arm(model, dataset, labelled):
    """Returns a function that trains through `fit` for an epoch and returns the means of the terms."""
    model.compile("adam", **({"loss": LABELLED, "metrics": ["accuracy"]} if labelled else {}))

    def epoch():
        history = model.fit(dataset, shuffle=False, verbose=0).history
        return [history[f"{name}_term"][0] for name in model.term_weights]

    return epoch


def hand_arm(model, terms, dataset, labelled):
    """Returns a function that trains by hand for an epoch and returns the means of the terms."""
    weights, scales = model.trainable_variables, list(model.term_weights.values())
    optimizer = keras.optimizers.Adam()
    optimizer.build(weights)
    logs, accuracy = [keras.metrics.Mean() for _ in scales], keras.metrics.SparseCategoricalAccuracy()

    @tf.function
    def step(x, y=None):
        with tf.GradientTape() as tape:
            found, logits, moves = terms(model, x, y)
            loss = tf.add_n([scale * term for scale, term in zip(scales, found)])
        optimizer.apply(tape.gradient(loss, weights), weights)
        for metric, term in zip(logs, found):
            metric.update_state(term)
        if labelled:
            accuracy.update_state(y, logits)
        if moves is not None:
            moves()

    def epoch():
        for metric in (*logs, accuracy):
            metric.reset_state()
        for batch in dataset:
            step(*(batch if labelled else (batch,)))
        return [float(metric.result()) for metric in logs]

    return epoch


def measure(name, rounds, steps):
    """Returns the ratio of both arms of a method."""
    make, terms = METHODS[name]
    arms = {}
    for arm in ("fit", "hand"):
        keras.utils.set_random_seed(0)
        rng, model = np.random.default_rng(0), make()
        images = {stream: rng.random((ROWS * steps, 28, 28, 1), "float32") for stream in model.streams}
        labelled = "task" in model.term_weights
        labels = rng.integers(0, CLASSES, ROWS * steps).astype("int32")
        rows = tf.data.Dataset.from_tensor_slices((images, labels) if labelled else images)
        dataset = rows.batch(ROWS, drop_remainder=True).cache().prefetch(2)
        arms[arm] = fit_arm(model, dataset, labelled) if arm == "fit" else hand_arm(model, terms, dataset, labelled)
    found = timing.turns(arms, rounds)
    np.testing.assert_allclose(found.first["fit"], found.first["hand"], rtol=5e-2, atol=1e-3, err_msg=name)
    result = timing.compared(found.seconds, "fit", "hand")
    milliseconds = timing.medians(timing.milliseconds(found.seconds, steps))
    return {**result, "milliseconds": milliseconds, "load_average": found.load_average}


def main(methods, rounds, steps, output):
    """Measures, prints, writes."""
    timing.write({"steps": steps, "methods": {name: measure(name, rounds, steps) for name in methods}}, output)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS, help="which (default: all)")
    parser.add_argument("--rounds", type=int, default=12, help="timed epochs of each arm (default: 12)")
    parser.add_argument("--steps", type=int, default=20, help="batches in an epoch (default: 20)")
    parser.add_argument("--output", type=Path, default=Path("results/adaptation_steps.json"), help="where to write")
    main(**vars(parser.parse_args()))
