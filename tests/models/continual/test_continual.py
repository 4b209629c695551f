"""What holds of all methods that learn tasks one after another: the loop, growing, going on, bad input."""

import keras
import numpy as np
import pytest

import keras_transfer as kt
from tests.models.continual import toy

m = kt.models
METHODS = {
    "EWC": lambda *networks, **more: m.EWC(*networks, 100.0, **more),
    "SynapticIntelligence": lambda *networks, **more: m.SynapticIntelligence(*networks, 3.0, **more),
    "MAS": lambda *networks, **more: m.MAS(*networks, 1.0, **more),
    "LwF": lambda *networks, **more: m.LwF(*networks, **more),
    "ExperienceReplay": lambda *networks, **more: m.ExperienceReplay(*networks, toy.buffer(networks), **more),
    "AGEM": lambda *networks, **more: m.AGEM(*networks, toy.buffer(networks), **more),
    "DERpp": lambda *networks, **more: m.DERpp(*networks, toy.buffer(networks), **more),
    "ICaRL": lambda *networks: m.ICaRL(*networks, toy.buffer(networks)),
    "GDumb": lambda *networks, **more: m.GDumb(*networks, toy.buffer(networks), **more),
}
every = pytest.mark.parametrize("make", METHODS.values(), ids=METHODS)


def naive(*networks):
    return m.EWC(*networks, 0.0)


def accuracy(make, relabel=False):
    """The mean over all pairs after the last; which row is of which pair is not known."""
    keras.utils.set_random_seed(0)
    outputs, units, rate, epochs = (2, 100, 0.01, 20) if relabel else (toy.CLASSES, 24, 0.03, 10)
    model = toy.compiled(make(*toy.networks(outputs, units)), rate)
    return np.mean(toy.learn(model, epochs=epochs, relabel=relabel))


@pytest.fixture(scope="module")
def left():
    """What is left by training on."""
    return accuracy(naive)


@pytest.mark.parametrize("name", [name for name in METHODS if name != "AGEM"])
def test_more_is_kept_than_by_training_on(name, left):
    assert accuracy(METHODS[name]) > left + 0.1 and left < 0.5


def test_a_gem_keeps_more_where_labels_stay():
    """It bounds a loss, which begins high where classes are new."""
    assert accuracy(METHODS["AGEM"], relabel=True) > accuracy(naive, relabel=True) + 0.03  # .05 to .07 on three seeds


def begun(make, tasks=None):
    """A model after its first task."""
    keras.utils.set_random_seed(0)
    arguments = {} if tasks is None else {"tasks": tasks}
    model = toy.compiled(make(*toy.networks(), **arguments), tasks=tasks)
    x, y = toy.tasks()[0]
    if model.fitted_first:
        toy.fit(model, x, y, epochs=1)
    model.consolidate(x, y)
    return model


@every
def test_a_model_with_more_classes_says_of_the_old_ones_what_it_said(make):
    model = begun(make)
    x, _ = toy.tasks()[0]
    larger = model.grow(2)
    np.testing.assert_allclose(larger.predict(x, verbose=0)[:, : toy.CLASSES], model.predict(x, verbose=0), atol=1e-5)
    assert larger.classes == 8 and int(larger.consolidated) == 1 and int(larger.step) == int(model.step)
    for name in ("information", "importance"):
        for old, new in zip(getattr(model, name, []), getattr(larger, name, [])):
            new = np.array(new)
            np.testing.assert_array_equal(new[tuple(map(slice, old.shape))], old)
            assert new.sum() == pytest.approx(np.array(old).sum(), rel=1e-5)  # nothing holds what is new
    if hasattr(model, "memory"):
        old, new = model.memory.held(), larger.memory.held()
        np.testing.assert_array_equal(old["x"], new["x"])
        assert "logits" not in new or np.isnan(new["logits"][:, toy.CLASSES :]).all()
    if model.optimizer.built:
        moments = [v for v in larger.optimizer.variables if v.path.endswith("kernel_momentum")]
        assert int(larger.optimizer.iterations) == int(model.optimizer.iterations)
        assert moments[-1].shape[-1] == 8 and not np.array(moments[-1])[:, toy.CLASSES :].any()
    y = np.int32([6, 7] * 8)
    if larger.fitted_first:
        toy.fit(larger, x[:16], y, epochs=1)
    larger.consolidate(x[:16], y)
    assert int(larger.consolidated) == 2
    assert int(model.grow(1, optimizer=False).optimizer.iterations) == 0


def test_a_task_is_added_with_its_classes():
    model = begun(METHODS["EWC"], toy.PAIRS)
    larger = model.grow(2, tasks=[*toy.PAIRS, [6, 7]])
    assert larger.tasks == [*toy.PAIRS, [6, 7]]
    with pytest.raises(ValueError, match="Expected `tasks` as the model has them"):
        model.grow(2)


def test_a_functional_head_and_a_layer_grow_too():
    encoder, _ = toy.networks()
    layer = keras.layers.Dense(3)
    layer.build((None, 24))
    inputs = keras.Input((24,))
    hidden = keras.layers.Dense(5, activation="relu")(inputs)
    for head in (layer, keras.Model(inputs, keras.layers.Dense(3)(hidden))):
        model = m.EWC(encoder, head)
        x = toy.rows()[0]
        np.testing.assert_allclose(model.grow(1)(x)[:, :3], model(x), atol=1e-6)
    pooled = keras.Model(inputs, keras.layers.ReLU()(keras.layers.Dense(3)(inputs)))
    with pytest.raises(ValueError, match="ends in a `keras.layers.Dense` to grow"):
        m.EWC(encoder, pooled).grow(1)


GO_ON = """
import sys
import keras, numpy as np
import keras_transfer as kt
from tests.models.continual import toy
model = keras.saving.load_model(sys.argv[1])
x, y = np.load(sys.argv[2]).values()
toy.fit(model, x, y, epochs=2, seed=5)
model.consolidate(x, y)
np.savez(sys.argv[3], *[model.predict(toy.rows(1)[0], verbose=0)], *model.get_weights())
"""


@pytest.mark.parametrize("name", ["SynapticIntelligence", "DERpp"])
def test_another_process_goes_on_as_this_one(name, run_python, tmp_path):
    """After two tasks, with data that was not known when the first two were learned."""
    model = begun(METHODS[name])
    x, y = toy.tasks()[1]
    toy.fit(model, x, y, epochs=2)
    model.consolidate(x, y)
    model.save(tmp_path / "after_two.keras")
    x, y = toy.tasks(seed=3)[2]
    np.savez(tmp_path / "next.npz", x, y)
    run_python("-c", GO_ON, *(str(tmp_path / file) for file in ("after_two.keras", "next.npz", "found.npz")))
    toy.fit(model, x, y, epochs=2, seed=5)
    model.consolidate(x, y)
    here = [model.predict(toy.rows(1)[0], verbose=0), *model.get_weights()]
    for a, b in zip(np.load(tmp_path / "found.npz").values(), here, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_what_is_kept_is_in_no_export(tmp_path):
    model = begun(METHODS["DERpp"], toy.PAIRS)
    names = [f"class {i}" for i in range(toy.CLASSES)]
    version = kt.export(model, tmp_path / "toy", toy.rows()[0][:8], classes=names, verify=False)
    (found,) = kt.serving.verify_all([{"path": version, "model": model, "x": toy.rows()[0][:8]}])
    assert found.stored == sorted(v.path for part in model.served for v in part.weights)
    assert set(found.differences) == {"serving_default", "embed", "task_0", "task_1", "task_2"}


def test_each_task_answers_among_its_own_classes():
    model = begun(METHODS["EWC"], toy.PAIRS)
    x, names = toy.rows()[0][:8], list("abcdef")
    served = model.signatures(x, names)["task_1"]
    answer = served.answer({"images": x})
    logits = model.predict(x, verbose=0)
    np.testing.assert_array_equal(answer["class_id"], logits[:, 2:4].argmax(1))
    assert set(answer["class_name"].numpy()) <= {b"c", b"d"}
    np.testing.assert_allclose(answer["logits"], logits[:, 2:4], atol=1e-6)


def fitted(tasks=None):
    model = toy.compiled(m.EWC(*toy.networks(), tasks=tasks), tasks=tasks)
    model.step.assign(1)
    return model


@pytest.mark.parametrize(
    "make, x, y, said",
    [
        (lambda: m.EWC(*toy.networks()), toy.rows()[0], toy.rows()[1], "`fit` on a task before `consolidate`"),
        (fitted, toy.rows()[0][:0], toy.rows()[1][:0], "rows of a task with a label for each; received 0"),
        (fitted, toy.rows()[0], toy.rows()[1][:3], "a label for each"),
        (fitted, object(), toy.rows()[1], "`x` to be arrays of the task's rows"),
        (fitted, toy.rows()[0], toy.rows()[1] + 3, "labels from 0 to 5"),
        (fitted, toy.rows()[0] * np.nan, toy.rows()[1], "finite values in `x`"),
        (fitted, toy.rows()[0], toy.rows()[1] + 0.5, "numbers of classes; received 0.5"),
        (lambda: fitted(toy.PAIRS), *toy.rows(), r"labels of one of the tasks .* received the classes \[0, 1, 2"),
    ],
)
def test_bad_tasks_are_told(make, x, y, said):
    with pytest.raises(ValueError, match=said):
        make().consolidate(x, y)


def test_a_task_is_consolidated_once():
    model = begun(METHODS["EWC"])
    with pytest.raises(ValueError, match="or since its last task ended"):
        model.consolidate(*toy.tasks()[0])


def test_other_architectures_do_not_load(tmp_path):
    begun(METHODS["EWC"]).save_weights(tmp_path / "one.weights.h5")
    with pytest.raises(ValueError):
        m.EWC(*toy.networks(units=25)).load_weights(tmp_path / "one.weights.h5")


def test_constructors_say_what_is_wrong():
    encoder, head = toy.networks()
    buffer = kt.layers.ReplayBuffer
    with pytest.raises(ValueError, match=r"`memory` to be a `kt.layers.ReplayBuffer`; received 60"):
        m.ExperienceReplay(encoder, head, 60)
    for other in (buffer(60, (9,), 6), buffer(60, (8,), 5)):
        with pytest.raises(ValueError, match=r"rows of shape \(8,\) and 6 classes, as encoder and head have them"):
            m.AGEM(encoder, head, other)
    with pytest.raises(ValueError, match="a `memory` that keeps logits"):
        m.DERpp(encoder, head, buffer(60, (8,), 6))
    with pytest.raises(ValueError, match="Expected a built network"):
        m.EWC(keras.Sequential([keras.layers.Dense(4)]), head)
    with pytest.raises(ValueError, match=r"each class in one task; received \[1\] in several"):
        m.LwF(encoder, head, tasks=[[0, 1], [1, 2]])
    with pytest.raises(ValueError, match="classes from 0 to 5 in `tasks`; received 0 to 6"):
        m.LwF(encoder, head, tasks=[[0, 6]])
    two = {name: keras.Input((4,), name=name) for name in "ab"}
    with pytest.raises(ValueError, match="as encoder and head have them"):
        m.AGEM(keras.Model(two, keras.layers.Concatenate()(list(two.values()))), head, buffer(60, (4,), 6))


def test_labels_of_the_buffer_are_checked():
    model = begun(METHODS["ExperienceReplay"])
    x, y = toy.tasks()[0]
    memory = {"x": x, "y": y + 9}
    with pytest.raises(ValueError, match="labels of `memory` from 0 to 5"):
        model.fit({"current": x, "memory": memory}, y, verbose=0)


@pytest.mark.parametrize(
    "y, said",
    [
        (lambda y: y - 1, "labels from 0 to 5; received -1 to 0|one of 6 classes each; received -1 to 0"),
        (lambda y: y + 0.5, "numbers of classes; received 0.5"),
        (lambda y: np.eye(6)[y], "one number of a class for each row|numbers of classes"),
    ],
)
def test_labels_are_checked_where_the_task_is_known_too(y, said):
    model = toy.compiled(m.LwF(*toy.networks(), tasks=toy.PAIRS), tasks=toy.PAIRS)
    x, labels = toy.tasks()[0]
    with pytest.raises(ValueError, match=said):
        model.fit(x, y(labels), verbose=0)


def test_a_gem_takes_no_step_that_raises_the_loss_on_the_memory():
    """The update points against the gradient of the memory nowhere, and is the plain one where the two agree."""
    networks = toy.networks()
    model = m.AGEM(*networks, toy.buffer(networks))
    task, against = [np.float32([1.0, 0.0])], [np.float32([-1.0, 1.0])]
    (update,) = model.combine({"task": task, "memory": against})
    np.testing.assert_allclose(update, [0.5, 0.5])
    (update,) = model.combine({"task": task, "memory": [np.float32([1.0, 5.0])]})
    np.testing.assert_allclose(update, task[0])


def test_icarl_herds_and_tells_by_means():
    features = np.random.default_rng(0).normal(size=(30, 4))
    from keras_transfer.models.continual.icarl import herded

    chosen, left = [], list(range(30))
    for _ in range(7):  # the definition, by trying all
        apart = [np.linalg.norm(features.mean(0) - features[[*chosen, one]].mean(0)) for one in left]
        chosen.append(left.pop(int(np.argmin(apart))))
    assert herded(features, 7).tolist() == chosen and sorted(herded(features, 99)) == list(range(30))
    model = begun(METHODS["ICaRL"])
    x, y = toy.tasks()[0]
    held = model.memory.held()
    assert np.bincount(held["y"]).tolist() == [10, 10]
    unit = model.encoder.predict(held["x"], verbose=0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    means = np.stack([unit[held["y"] == label].mean(0) for label in (0, 1)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    rows = model.encoder.predict(x, verbose=0)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    logits = model.predict(x, verbose=0)
    np.testing.assert_allclose(logits[:, :2], -((rows[:, None] - means) ** 2).sum(-1), atol=1e-5)
    assert set(logits.argmax(1)) <= {0, 1}
    toy.fit(model, x, y, epochs=1)
    with pytest.raises(ValueError, match=r"classes of one task each; received \[0, 1\]"):
        model.consolidate(x, y)


def test_lwf_keeps_the_answers_of_the_model_before():
    model = begun(METHODS["LwF"])
    x, y = toy.tasks()[1]
    before = model.predict(x, verbose=0)
    np.testing.assert_allclose(model.former_head(model.former_encoder(x)), before, atol=1e-6)
    logs = toy.fit(model, x, y, epochs=2).history
    assert logs["distillation_term"][0] > 0 and not np.allclose(model.predict(x, verbose=0), before)


def test_gdumb_begins_anew():
    keras.utils.set_random_seed(0)
    model = toy.compiled(METHODS["GDumb"](*toy.networks()))
    start = [np.array(v) for v in model.protected()]
    x, y = toy.tasks()[0]
    model.consolidate(x, y)
    kept = model.memory.held()
    toy.fit(model, kept["x"], kept["y"], epochs=1)
    assert not np.allclose(start[0], model.protected()[0])
    model.consolidate(*toy.tasks()[1])
    for a, b in zip(start, model.protected()):
        np.testing.assert_array_equal(a, b)
    assert np.bincount(model.memory.held()["y"]).tolist() == [10] * 4
