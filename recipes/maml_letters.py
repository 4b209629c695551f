"""Learns weights that one gradient step on five examples adapts to new letters (MAML), tests them, and exports them.

    python -m keras_transfer.recipes.maml_letters

Nothing is downloaded: trained on Latin, Greek and Cyrillic letters, tested on Armenian and Georgian ones, in about 4
minutes on two cores for each seed. The baseline is the nearest neighbour in pixels, which trains nothing; one that is
harder to beat is SimpleShot, in `recipes/learn_photos.py` on the same letters. The export adapts inside its graph.

Omniglot, first-order MAML, ANIL and Reptile: `recipes/studies/learn_to_adapt.py`, whose measured numbers are in
`results/learn_to_adapt/`.
"""

import dataclasses
import functools
import pathlib
import time

import keras
from keras import layers

import keras_transfer as kt
from keras_transfer.recipes import episodes, pictures, runs

LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of one run."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """One training for each."""
    steps: int = 4000
    """Training steps; more than 500 in five hundreds."""
    ways: int = 5
    """Classes of an episode."""
    shots: int = 1
    """Examples of each class, in the test too."""
    queries: int = 5
    """Queries of each class in a training episode."""
    tasks: int = 4
    """Episodes in a training step."""
    inner_steps: int = 1
    """Gradient steps of the inner loop."""
    inner_rate: float = 0.4
    """The rate at which the learned rates of the inner loop begin."""
    learning_rate: float = 3e-3
    """The learning rate of Adam at the start of a cosine decay to 0."""
    test_episodes: int = 1000
    """Test episodes, of 15 queries for each class."""
    runs: pathlib.Path = pathlib.Path("runs/maml_letters")
    """Folder in which each run makes a folder with its report, histories and pictures."""
    saved_models: pathlib.Path = pathlib.Path("saved_models")
    """Folder for the export, `<saved_models>/maml_letters/<version>/`."""
    results: pathlib.Path | None = None
    """Folder that also gets the report, as `<results>/maml_letters/letters.json`; by default none."""
    resume: pathlib.Path | None = None
    """Folder of an interrupted run to go on with, `<runs>/<name>`, with the same settings; by default a new run."""


def networks(ways):
    """Returns a new encoder, four convolutions of stride 2 as in MAML's paper on Omniglot, and a new head."""
    x = images = keras.Input((28, 28, 1), name="images")
    x = layers.Rescaling(1 / 255)(x)
    for _ in range(4):
        x = layers.Conv2D(episodes.FILTERS, 3, strides=2, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization()(x)
        x = layers.ReLU()(x)
    encoder = keras.Model(images, layers.Flatten(name="features")(x), name="conv4")
    return encoder, keras.Sequential([keras.Input(encoder.output_shape[1:]), layers.Dense(ways)])


def build(config):
    """Returns a new compiled model."""
    encoder, head = networks(config.ways)
    network = keras.Model(encoder.input, head(encoder.output))
    rate = keras.optimizers.schedules.CosineDecay(config.learning_rate, config.steps)
    model = kt.models.MAML(network, config.inner_steps, config.inner_rate, learn_rates=True)
    model.compile(keras.optimizers.Adam(rate), LOSS, metrics=["accuracy"])
    return model


def train(config, seed, data, make=build, shots=None, queries=None, change=lambda stream: stream):
    """Trains one model on episodes, of other sizes or changed if asked for; returns it and the history."""
    keras.utils.set_random_seed(seed)
    model, batches = make(config), min(500, config.steps)
    sizes = config.ways, shots or config.shots, queries or config.queries, config.tasks
    stream = change(kt.streams.episodes(*data, *sizes, batches=batches, rotations=True, seed=seed))
    return model, model.fit(stream, epochs=config.steps // batches, shuffle=False, verbose=2).history


def measure(config, seed, model, data, card, transductive=False):
    """Measures a model on classes never seen; returns the report."""
    stream = kt.streams.episodes(
        *data, config.ways, config.shots, 15, 10, batches=config.test_episodes // 10, rotations=True, seed=seed
    )
    return kt.report.FewShotReport.measure(model, stream, transductive, **card)


def main(config):
    """Trains and tests, draws, exports and verifies; returns the record."""
    if config.steps > 500 and config.steps % 500:
        raise ValueError(f"Expected `steps` in five hundreds if more than that; received {config.steps}.")
    run, (training, _, test) = runs.Run(config, "maml_letters", "letters"), episodes.load()
    pixels = keras.Sequential([keras.Input((28, 28, 1)), layers.Rescaling(1 / 255), layers.Flatten()])
    pixels = kt.models.MatchingNetwork(pixels, temperature=0.01)
    histories, tests, kept = [], {"maml": [], "pixels": []}, None

    def part(seed):
        start = time.perf_counter()
        model, history = train(config, seed, training)
        seconds, found = time.perf_counter() - start, {}
        for arm, tested in (("maml", model), ("pixels", pixels)):
            card = {"data": "glyphs", "rotations": "classes of their own", "seed": seed}
            report = measure(config, seed, tested, test, card)
            print(f"{arm}, {report}", flush=True)
            found[arm] = {"seed": seed, "reports": [report.to_dict()]}
        found["maml"]["seconds"] = seconds
        return {"tests": found, "history": history}, {"model": model} if seed == config.seeds[0] else {}

    for seed in config.seeds:
        found, networks = run.part(f"seed {seed}", functools.partial(part, seed), seed)
        for arm, test_of_seed in found["tests"].items():
            tests[arm].append(test_of_seed)
        histories.append(found["history"])
        kept = kept or networks["model"]
    record = {"tests": tests, "histories": {"maml": histories}}
    figures = {
        "episode": episodes.answered(kept, test, rotations=True),
        "accuracy": episodes.accuracies(tests, [(config.ways, config.shots)]),
        "curves": pictures.curves(record["histories"]),
    }
    unseen = episodes.requests(test, [(config.ways, shots, 3 + shots) for shots in (1, 2, 5)], rotations=True)
    export = {"x": test[0][:8], "outputs": "logits", "requests": unseen, "tolerance": 1e-4}
    export["metrics"] = tests["maml"][0]["reports"][0]
    return run.finish(record, figures, model=kept, **export)


if __name__ == "__main__":
    runs.command(main, Config, __doc__)
