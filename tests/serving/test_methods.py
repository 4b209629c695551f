"""Every method, exported with classes where it has some: in another process, and in TensorFlow's C++ loader.

`KERAS_TRANSFER_RESULTS=results pytest tests/serving` writes what it measures to `results/methods.json`.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt
from tests.contract import ARCHITECTURES, CLASSES, METHODS
from tests.serving.cpp import replies, warm_up_requests

NAMES = [f"class {i}" for i in range(CLASSES)]
HEADS = ("DANN", "CDAN", "MCD", "ADDA", "DAN", "DeepCORAL", "L2SP", "Distillation", "MAML", "ANIL", "Reptile")
HEADS += ("EWC", "ICaRL", "SetFit")
EMBED = {"serving_default", "embed"}
ADAPT = {"serving_default", "adapt_and_classify"}
EPISODES = {**dict.fromkeys(("MAML", "ANIL", "Reptile"), ADAPT), "MatchingNetwork": {*EMBED, "classify_episode"}}
EPISODES["PrototypicalNetwork"] = {*EMBED, "classify_episode", "prototypes", "merge", "classify"}
EPISODES |= dict.fromkeys(
    ("LabelDescriptions", "BilinearCompatibility", "ESZSL", "SAE"), {*EMBED, "embed_class", "score", "score_all"}
)
TASKS = {"serving_default", "whole", "half"}


def classes(name):
    return {"whole": NAMES} if name in ARCHITECTURES else NAMES if name in HEADS else None


def signatures(name):
    """The signatures that a client finds."""
    if name in ARCHITECTURES:
        return TASKS if name in ("SoftSharing", "CrossStitch") else TASKS | EMBED
    return EPISODES.get(name, EMBED)


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """What `verify_all` takes, of every method after a training step."""
    made, folder = {}, tmp_path_factory.mktemp("saved_models")
    for name, row in METHODS.items():
        keras.utils.set_random_seed(0)
        model, x = row.make(), row.plain[0]
        model.train_on_batch(*row.batch)
        version = kt.export(model, folder / name, x, classes=classes(name), verify=False)
        made[name] = {"path": version, "model": model, "x": x}
    return made


def test_in_another_process(exports, record):
    found = dict(zip(exports, kt.serving.verify_all(list(exports.values()))))
    for name, result in found.items():
        assert set(result.differences) == signatures(name), name
        assert len(result.stored) == len(set(result.stored)) > 0
        assert max(result.from_predict.values()) <= 1e-4, name
    record("methods", {"largest_difference_other_process": {n: max(r.differences.values()) for n, r in found.items()}})


def test_what_is_stored_is_what_is_served(exports):
    for name in ("DANN", "MCD", "ADDA", "BYOL", "MAE"):  # not what only training needs: adversaries, teachers, decoders
        model = exports[name]["model"]
        (found,) = kt.serving.verify_all([exports[name]])
        parts = [part for part in model.served if part is not None]
        assert found.stored == sorted(weight.path for part in parts for weight in part.weights), name


def test_in_cpp(exports, load_and_run, record, tmp_path):
    """On the warm-up request of each signature; class names and ids follow from equal probabilities.

    Of methods with the same signatures, which another process has compared, one is enough.
    """
    largest, kinds = {}, {(*sorted(signatures(name)), str(classes(name))): name for name in exports}
    for name in kinds.values():
        export = exports[name]
        (tmp_path / name).mkdir()
        requests = warm_up_requests(export["path"])
        assert set(requests) == signatures(name)
        got = replies(load_and_run, export["path"], requests, tmp_path / name)
        served = export["model"].signatures(export["x"], classes=classes(name))
        for signature, request in requests.items():
            feed = {key: tf.constant(tf.make_ndarray(value)) for key, value in request.items()}
            expected = served[signature].answer(feed)
            assert set(got[signature]) == set(expected)
            for key, value in expected.items():
                value = value.numpy()
                if value.dtype.kind == "f":
                    difference = float(np.max(np.abs(got[signature][key] - value)))
                    largest[name] = max(largest.get(name, 0.0), difference)
                else:
                    np.testing.assert_array_equal(got[signature][key], value, err_msg=f"{name} {signature} {key}")
    record("methods", {"largest_difference_cpp": largest})
    assert max(largest.values()) <= 1e-5
