"""The zoo in TensorFlow's C++ loader: each model answers its warm-up request as its card and the Keras model say.

`KERAS_TRANSFER_RESULTS=results pytest tests/serving` writes what it measures to `results/zoo.json`.
"""

import json
import time

import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt
from keras_transfer.model import signatures_of
from tests.serving.cpp import replies, warm_up_requests

ADAPTERS = "capitals.npz", "small_letters.npz"  # by their ids


def served(name):
    """What a model of the zoo serves, made anew from its `.keras` file, and the seconds that it took to load."""
    start = time.perf_counter()
    model = kt.zoo.load(name)
    seconds = time.perf_counter() - start
    if kt.zoo.card(name)["served_by"] == "AdapterBank":
        model = kt.finetuning.AdapterBank(model, [kt.zoo.path(name) / file for file in ADAPTERS])
    return model, seconds


def answer(model, version, requests):
    """`{"<signature>/<output>": array}`, as the model in this process computes them."""
    card = json.loads((version / kt.serving.CARD).read_text(encoding="utf-8"))
    feeds = {
        name: {key: tf.constant(tf.make_ndarray(value)) for key, value in request.items()}
        for name, request in requests.items()
    }
    x = {key: value.numpy() for key, value in feeds["serving_default"].items()}
    if "support" in x:
        labels = x["labels"] if "labels" in x else x["targets"]
        x = {"support": (x["support"], labels), "query": x["query"]}
    elif len(x) == 1:
        (x,) = x.values()
    signatures = signatures_of(model, x, card["classes"], None, card["input_name"], card["stated"])
    return {
        f"{name}/{key}": value.numpy()
        for name, feed in feeds.items()
        for key, value in signatures[name].answer(feed).items()
    }


@pytest.mark.parametrize("name", kt.zoo.names())
def test_in_cpp(name, load_and_run, record, tmp_path):
    folder, card = kt.zoo.path(name), kt.zoo.card(name)
    requests = warm_up_requests(folder / "1")
    assert {signature: sorted(inputs) for signature, inputs in requests.items()} == {
        signature: sorted(inputs) for signature, inputs in card["inputs"].items()
    }
    got = replies(load_and_run, folder / "1", requests, tmp_path)
    got = {f"{signature}/{key}": value for signature, reply in got.items() for key, value in reply.items()}
    assert set(got) == {f"{signature}/{key}" for signature, keys in card["outputs"].items() for key in keys}
    model, seconds = served(name)
    with np.load(folder / "answers.npz") as kept:
        stated = dict(kept)
    largest = {}
    for said, expected in {"card": stated, "keras": answer(model, folder / "1", requests)}.items():
        assert set(expected) == set(got)
        for key, value in expected.items():
            if value.dtype.kind == "f":
                scale = max(1.0, np.abs(value).max())
                largest[said] = max(largest.get(said, 0.0), float(np.abs(got[key] - value).max() / scale))
            else:
                same = got[key].astype("S") == value.astype("S") if value.dtype.kind in "SO" else got[key] == value
                assert same.all(), (said, key)
    megabytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
    figures = {"largest_difference_cpp": largest, "seconds_to_load": seconds, "megabytes": megabytes}
    record("zoo", {name: {**figures, "metrics": card["metrics"], "parameters": card["parameters"]}})
    assert max(largest.values()) <= 1e-4
