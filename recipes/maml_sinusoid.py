"""Learns to fit a sinusoid from 10 points with one gradient step (MAML), and exports it with that step inside.

    python -m keras_transfer.recipes.maml_sinusoid

Nothing is downloaded. The protocol of the paper: 70,000 iterations of 25 tasks, a network of two hidden layers of 40
units, one inner step at rate 0.01; tested on 600 new tasks. About 3 minutes on two cores for each seed. One departure:
Adam's rate falls to zero along a cosine. At a constant rate, one seed of three ended in a network that fits after one
step and diverges within ten, which the training loss does not see.

The baseline: the same network, trained on the points of as many tasks together, and fine-tuned by the same gradient
steps at the best of several rates. Measured numbers: `results/maml_sinusoid/10.json`, shown in the README.
"""

import dataclasses
import functools
import pathlib
import time

import keras
import numpy as np
from keras import layers

import keras_transfer as kt
from keras_transfer.recipes import pictures, runs

RATES = (0.001, 0.003, 0.01, 0.03, 0.1)  # of the baseline's fine-tuning


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of one run."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """One training of MAML and of the baseline for each."""
    iterations: int = 70_000
    """Training steps."""
    tasks: int = 25
    """Tasks in a training step."""
    shots: int = 10
    """Support points of a task, and query points in training."""
    inner_rate: float = 0.01
    """The learning rate of the inner loop."""
    learning_rate: float = 1e-3
    """The learning rate of Adam at the start of a cosine decay to 0."""
    test_steps: int = 10
    """Gradient steps in the test; the error is measured after each."""
    test_tasks: int = 600
    """Tasks of the test."""
    runs: pathlib.Path = pathlib.Path("runs/maml_sinusoid")
    """Folder in which each run makes a folder with its report and pictures."""
    saved_models: pathlib.Path = pathlib.Path("saved_models")
    """Folder for the export, `<saved_models>/maml_sinusoid/<version>/`."""
    results: pathlib.Path | None = None
    """Folder that also gets the report, as `<results>/maml_sinusoid/<shots>.json`; by default none."""
    resume: pathlib.Path | None = None
    """Folder of an interrupted run to go on with, `<runs>/<name>`, with the same settings; by default a new run."""


def build():
    """Returns a new network."""
    hidden = [layers.Dense(40, "relu") for _ in range(2)]
    return keras.Sequential([keras.Input((1,), name="x"), *hidden, layers.Dense(1)])


def adapting(network, rate, steps=1):
    """Returns MAML of a network, compiled to be tested."""
    model = kt.models.MAML(network, rate=rate, test_steps=steps)
    model.compile(loss="mse")
    return model


def prepare(model, config):
    """Compiles for the training; many steps run in one call."""
    schedule = keras.optimizers.schedules.CosineDecay(config.learning_rate, config.iterations)
    model.compile(keras.optimizers.Adam(schedule), "mse", steps_per_execution=100)
    return model


def train(config, seed):
    """Trains MAML and the baseline; returns their networks, and the seconds that each took."""
    keras.utils.set_random_seed(seed)
    x, y = kt.datasets.sinusoids(config.iterations * config.tasks, config.shots, config.shots, seed=seed)
    networks, seconds = {"maml": build(), "pretrained": build()}, {}
    start = time.perf_counter()
    model = prepare(kt.models.MAML(networks["maml"], rate=config.inner_rate), config)
    shown = runs.progress(f"maml, seed {seed}", config.iterations, "step")
    model.fit(x, y, batch_size=config.tasks, shuffle=False, verbose=0, callbacks=[shown])
    seconds["maml"] = time.perf_counter() - start
    start = time.perf_counter()
    points, targets = (np.concatenate(part, axis=1).reshape(-1, 1) for part in zip(x["support"], (x["query"], y)))
    batch = 2 * config.tasks * config.shots
    shown = runs.progress(f"pretrained, seed {seed}", config.iterations, "step")
    prepare(networks["pretrained"], config).fit(points, targets, batch, shuffle=False, verbose=0, callbacks=[shown])
    seconds["pretrained"] = time.perf_counter() - start
    return networks, seconds


def errors(network, rate, steps, tasks):
    """Returns the mean squared errors on tasks after each of the numbers of steps; None where a task diverged."""
    models = (adapting(network, rate, k) for k in steps)
    found = [model.evaluate(*tasks, batch_size=100, verbose=0, return_dict=True)["loss"] for model in models]
    return [error if np.isfinite(error) else None for error in found]


def main(config):
    """Trains, tests, draws, exports and verifies; returns the record."""
    run, steps = runs.Run(config, "maml_sinusoid", config.shots), range(config.test_steps + 1)
    curves, rates, seconds, kept = {}, [], {}, None

    def part(seed):
        networks, took = train(config, seed)
        chosen_on = kt.datasets.sinusoids(config.test_tasks, config.shots, 100, seed=10_000 + seed)
        after = {rate: errors(networks["pretrained"], rate, [config.test_steps], chosen_on)[0] for rate in RATES}
        best = min((rate for rate in RATES if after[rate] is not None), key=after.get)
        rate = {"maml": config.inner_rate, "pretrained": best}
        test = kt.datasets.sinusoids(config.test_tasks, config.shots, 100, seed=20_000 + seed)
        found = {arm: errors(network, rate[arm], steps, test) for arm, network in networks.items()}
        for arm, error in found.items():
            print(f"{arm}, seed {seed}: {took[arm]:.0f} s; {error}", flush=True)
        return {"errors": found, "seconds": took, "rate": rate}, networks if seed == config.seeds[0] else {}

    for seed in config.seeds:
        found, networks = run.part(f"seed {seed}", functools.partial(part, seed), seed)
        for arm in found["errors"]:
            curves.setdefault(arm, []).append(found["errors"][arm])
            seconds.setdefault(arm, []).append(found["seconds"][arm])
        rates.append(found["rate"]["pretrained"])
        kept = kept or (networks, found["rate"])

    networks, rate = kept
    model = adapting(networks["maml"], config.inner_rate, config.test_steps)
    (tasks, _) = kt.datasets.sinusoids(3, config.shots, 7, seed=1)
    unseen = [  # any number of examples, and of queries
        {"support": (points[: 4 + i], targets[: 4 + i]), "query": query[: 2 + i]}
        for i, (points, targets, query) in enumerate(zip(*tasks["support"], tasks["query"]))
    ]
    record = {"mean_squared_error": curves, "seconds": seconds, "fine_tuning_rates": rates}
    export = {"model": model, "x": unseen[-1], "requests": unseen}
    return run.finish(record, draw(networks, rate, config), **export)


def draw(networks, rate, config):
    """Returns a picture of the fits of three new tasks after 0, 1 and all steps."""
    x = np.linspace(-5, 5, 200, dtype="float32")[:, None]
    (tasks, _), drawn = kt.datasets.sinusoids(3, config.shots, 1, seed=2), {}
    for arm, network in networks.items():
        model = adapting(network, rate[arm])
        drawn[arm] = [
            {k: keras.ops.convert_to_numpy(model.adapt(*task, steps=k)(x))[:, 0] for k in (0, 1, config.test_steps)}
            for task in zip(*tasks["support"])
        ]
    return {"fits": pictures.fits(x[:, 0], list(zip(*tasks["support"])), drawn)}


if __name__ == "__main__":
    runs.command(main, Config, __doc__)
