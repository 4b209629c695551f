"""Each use of a private name of Keras, tried; and a reading of the package that finds none anywhere else."""

import ast
import importlib
import inspect
import pathlib
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt
from keras_transfer import keras_internals

PACKAGE = pathlib.Path(keras_internals.__file__).parent
OF_NAMED_TUPLES = {"_asdict", "_fields", "_make", "_replace"}  # these are public, only named so
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(12, 3)).astype("float32"), RNG.normal(size=(12, 2)).astype("float32")


def network():
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="inside")], name="inner")
    layers = [
        keras.Input((3,)),
        keras.layers.Dense(4, name="first"),
        keras.layers.BatchNormalization(name="norm"),
        inner,
    ]
    return keras.Sequential(layers, name="outer")


# The functions.


def test_child_layers():
    attention = keras.layers.MultiHeadAttention(2, 4)
    attention.build((None, 5, 8), (None, 5, 8))
    assert [type(layer).__name__ for layer in keras_internals.child_layers(attention)][:3] == ["EinsumDense"] * 3
    assert keras_internals.child_layers(keras.layers.Dense(3)) == []


def test_made_by():
    x = keras.Input((3,))
    layer = keras.layers.Dense(4)
    between = layer(x)
    parts = keras.ops.split(between, 2, axis=1)
    operation, place, inputs = keras_internals.made_by(keras.Model(x, parts).outputs[1])
    assert (type(operation).__name__, place, inputs) == ("Split", 1, [between])
    assert keras_internals.made_by(between) == (layer, 0, [x])
    assert keras_internals.made_by(x)[1:] == (0, [])


def test_made_of():
    arrays = tf.data.Dataset.from_tensor_slices(X)
    (before,) = keras_internals.made_of(arrays.batch(2))
    assert before is arrays and keras_internals.made_of(arrays) == []
    assert len(keras_internals.made_of(tf.data.Dataset.zip(arrays, arrays))) == 2


def test_all_layers():
    model = network()
    found = keras_internals.all_layers(model)
    names = [layer.name for layer in found if not isinstance(layer, keras.layers.InputLayer)]
    assert found[0] is model and len(found) == len(set(map(id, found)))
    named = [name for name in names if not name.startswith("functional")]
    assert named == ["outer", "first", "norm", "inner", "inside"]


def test_all_layers_takes_a_shared_layer_once():
    shared = keras.layers.Dense(3)
    x = keras.Input((3,))
    model = keras.Model(x, keras.Sequential([shared])(shared(x)))
    assert keras_internals.all_layers(model).count(shared) == 1


def test_own_variables():
    model = network()
    norm = model.get_layer("norm")
    model.trainable = False
    assert [v.name for v in keras_internals.own_parameters(norm)] == ["gamma", "beta"]  # frozen or not
    assert [v.name for v in keras_internals.own_state(norm)] == ["moving_mean", "moving_variance"]
    assert keras_internals.own_parameters(model) == keras_internals.own_state(model) == []  # all are its layers'


def test_is_replaced():
    variable = keras.Variable([1.0, 2.0], autocast=False)
    assert not keras_internals.is_replaced(variable)
    with keras.StatelessScope([(variable, keras.ops.ones(2))]):
        assert keras_internals.is_replaced(variable)
    assert not keras_internals.is_replaced(variable)


def test_compiled_loss():
    model = network()
    assert keras_internals.compiled_loss(model) is None
    model.compile("sgd", "mae")
    loss = keras_internals.compiled_loss(model)(Y, 0 * Y, np.ones(len(Y), "float32"))
    np.testing.assert_allclose(loss, np.abs(Y).mean(), rtol=1e-6)


def test_loss_weights():
    model = network()
    assert keras_internals.loss_weights(model) is None
    model.compile("sgd", "mse", loss_weights=0.5)
    assert keras_internals.loss_weights(model) == 0.5


def test_resolved_loss():
    """A function, a name that depends on the shapes, and a loss, as `compile` takes them."""
    y, p = np.array([1.0, 0.0, 1.0], "float32"), np.array([[0.5], [0.25], [0.5]], "float32")
    for loss, expected in [
        (lambda y, p: keras.ops.mean(keras.ops.square(y - p), axis=-1), np.mean([0.25, 0.0625, 0.25])),
        ("mse", np.mean([0.25, 0.0625, 0.25])),
        ("crossentropy", -np.mean(np.log([0.5, 0.75, 0.5]))),
        (keras.losses.MeanAbsoluteError(), np.mean([0.5, 0.25, 0.5])),
    ]:
        found = keras_internals.resolved_loss(loss, y, p)
        np.testing.assert_allclose(found(y, p), expected, rtol=1e-5)


def test_same_rank():
    label, prediction = keras_internals.same_rank(Y[:, 0], Y[:, :1])
    assert label.shape == prediction.shape == (12, 1)


@pytest.mark.parametrize(
    ("loss", "is_by_entries"),
    [
        ("mse", True),
        ("binary_crossentropy", True),
        (keras.losses.Huber(2.0), True),
        (keras.losses.BinaryCrossentropy(axis=1), False),
        ("categorical_crossentropy", False),
        ("cosine_similarity", False),
        (lambda y, p: keras.ops.mean(y - p, axis=-1), False),
    ],
)
def test_is_by_entries(loss, is_by_entries):
    """Whether the loss of a row is the mean of the losses of its entries, by values too."""
    loss = keras_internals.resolved_loss(loss, Y, Y)
    assert keras_internals.is_by_entries(loss) == is_by_entries
    if is_by_entries:
        y, p = (Y > 0).astype("float32"), np.float32(1 / (1 + np.exp(-Y[::-1])))
        np.testing.assert_allclose(loss.call(y[..., None], p[..., None]).numpy().mean(1), loss.call(y, p), rtol=1e-5)


def test_mask_of():
    embedding = keras.layers.Embedding(5, 3, mask_zero=True)
    found = keras_internals.mask_of(embedding(np.array([[1, 0]])))
    np.testing.assert_array_equal(found, [[True, False]])
    assert keras_internals.mask_of(tf.constant(1.0)) is None


def test_compiled_metrics():
    model = network()
    model.compile("sgd", "mse")
    assert keras_internals.compiled_metrics(model) is None
    assert keras_internals.unweighted_metrics(model) is None
    weights = np.arange(len(Y), dtype="float32")
    model.compile("sgd", "mse", metrics=["mae"], weighted_metrics=["mse"])
    metrics = keras_internals.compiled_metrics(model)
    metrics.update_state(Y, 0 * Y, weights)
    result = metrics.result()
    np.testing.assert_allclose(result["mae"], np.abs(Y).mean(), rtol=1e-6)
    np.testing.assert_allclose(result["mse"], np.average((Y**2).mean(1), weights=weights), rtol=1e-6)
    assert keras_internals.unweighted_metrics(model) == ["mae"]
    model.compile("sgd", "mse", weighted_metrics=["mse"])
    assert keras_internals.unweighted_metrics(model) is None


def test_loss_tracker():
    model = network()
    model.compile("sgd", "mse")
    tracker = keras_internals.loss_tracker(model)
    logged = model.evaluate(X, Y, verbose=0)
    assert logged == float(tracker.result())
    tracker.update_state(100.0)
    assert model.get_metrics_result()["loss"] > logged + 1.0


def test_given_rate():
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 10)
    assert keras_internals.given_rate(keras.optimizers.SGD(schedule)) is schedule
    assert keras_internals.given_rate(keras.optimizers.SGD(0.5)).numpy() == 0.5


def test_give_rate():
    optimizer = keras.optimizers.SGD(0.5)
    keras_internals.give_rate(optimizer, keras.optimizers.schedules.PiecewiseConstantDecay([1], [0.25, 0.125]))
    assert float(optimizer.learning_rate) == 0.25
    assert "learning_rate" in [variable.name for variable in optimizer.variables]  # unlike by the public setter


def test_variable_index():
    optimizer, model = keras.optimizers.SGD(), network()
    optimizer.build(model.trainable_variables)
    places = [keras_internals.variable_index(optimizer, variable) for variable in model.trainable_variables]
    assert places == list(range(6))


@keras.saving.register_keras_serializable(package="tests")
class Asks(keras.layers.Layer):
    """A layer that notes the safe mode under which it is made."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.heard = keras_internals.in_safe_mode()

    def call(self, x):
        return x


def test_in_safe_mode(tmp_path):
    model = keras.Sequential([keras.Input((2,)), Asks()])
    assert model.layers[-1].heard is None
    model.save(tmp_path / "asks.keras")
    for mode in (True, False):
        loaded = keras.saving.load_model(tmp_path / "asks.keras", safe_mode=mode)
        assert loaded.layers[-1].heard is mode


def test_places_in_file(tmp_path):
    h5py = pytest.importorskip("h5py")
    model = network()
    model.save_weights(tmp_path / "model.weights.h5")
    variables, names = keras_internals.places_in_file(model)
    found = {(place, key): variable for place, keys in variables.items() for key, variable in keys.items()}
    assert {id(variable) for variable in found.values()} == {id(weight) for weight in model.weights}
    with h5py.File(tmp_path / "model.weights.h5") as file:
        for (place, key), variable in found.items():
            np.testing.assert_array_equal(file[f"{place}/vars/{key}"], variable.numpy())
            assert file[f"{place}/vars"].attrs["name"] == names[place]
    assert {"first", "norm", "inside"} <= set(names.values())


class Counted(keras_internals.Trainer):
    """A model that counts its steps, which reads no data."""

    def __init__(self):
        super().__init__()
        self.dense, self.steps = keras.layers.Dense(2), self.add_weight(shape=(), dtype="int32", trainable=False)

    def call(self, x):
        return self.dense(x)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        if training:
            self.steps.assign_add(1)
        return super().compute_loss(x, y, y_pred, sample_weight)


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_a_trainer_takes_no_step_without_data():
    model = Counted()
    model.compile("sgd", "mse")
    unknown = tf.data.Dataset.from_tensor_slices((X, Y)).batch(4).filter(lambda x, y: True)
    model.fit(unknown, epochs=2, verbose=0)
    assert model.steps.numpy() == 6


def test_a_trainer_needs_built_networks_with_several_workers(monkeypatch):
    """With them, `test_workers_equal_one_process` trains on two."""
    model = Counted()
    model.compile("sgd", "mse")
    monkeypatch.setattr(keras_internals.Trainer, "_multi_worker", True)
    with pytest.raises(ValueError, match="Expected built networks under MultiWorkerMirroredStrategy"):
        model.train_on_batch(X, Y)


# The package.


def private(name):
    return name.startswith("_") and not name.startswith("__") and name != "_" and name not in OF_NAMED_TUPLES


def names_of_keras(cls):
    """The private names that the classes of Keras above a class define or assign."""
    found = set()
    for base in cls.__mro__:
        if base.__module__.partition(".")[0] == "keras":
            found |= set(filter(private, vars(base)))
            source = ast.parse(textwrap.dedent(inspect.getsource(base)))
            found |= {n.attr for n in ast.walk(source) if isinstance(n, ast.Attribute) and private(n.attr)}
    return found


def of_keras_in(module_source, classes):
    """Private names of Keras that the classes of a module define, assign, call or read on themselves."""
    for node in ast.walk(module_source):
        if isinstance(node, ast.ClassDef) and node.name in classes:
            theirs = names_of_keras(classes[node.name])
            for part in ast.walk(node):
                name = part.attr if isinstance(part, ast.Attribute) else getattr(part, "name", None)
                if name in theirs:
                    yield f"line {part.lineno}: {name} of Keras in {node.name}"


def of_others_in(module_source):
    """Private attributes of what is neither this object nor of a class of this module, and imports of private names."""
    own = {f.name for f in ast.walk(module_source) if isinstance(f, ast.FunctionDef | ast.ClassDef)}
    own |= {n.attr for n in ast.walk(module_source) if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store)}
    by_name = ("getattr", "hasattr", "setattr", "delattr", "attrgetter", "methodcaller")
    for node in ast.walk(module_source):
        if isinstance(node, ast.Attribute) and private(node.attr):
            itself = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            parent = isinstance(node.value, ast.Call) and getattr(node.value.func, "id", None) == "super"
            if not itself and not parent and node.attr not in own:
                yield f"line {node.lineno}: {node.attr} of another object"
        elif isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", None)) in by_name:
            texts = [part.value for part in node.args if isinstance(part, ast.Constant) and isinstance(part.value, str)]
            yield from (f"line {node.lineno}: {text} by name" for text in texts if private(text) and text not in own)
        elif isinstance(node, ast.ImportFrom):
            inside = (node.module or "").startswith("keras.src")
            names = ["keras.src"] if inside else [alias.name for alias in node.names]
            yield from (f"line {node.lineno}: imports {name}" for name in names if inside or private(name))
        elif isinstance(node, ast.Import):
            yield from (f"line {node.lineno}: imports {a.name}" for a in node.names if a.name.startswith("keras.src"))
        if isinstance(node, ast.Attribute) and node.attr == "src" and getattr(node.value, "id", None) == "keras":
            yield f"line {node.lineno}: keras.src"


def classes_of(module):
    return {name: value for name, value in vars(module).items() if inspect.isclass(value)}


FILES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.glob("**/*.py") if path.name != "keras_internals.py")


@pytest.mark.parametrize("path", FILES, ids=str)
def test_no_other_file_uses_a_private_name_of_keras(path):
    source = ast.parse((PACKAGE / path).read_text(encoding="utf-8"))
    parts = [part for part in path.with_suffix("").parts if part != "__init__"]
    module = importlib.import_module(".".join(["keras_transfer", *parts]))
    assert [*of_others_in(source), *of_keras_in(source, classes_of(module))] == []


@pytest.mark.parametrize(
    "source, reason",
    [
        ("def f(model):\n    return model._layers", "_layers of another object"),
        ("def f(optimizers):\n    return optimizers[0]._learning_rate", "_learning_rate of another object"),
        ("def f(layer):\n    return layer.inner()._flatten_layers()", "_flatten_layers of another object"),
        ("def f(model):\n    return getattr(model, '_layers', ())", "_layers by name"),
        ("from operator import attrgetter\nf = attrgetter('_layers')", "_layers by name"),
        ("from keras.src.saving import saving_lib", "imports keras.src"),
        ("def f():\n    import keras.src.saving.saving_lib as lib", "imports keras.src.saving.saving_lib"),
        ("import keras\nf = keras.src.saving", "keras.src"),
        ("from keras_hub.models import _hidden", "imports _hidden"),
    ],
)
def test_the_reading_notices_others(source, reason):
    (found,) = of_others_in(ast.parse(source))
    assert found.endswith(reason)


def test_the_reading_lets_pass():
    source = """
    class Mine:
        def __init__(self, pair):
            self._pair = pair._replace(first=1)
        def _twice(self): return 2 * self._pair
        def like(self, other): return other._pair == self._pair and other._twice() and other.__class__
    """
    assert list(of_others_in(ast.parse(textwrap.dedent(source)))) == []


class Overrides(keras.Model):
    def _make_function(self, step_function):
        return super()._make_function(step_function)


class Reads(keras.optimizers.Optimizer):
    def update_step(self, gradient, variable, learning_rate):
        return self._get_variable_index(variable)


class Assigns(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self._losses = []


class OfItsOwn(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self._factors = self._made()

    def _made(self):
        return []


@pytest.mark.parametrize(
    "cls, found",
    [
        (Overrides, {"_make_function"}),
        (Reads, {"_get_variable_index"}),
        (Assigns, {"_losses"}),
        (OfItsOwn, set()),
        (
            keras_internals.Trainer,
            {"_make_function", "_maybe_symbolic_build", "_symbolic_build", "_distribute_strategy"},
        ),
    ],
)
def test_the_reading_notices_names_of_keras_on_itself(cls, found):
    source = ast.parse(inspect.getsource(cls))
    assert {line.split()[2] for line in of_keras_in(source, {cls.__name__: cls})} == found


def test_data_of_a_fit_are_checked_once_and_before_it():
    """Those of the validation too, not again after each epoch."""
    checked = []

    class Checking(keras_internals.Trainer):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(2)

        def call(self, x):
            return self.dense(x)

        def check_data(self, x=None, y=None, *_, **__):
            checked.append(len(x))

    model = Checking()
    model.compile("sgd", "mse")
    model.fit(X, Y, epochs=3, validation_data=(X[:5], Y[:5]), verbose=0)
    assert checked == [12, 5]
    model.evaluate(X[:4], Y[:4], verbose=0)
    assert checked == [12, 5, 4]


@pytest.mark.parametrize("data", ["arrays", "dataset", "batch"])
def test_a_first_step_is_traced_once_and_is_the_same(data, monkeypatch):
    """Keras's own is traced twice, the first time for the variables that it makes."""
    steps = []

    class Counting(keras_internals.Trainer):
        def __init__(self):
            super().__init__()
            self.network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.Dropout(0.5)])

        def call(self, x, training=False):
            return self.network(x, training=training)

        def train_step(self, data):
            steps.append(data)
            return super().train_step(data)

    def trained():
        keras.utils.set_random_seed(0)
        model = Counting()
        model.compile("adam", "mse", metrics=["mae"])
        model.evaluate(X, Y, verbose=0)
        assert not model.optimizer.built  # which takes memory that only training needs
        model.compile("adam", "mse", metrics=["mae"])
        steps.clear()
        if data == "batch":
            model.train_on_batch(X, Y)
            model.train_on_batch(X, Y)
        else:
            dataset = tf.data.Dataset.from_tensor_slices((X, Y)).batch(6)
            model.fit(*([X, Y] if data == "arrays" else [dataset]), shuffle=False, epochs=2, verbose=0)
        return [value.numpy() for value in (*model.weights, *model.optimizer.variables)], len(steps)

    found, once = trained()
    monkeypatch.setattr(keras_internals.Trainer, "_build_before_tracing", lambda *_: None)
    expected, twice = trained()
    assert (once, twice) == (1, 2)
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("wrong", ["plain", "rank of labels", "no labels", "width"])
def test_a_first_fit_that_failed_leaves_the_model_usable(wrong):
    x, y = RNG.normal(size=(32, 8)).astype("float32"), np.arange(32) % 2
    model = kt.models.DAN(keras.Sequential([keras.layers.Dense(6)]), keras.Sequential([keras.layers.Dense(2)]))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    streams = {"source": x, "target": x}
    bad = {
        "plain": (x, y),
        "rank of labels": (streams, np.zeros((32, 3, 3))),
        "no labels": (streams,),
        "width": ({"source": x, "target": x[:, :7]}, y),
    }[wrong]
    with pytest.raises(ValueError):
        model.fit(*bad, verbose=0)
    losses = model.fit(streams, y, epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0] and model.optimizer.iterations.numpy() == 3
    with pytest.raises(ValueError):
        model.train_on_batch(*bad)
    assert np.isfinite(model.train_on_batch(streams, y)[0])
    if wrong != "plain":  # which it may be evaluated on
        with pytest.raises(ValueError):
            model.evaluate(*bad, verbose=0)
    assert np.isfinite(model.evaluate(streams, y, verbose=0)[0])
