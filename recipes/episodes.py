"""Letters in episodes, for the recipes that learn from a few examples of each class."""

import numpy as np

import keras_transfer as kt
from keras_transfer.recipes import pictures

TRAINING_SCRIPTS, TEST_SCRIPTS = ("latin", "greek", "cyrillic"), ("armenian", "georgian")
EXAMPLES = 60  # images of each letter


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


def requests(data, sizes, **options):
    """Returns an episode of each size (ways, shots, queries), without an episode axis, to verify an export with."""
    drawn = (next(iter(kt.streams.episodes(*data, *size, batches=1, seed=0, **options))) for size in sizes)
    parts = ([part[0].numpy() for part in (*x["support"], x["query"])] for x, _ in drawn)
    return [{"support": (support, labels), "query": query} for support, labels, query in parts]


def answered(model, data, images=None, **options):
    """Draws a 5-way 1-shot episode with the model's answers; `images` are those of data that is features."""

    def drawn(rows):
        return next(iter(kt.streams.episodes(rows, data[1], ways=5, shots=1, queries=6, batches=1, seed=1, **options)))

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
