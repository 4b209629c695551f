import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt
from tests.contract import ARCHITECTURES, DIM, METHODS, each, encoder, experts, heads, of_tasks, tasks

(X, Y), _ = tasks()
on_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="gradients are weighed in TensorFlow"
)


def trained(name, weighting, x=X, y=Y):
    """A model after one step of plain SGD."""
    keras.utils.set_random_seed(0)
    model = ARCHITECTURES[name](weighting=weighting, missing=-1)
    of_tasks(model, keras.optimizers.SGD(1.0), run_eagerly=True).train_on_batch(x, y)
    return model


def test_every_method_of_several_tasks_is_here():
    assert set(ARCHITECTURES) == {name for name, row in METHODS.items() if hasattr(row.make(), "heads")}


@on_tensorflow
@pytest.mark.parametrize("on", ["parameters", "representation"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_without_strength_cagrad_is_the_plain_sum(name, on):
    """Regularisers and the pull count once; what one task alone trains takes its own gradient."""
    for found, expected in zip(
        *(trained(name, w).trainable_variables for w in (kt.weightings.CAGrad(0.0, on), None)), strict=True
    ):
        np.testing.assert_allclose(found, expected, atol=2e-6, err_msg=expected.path)


@on_tensorflow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_weight_is_shared_if_more_than_one_task_moves_it(name):
    """Found by training on the labels of one task alone; the pull and regularisers move weights without any."""
    none = np.full(len(X), -1)
    rest = trained(name, None, y=dict.fromkeys(Y, none))
    moves = []
    for task in Y:
        model = trained(name, None, y={**dict.fromkeys(Y, none), task: Y[task]})
        moves.append([not np.allclose(a, b, atol=1e-7) for a, b in zip(model.get_weights(), rest.get_weights())])
    shared = {id(v) for v in model.shared_variables}
    for variable, *moved in zip(model.weights, *moves):
        if variable.trainable and name != "SoftSharing":
            assert all(moved) == (id(variable) in shared), variable.path
        assert any(moved) or not variable.trainable, variable.path


@on_tensorflow
@pytest.mark.parametrize(
    ("name", "every", "alone"),
    [
        ("SharedEncoder", 6, 4),
        ("SoftSharing", 8, 4),
        ("CrossStitch", 18, 14),  # without the other's last stage and head
        ("MixtureOfExperts", 12, 9),  # without the other's gate and head
        ("ProgressiveExtraction", 35, 28),  # without the other's last two experts, last gate and head
    ],
)
def test_a_task_alone_reads_no_more_than_it_needs(name, every, alone):
    import tensorflow as tf

    model = ARCHITECTURES[name]()
    model.build((None, X.shape[1]))
    signatures = model.signatures(X)
    for name, answered, number in (("serving_default", set(Y), every), ("half", {"half"}, alone)):
        served = tf.function(signatures[name].answer).get_concrete_function(signatures[name].request)
        assert set(served.structured_outputs) == answered
        assert len(served.variables) == number


def test_sharing_helps_a_task_with_few_labels():
    """`half` has 12 labels, and the same boundary as `whole`, which has 1,000."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2400, X.shape[1])).astype("float32")
    label = (np.tanh(1.5 * x @ rng.normal(size=(X.shape[1], 6))) @ rng.normal(size=6) > 0).astype("int32")
    y = {"whole": label[:1000], "half": np.where(np.arange(1000) < 12, label[:1000], -1)}

    def accuracy(model, x_train, y_train):
        model.fit(tf.data.Dataset.from_tensors((x_train, y_train)).repeat(60), verbose=0)  # one epoch, set up once
        logits = model(x[1000:], training=False)
        logits = keras.ops.convert_to_numpy(logits["half"] if isinstance(logits, dict) else logits)
        return np.mean(logits.argmax(1) == label[1000:])

    keras.utils.set_random_seed(0)
    single = keras.Sequential([encoder(), heads()["half"]])
    single.compile(keras.optimizers.Adam(0.02), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    alone = accuracy(single, x[:12], label[:12])
    for name, make in ARCHITECTURES.items():
        keras.utils.set_random_seed(0)
        model = of_tasks(make(missing=-1), keras.optimizers.Adam(0.02))
        assert accuracy(model, x[:1000], y) > alone + 0.03, name


NO_NETWORKS = {
    "encoder": lambda: kt.models.SharedEncoder(lambda x, training: x, heads(), WEIGHTING),
    "heads['half']": lambda: kt.models.SharedEncoder(encoder(), {**heads(), "half": None}, WEIGHTING),
    "towers['half']": lambda: kt.models.SoftSharing(
        {**each(encoder), "half": [encoder()]}, heads(), weighting=WEIGHTING
    ),
    "towers['whole'][1]": lambda: kt.models.CrossStitch(
        each(lambda: [encoder(), "relu"]), heads(), weighting=WEIGHTING
    ),
    "experts[1]": lambda: kt.models.MixtureOfExperts(encoder(), [experts()[0], keras.layers.Dense], heads(), WEIGHTING),
    "shared_experts[0][1]": lambda: kt.models.ProgressiveExtraction(
        encoder(), [[experts()[0], None]], each(lambda: [experts()]), heads(), WEIGHTING
    ),
    "task_experts['whole'][0][0]": lambda: kt.models.ProgressiveExtraction(
        encoder(), [experts()], each(lambda: [[keras.activations.relu, *experts()]]), heads(), WEIGHTING
    ),
}
WEIGHTING = kt.weightings.DynamicWeightAverage(steps=1)


@pytest.mark.parametrize("name", NO_NETWORKS)
def test_what_is_no_network(name):
    """It is named by its place; the weighting is free for the model that is made when the mistake is mended."""
    with pytest.raises(ValueError, match=f"Expected `{re.escape(name)}` to be a network.*; received "):
        NO_NETWORKS[name]()
    assert not WEIGHTING.joined


def test_lists_of_networks():
    with pytest.raises(ValueError, match=r"Expected `towers\['whole'\]` to be a list of networks; received <Seq"):
        kt.models.CrossStitch(each(encoder), heads())
    with pytest.raises(ValueError, match="Expected `experts` to be a list of networks; received .*Sequential"):
        kt.models.MixtureOfExperts(encoder(), keras.Sequential(experts()), heads())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_head_of_probabilities_behind_a_loss_of_logits(name):
    """Keras would take the softmax of a softmax and train on, more slowly, to a wrong number."""
    model = ARCHITECTURES[name](missing=-1)
    model.heads["half"].layers[-1].activation = keras.activations.softmax
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), run_eagerly=True)
    with pytest.raises(ValueError, match=r"Expected `heads\['half'\]` to return logits, as the compiled loss"):
        model.train_on_batch(X, Y)
    model.compile("sgd", each(lambda: "sparse_categorical_crossentropy"), run_eagerly=True)
    assert np.isfinite(model.train_on_batch(X, Y)).all()


def test_errors_of_architectures():
    with pytest.raises(ValueError, match=r"a tower for each of the tasks .* received none for \['half'\]"):
        kt.models.SoftSharing({"whole": encoder()}, heads())
    with pytest.raises(ValueError, match="other names than `pull`"):
        kt.models.SoftSharing(
            {"pull": encoder(), "half": encoder()}, {"pull": heads()["half"], "half": heads()["half"]}
        )
    with pytest.raises(ValueError, match="same number of stages, at least 2; received {'whole': 1, 'half': 1}"):
        kt.models.CrossStitch(each(lambda: [encoder()]), heads())
    with pytest.raises(ValueError, match="at least 2 experts; received 1"):
        kt.models.MixtureOfExperts(encoder(), experts()[:1], heads())
    with pytest.raises(ValueError, match=r"on as many levels; received shared \[2\], own {'whole': \[2, 2\]"):
        kt.models.ProgressiveExtraction(encoder(), [experts()], each(lambda: [experts(), experts()]), heads())
    towers = {"whole": encoder(), "half": keras.Sequential([encoder(), keras.layers.Dense(DIM)])}
    with pytest.raises(ValueError, match="towers with weights of the same shapes"):
        of_tasks(kt.models.SoftSharing(towers, heads(), missing=-1)).train_on_batch(X, Y)
