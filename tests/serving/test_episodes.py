import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt
from tests.contract import METHODS, episode_batch

rng = np.random.default_rng(0)


def episode(ways, shots, queries):
    labels = rng.permutation(np.repeat(np.arange(ways), shots)).astype("int32")
    return rng.normal(size=(ways * shots, 8)).astype("float32"), labels, rng.normal(size=(queries, 8)).astype("float32")


def verified(version, model, episodes):
    """What `verify_all` finds for each episode."""
    made = ({"support": (support, labels), "query": query} for support, labels, query in episodes)
    return kt.serving.verify_all([{"path": version, "model": model, "x": x} for x in made])


@pytest.fixture(scope="module")
def models():
    made = {name: METHODS[name].make() for name in ("PrototypicalNetwork", "MatchingNetwork")}
    for name, model in made.items():
        model.train_on_batch(*METHODS[name].batch)
    made["PrototypicalNetwork"].calibrate([episode_batch(seed=5)[0]])
    return made


@pytest.fixture(scope="module")
def versions(models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    x = rng.normal(size=(6, 8)).astype("float32")
    return {name: kt.export(model, folder / name, x, metrics={"a": 1}, verify=False) for name, model in models.items()}


@pytest.fixture(scope="module")
def served(versions):
    loaded = {name: tf.saved_model.load(str(version)) for name, version in versions.items()}
    return {
        name: {s: model.signatures[s] for s in model.signatures} | {"keep": model} for name, model in loaded.items()
    }


def test_any_way_and_shot_in_a_fresh_process(models, versions):
    for name, model in models.items():
        weights = [*model.encoder.weights, *([model.unknown_distance] if name == "PrototypicalNetwork" else [])]
        for found in verified(versions[name], model, [episode(3, 1, 2), episode(7, 4, 1), episode(2, 3, 9)]):
            assert found.differences["classify_episode"] <= 1e-5
            assert found.stored == sorted(weight.path for weight in weights)
    with pytest.raises(ValueError, match="classify_episode/logits differs"):
        verified(versions["MatchingNetwork"], METHODS["MatchingNetwork"].make(), [episode(3, 1, 2)])


def test_signatures_and_card(versions, served):
    assert set(served["MatchingNetwork"]) == {"serving_default", "embed", "classify_episode", "keep"}
    more = {"prototypes", "merge", "classify"}
    assert set(served["PrototypicalNetwork"]) == set(served["MatchingNetwork"]) | more
    card = json.loads((versions["PrototypicalNetwork"] / kt.serving.CARD).read_text())
    assert card["outputs"]["classify"] == ["class_id", "distance", "logits", "probabilities"]
    assert card["inputs"]["classify_episode"]["labels"]["dtype"] == "int32" and card["metrics"] == {"a": 1}


def test_classes_that_come_later(served):
    """Prototypes of two calls, merged, answer as the prototypes of all examples at once."""
    serve = served["PrototypicalNetwork"]
    support, labels, query = map(tf.constant, episode(4, 6, 5))
    first = labels < 3
    known = serve["prototypes"](support=support[:10], labels=labels[:10])
    new = serve["prototypes"](support=support[10:], labels=labels[10:])
    merged = serve["merge"](**known, **{f"new_{name}": value for name, value in new.items()})
    whole = serve["prototypes"](support=support, labels=labels)
    for name in whole:
        np.testing.assert_allclose(merged[name], whole[name], atol=1e-5)
    np.testing.assert_array_equal(whole["counts"], [6, 6, 6, 6])
    at_once = serve["classify_episode"](support=support, labels=labels, query=query)
    later = serve["classify"](query=query, **merged)
    for name in at_once:
        np.testing.assert_allclose(later[name], at_once[name], atol=1e-4)
    three = serve["prototypes"](support=support[first], labels=labels[first])
    grown = serve["merge"](
        **three,
        **{f"new_{n}": v for n, v in serve["prototypes"](support=support[~first], labels=labels[~first]).items()},
    )
    np.testing.assert_array_equal(grown["counts"], [6, 6, 6, 6])
    np.testing.assert_allclose(grown["prototypes"], whole["prototypes"], atol=1e-5)


def test_labels_that_are_not_there_are_never_answered(served):
    serve = served["PrototypicalNetwork"]
    support, _, query = map(tf.constant, episode(2, 1, 40))
    known = serve["prototypes"](support=support, labels=tf.constant([0, 2]))
    np.testing.assert_array_equal(known["counts"], [1, 0, 1])
    answers = serve["classify"](query=query, **known)
    assert not answers["probabilities"][:, 1].numpy().any() and set(answers["class_id"].numpy()) <= {-1, 0, 2}


def test_unknown(models, served):
    support, labels, _ = episode(3, 5, 1)
    query = np.concatenate([support[:3], support[:3] + 100]).astype("float32")
    limit = models["PrototypicalNetwork"].unknown_distance.numpy()
    answers = served["PrototypicalNetwork"]["classify_episode"](support=support, labels=labels, query=query)
    far = answers["distance"].numpy() > limit
    np.testing.assert_array_equal(answers["class_id"].numpy() == -1, far)
    logits = answers["logits"].numpy()
    np.testing.assert_array_equal(answers["class_id"].numpy()[~far], logits.argmax(-1)[~far])
    np.testing.assert_allclose(answers["distance"], -logits.max(-1), rtol=1e-6)
    fresh = METHODS["PrototypicalNetwork"].make()
    assert fresh.unknown_distance.numpy() == np.finfo("float32").max  # nothing is unknown before `calibrate`


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("activation", [None, "tanh"])  # the tangent of infinity is a number
def test_a_query_that_is_no_number_is_unknown(value, activation, tmp_path):
    encoder = keras.Sequential([keras.Input((8,)), keras.layers.Dense(3, activation)])
    model = kt.models.PrototypicalNetwork(encoder)
    model.unknown_distance.assign(1e6)
    support, labels, query = episode(3, 2, 4)
    loaded = tf.saved_model.load(str(kt.export(model, tmp_path, support, verify=False)))
    query[1, 2] = value
    answers = loaded.signatures["classify_episode"](support=support, labels=labels, query=query)
    assert answers["class_id"][1] == -1 and (answers["class_id"].numpy()[[0, 2, 3]] >= 0).all()
    support[0, 0] = np.nan  # an example of one class: how near any query is to it is not known
    answers = loaded.signatures["classify_episode"](support=support, labels=labels, query=query)
    assert (answers["class_id"].numpy() == -1).all()


def test_without_any_class_all_is_unknown(served):
    nothing = {"prototypes": np.zeros((2, 5), "float32"), "counts": np.zeros(2, "float32")}
    width = served["PrototypicalNetwork"]["prototypes"].structured_outputs["prototypes"].shape[-1]
    nothing["prototypes"] = np.zeros((2, width), "float32")
    answers = served["PrototypicalNetwork"]["classify"](query=np.zeros((3, 8), "float32"), **nothing)
    np.testing.assert_array_equal(answers["class_id"], [-1] * 3)


def test_one_integer_does_not_decide_the_memory(served):
    """30 million classes of an episode of 3 rows would take 3 GiB."""
    support, _, query = episode(3, 1, 2)
    for far, message in ((3 * 10**7, "below the number of rows and 4,096"), (2**31 - 1, "below the number of rows")):
        labels = np.array([0, 1, far], "int32")
        for name, signature, more in (
            ("PrototypicalNetwork", "prototypes", {}),
            ("PrototypicalNetwork", "classify_episode", {"query": query}),
            ("MatchingNetwork", "classify_episode", {"query": query}),
        ):
            with pytest.raises(tf.errors.InvalidArgumentError, match=message):
                served[name][signature](support=support, labels=labels, **more)
    later = served["PrototypicalNetwork"]["prototypes"](support=support, labels=np.array([40, 40, 41], "int32"))
    np.testing.assert_array_equal(later["counts"], [0] * 40 + [2, 1])  # the 41st and 42nd class, of 3 rows


def test_one_count_does_not_stand_for_all(served):
    serve = served["PrototypicalNetwork"]
    support, labels, query = episode(3, 1, 2)
    known = serve["prototypes"](support=support, labels=labels)
    new = {f"new_{name}": value for name, value in known.items()}
    for signature, more in (("classify", {"query": query}), ("merge", new)):
        with pytest.raises(tf.errors.InvalidArgumentError, match="one of `counts` for each row of `prototypes`"):
            serve[signature](prototypes=known["prototypes"], counts=known["counts"][:1], **more)


@pytest.mark.parametrize(
    "support, labels, message",
    [
        (3, [0, 1], "one label for each row"),
        (2, [-1, 0], "`labels` of at least 0"),
        (2, [0, 2], "from 0 to classes - 1, each at least once"),
        (0, [], "support of at least 1 row"),
    ],
)
def test_bad_episodes(served, support, labels, message):
    x = {
        "support": np.zeros((support, 8), "float32"),
        "labels": np.array(labels, "int32"),
        "query": np.zeros((1, 8), "float32"),
    }
    for name in ("PrototypicalNetwork", "MatchingNetwork"):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            served[name]["classify_episode"](**x)


def test_a_query_of_another_shape(served):
    support, labels, _ = episode(2, 1, 1)
    with pytest.raises(Exception, match="(?i)shape|incompatible"):
        served["MatchingNetwork"]["classify_episode"](support=support, labels=labels, query=np.zeros((1, 5), "float32"))


def test_bad_input(models, tmp_path):
    unbuilt = kt.models.PrototypicalNetwork(keras.Sequential([keras.layers.Dense(3)]))
    with pytest.raises(ValueError, match="built model"):
        kt.export(unbuilt, tmp_path / "a", np.zeros((4, 8)), verify=False)
    with pytest.raises(ValueError, match="at least 2 rows in `x`, a support and a query; received 1"):
        kt.export(models["MatchingNetwork"], tmp_path / "a", np.zeros((1, 8)), verify=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["MAML", "ANIL", "Reptile"])
def test_adaptation_is_served(name, tmp_path):
    """The inner steps are part of the graph; any shot and number of queries."""
    keras.utils.set_random_seed(0)
    model = METHODS[name].make()
    model.train_on_batch(*METHODS[name].batch)
    version = kt.export(model, tmp_path, rng.normal(size=(6, 8)).astype("float32"), outputs="logits", verify=False)
    episodes = [episode(3, 1, 2), episode(3, 4, 1), episode(2, 3, 9)]
    for found in verified(version, model, episodes):
        assert set(found.differences) == {"serving_default", "adapt_and_classify"}
    serve = tf.saved_model.load(str(version)).signatures["adapt_and_classify"]
    support, labels, query = episodes[1]
    answers = serve(support=support, labels=labels, query=query)
    expected = model.adapt(support, labels).predict(query, verbose=0)
    np.testing.assert_allclose(answers["logits"], expected, atol=1e-5)
    np.testing.assert_array_equal(answers["class_id"], expected.argmax(-1))
    for bad, message in ((labels + 1, "`labels` below 3"), (labels - 1, "`labels` of at least 0")):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            serve(support=support, labels=bad, query=query)
    with pytest.raises(tf.errors.InvalidArgumentError, match="one label for each row"):
        serve(support=support, labels=labels[:-1], query=query)


def test_regression_is_served(tmp_path):
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(8, "tanh"), keras.layers.Dense(1)])
    model = kt.models.MAML(network, rate=0.05, test_steps=3)
    model.compile("adam", "mse")
    x, y = kt.datasets.sinusoids(3, seed=0)
    model.train_on_batch(x, y)
    points, targets = x["support"]
    version = kt.export(model, tmp_path, {"support": (points[0], targets[0]), "query": x["query"][0]}, verify=False)
    episodes = [(points[1], targets[1], x["query"][1]), (points[2][:4], targets[2][:4], x["query"][2][:2])]
    for found in verified(version, model, episodes):
        assert set(found.differences) == {"serving_default", "adapt_and_predict"}
    serve = tf.saved_model.load(str(version)).signatures["adapt_and_predict"]
    got = serve(support=points[1], targets=targets[1], query=x["query"][1])["prediction"]
    np.testing.assert_allclose(got, model.adapt(points[1], targets[1]).predict(x["query"][1], verbose=0), atol=1e-5)
