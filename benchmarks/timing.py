"""The one timing loop of all benchmarks: arms take turns in one process and are compared pair by pair."""

import json
import os
import pathlib
import time
from typing import NamedTuple

import numpy as np

import keras_transfer as kt


class Turns(NamedTuple):
    """What `turns` measured.

    Attributes:
        seconds: `{arm: [seconds of each timed round]}`.
        load_average: the machine's load over a minute, before the first timed round and after the last.
        first: `{arm: what it returned in the round that was not timed}`.
    """

    seconds: dict
    load_average: list
    first: dict


def turns(arms, rounds):
    """Times functions in turns, forwards and backwards (ABBA), so that a machine that slows down slows all of them.

    A first round is not timed: in it graphs are traced and caches filled.

    Args:
        arms: dict of names to functions without arguments.
        rounds: int, timed calls of each.

    Returns:
        `Turns`.
    """
    first = {name: arm() for name, arm in arms.items()}
    seconds, load = {name: [] for name in arms}, [os.getloadavg()[0]]
    for number in range(1, rounds + 1):
        for name in list(arms)[:: (-1) ** number]:
            start = time.perf_counter()
            arms[name]()
            seconds[name].append(time.perf_counter() - start)
    return Turns(seconds, [*load, os.getloadavg()[0]], first)


def per_second(seconds, count):
    """Returns `{arm: [rate of each round]}` of arms that do `count` things in each round."""
    return {name: [count / value for value in values] for name, values in seconds.items()}


def milliseconds(seconds, count):
    """Returns `{arm: [milliseconds for one thing]}` of arms that do `count` things in each round."""
    return {name: [1e3 * value / count for value in values] for name, values in seconds.items()}


def medians(values):
    """Returns `{arm: median over the rounds}`."""
    return {name: float(np.median(found)) for name, found in values.items()}


def compared(values, arm, floor):
    """Compares two arms round by round.

    Args:
        values: `{arm: [value of each round]}`, seconds or rates.
        arm: name of the arm that is judged.
        floor: name of the arm that it is held against.

    Returns:
        Dict of `ratio`, the median of the paired ratios `arm / floor`, their `quartiles` and all `ratios`.
    """
    ratios = np.divide(values[arm], values[floor])
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75]).tolist()
    return {"ratio": middle, "quartiles": [low, high], "ratios": ratios.tolist()}


def write(result, output):
    """Prints a result and writes it as a JSON file, whole or not at all."""
    text = json.dumps(result, indent=2)
    print(text)
    kt.report.write_whole(pathlib.Path(output), f"{text}\n".encode())
