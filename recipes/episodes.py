"""What recipes share that learn from a few examples: letters, trainings on episodes and the baselines beside them."""

import time
import warnings

import keras
import numpy as np
from keras import layers

import keras_transfer as kt
from keras_transfer.recipes import pictures

TRAINING_SCRIPTS, TEST_SCRIPTS = ("latin", "greek", "cyrillic"), ("armenian", "georgian")
EXAMPLES = 60  # images of each letter
FILTERS = 64  # of each convolution
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
PENALTIES = (0.1, 1.0, 10.0, 100.0)  # inverse ones, of logistic regressions on features of length 1


def load():
    """Returns images and labels of letters to train on, to calibrate with, and to test on."""
    known, new = ("".join(map(kt.datasets.script_letters, scripts)) for scripts in (TRAINING_SCRIPTS, TEST_SCRIPTS))
    calibration = known[::6]
    training = "".join(letter for letter in known if letter not in calibration)
    parts = enumerate((training, calibration, new))
    return tuple(kt.datasets.glyphs(letters, n=EXAMPLES * len(letters), seed=number)[:2] for number, letters in parts)


def turned(x, y):
    """Returns images turned by 0, 90, 180 and 270 degrees, and a class for each character and turn."""
    images = np.concatenate([np.rot90(x, quarter, axes=(1, 2)) for quarter in range(4)])
    return images, np.concatenate([4 * y + quarter for quarter in range(4)])


def build(precision="float32"):
    """Returns a new encoder of letters: the field's four convolutions of 64 filters, pooled before normalisation."""
    x = images = keras.Input((28, 28, 1), name="images")
    x = layers.Rescaling(1 / 255, dtype="float32")(x)
    for _ in range(4):
        x = layers.Conv2D(FILTERS, 3, padding="same", use_bias=False, dtype=precision)(x)
        x = layers.MaxPooling2D(dtype=precision)(x)
        x = layers.BatchNormalization(dtype=precision)(x)
        x = layers.ReLU(dtype=precision)(x)
    return keras.Model(images, layers.Flatten(dtype="float32", name="features")(x), name="conv4")


def build_layer(dim):
    """Returns a new encoder of the features of a pretrained backbone: one linear layer."""
    return keras.Sequential([keras.Input((dim,)), layers.LayerNormalization(), layers.Dense(256)])


def identity(dim):
    """Returns the encoder of features that stay as they are."""
    return keras.Sequential([keras.Input((dim,)), layers.Identity()])


def check_steps(steps):
    """Raises an error for more than a hundred steps that are not whole hundreds, which an epoch has."""
    if steps > 100 and steps % 100:
        raise ValueError(f"Expected `steps` in hundreds; received {steps}.")


def compile_model(model, config):
    """Compiles with Adam and a cosine decay."""
    rate = keras.optimizers.schedules.CosineDecay(config.learning_rate, config.steps)
    model.compile(keras.optimizers.Adam(rate), LOSS, metrics=["accuracy"])


def train(config, seed, data, new, make=kt.models.PrototypicalNetwork, rotations=False):
    """Trains a method on episodes.

    Args:
        config: settings, with `steps`, `learning_rate` and the `ways`, `shots` and `queries` of an episode, which are
            fewer where the classes have no more.
        seed: int.
        data: rows and labels.
        new: function that returns a new encoder.
        make: function that returns the method on an encoder.
        rotations: bool, whether turned images are further classes.

    Returns:
        The encoder, and the history.
    """
    keras.utils.set_random_seed(seed)
    encoder, batches = new(), min(100, config.steps)
    model = make(encoder)
    compile_model(model, config)
    size = allowed(data[1], config.ways, config.shots, config.queries, turns=4 if rotations else 1)
    stream = kt.streams.episodes(*data, *size, batches=batches, rotations=rotations, seed=seed)
    return encoder, model.fit(stream, epochs=config.steps // batches, shuffle=False, verbose=2).history


def train_classifier(config, seed, data, new):
    """Trains an encoder to classify the training classes, on as many images in a step; returns as `train` does."""
    keras.utils.set_random_seed(seed)
    encoder, batches = new(), min(100, config.steps)
    images, labels = data[0], np.unique(data[1], return_inverse=True)[1]
    classes = int(labels.max()) + 1
    model = keras.Sequential([encoder, layers.Dense(classes, dtype="float32")])
    compile_model(model, config)
    rows = min(config.ways, classes) * (config.shots + config.queries)
    draw = np.random.default_rng(seed).permutation(len(labels))
    draw = np.resize(draw, config.steps * rows).reshape(-1, rows)
    history = {}
    for chunk in np.array_split(np.arange(config.steps), max(1, config.steps // batches)):
        index = draw[chunk].ravel()
        logs = model.fit(images[index], labels[index], rows, shuffle=False, verbose=2).history
        history = {name: history.get(name, []) + values for name, values in logs.items()}
    return encoder, history


def allowed(labels, ways, shots, queries, turns=1):
    """Returns ways, shots and queries of an episode, at most as many as the classes and their rows allow.

    Args:
        labels: integer array, of at least two rows of each class.
        ways: int.
        shots: int.
        queries: int.
        turns: int, by how many turns each class is several.
    """
    _, counts = np.unique(labels, return_counts=True)
    shots = min(shots, int(counts.min()) - 1)
    return min(ways, turns * len(counts)), shots, min(queries, int(counts.min()) - shots)


def measure(model, data, sizes, number, seed, card):
    """Measures a method on episodes.

    Args:
        model: few-shot method on an encoder that returns the rows as they are.
        data: rows, such as features of classes never seen, and labels.
        sizes: list of ways, shots and queries.
        number: int, episodes of each size, in tens.
        seed: int, of the episodes.
        card: dict, the protocol of `kt.report.FewShotReport`.

    Returns:
        List of `kt.report.FewShotReport`.
    """
    streams = (kt.streams.episodes(*data, *size, 10, batches=number // 10, seed=seed) for size in sizes)
    return [kt.report.FewShotReport.measure(model, stream, **card) for stream in streams]


def requests(data, sizes, **options):
    """Returns an episode of each size (ways, shots, queries), without an episode axis, to verify an export with."""
    drawn = (next(iter(kt.streams.episodes(*data, *size, batches=1, seed=0, **options))) for size in sizes)
    parts = ([part[0].numpy() for part in (*x["support"], x["query"])] for x, _ in drawn)
    return [{"support": (support, labels), "query": query} for support, labels, query in parts]


def logistic_regression(data, size, penalty, number, seed, card):
    """Fits a logistic regression of scikit-learn to the examples of each episode, and answers its queries.

    Args:
        data: features of classes never seen, and their labels. The penalty means the same for all features of length 1,
            such as those of `kt.models.simple_shot`.
        size: ways, shots and queries.
        penalty: float, the inverse penalty.
        number: int, episodes, in tens.
        seed: int, of the episodes.
        card: dict, the protocol of `kt.report.FewShotReport`.

    Returns:
        A `kt.report.FewShotReport`.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    stream = kt.streams.episodes(*data, *size, 10, batches=number // 10, seed=seed)
    accuracies, seconds = [], 0.0
    with warnings.catch_warnings(), threadpool_limits(1):  # many tiny products
        warnings.simplefilter("ignore", ConvergenceWarning)  # of weights that still grow; the answers stand
        for x, y in stream:
            drawn = [part.numpy() for part in (*x["support"], x["query"], y)]
            start = time.perf_counter()
            for support, labels, query, truth in zip(*drawn):
                fitted = LogisticRegression(C=penalty, max_iter=200).fit(support, labels)
                accuracies.append(fitted.score(query, truth))
            seconds += time.perf_counter() - start
    sizes = dict(zip(("ways", "shots", "queries"), size))
    return kt.report.FewShotReport(accuracies, sizes | card, seconds=seconds)


def choose_penalty(data, size, number, seed):
    """Returns the one of `PENALTIES` that tells most queries right in episodes of classes that do not test.

    Args:
        data: features of length 1 of these classes, and their labels.
        size: ways, shots and queries.
        number: int, episodes, in tens.
        seed: int, of the episodes.
    """
    scores = {penalty: logistic_regression(data, size, penalty, number, seed, {}).mean for penalty in PENALTIES}
    return max(scores, key=scores.get)  # of equals the first, which is the strongest


def answered(model, data, images=None, size=(5, 1, 6), **options):
    """Draws an episode with the model's answers; `images` are those of data that is features."""

    def drawn(rows):
        return next(iter(kt.streams.episodes(rows, data[1], *size, batches=1, seed=1, **options)))

    x, y = drawn(data[0])
    answers = np.argmax(model.predict_on_batch(x)["prediction"], -1)[0]
    seen = x if images is None else drawn(images)[0]
    support, labels, query = (part[0].numpy() for part in (*seen["support"], seen["query"]))
    return pictures.episode(support, labels, query, y[0].numpy(), answers)


def accuracies(tests, sizes):
    """Draws the accuracy of every arm by the size of the episodes, a dot for each training."""
    cases = [f"{ways}-way\n{shots}-shot" for ways, shots in sizes]
    found = {arm: [[r["accuracy"] for r in run["reports"]] for run in trained] for arm, trained in tests.items()}
    return pictures.accuracies({arm: dict(zip(cases, zip(*runs))) for arm, runs in found.items()})
