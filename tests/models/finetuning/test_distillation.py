import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt


def dense(inputs, outputs, activation=None):
    return keras.Sequential([keras.Input((inputs,)), keras.layers.Dense(outputs, activation)])


def normalized_teacher():
    layers = [
        keras.layers.Dense(6),
        keras.layers.BatchNormalization(),
        keras.layers.Dropout(0.5),
        keras.layers.Dense(3),
    ]
    return keras.Sequential([keras.Input((8,)), *layers])


def batch(seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(12, 8)).astype("float32"), rng.integers(0, 3, 12)


def compiled(model, optimizer="sgd", run_eagerly=True):
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True), run_eagerly=run_eagerly)
    return model


def softmax(z):
    e = np.exp(z.astype("float64"))
    return e / e.sum(axis=-1, keepdims=True)


def test_terms_by_hand():
    teacher = normalized_teacher()
    model = compiled(kt.models.Distillation(dense(8, 4), dense(4, 3), teacher, 3.0, 0.7, 0.2))
    x, y = batch()
    logits = model.predict(x, verbose=0)
    task = np.mean(-np.log(softmax(logits)[np.arange(12), y]))
    p, q = softmax(teacher.predict(x, verbose=0) / 3.0), softmax(logits / 3.0)
    distillation = 9.0 * np.mean(np.sum(p * np.log(p / q), axis=1))
    logs = model.train_on_batch(x, y, return_dict=True)
    np.testing.assert_allclose([logs["task_term"], logs["distillation_term"]], [task, distillation], rtol=1e-5)
    np.testing.assert_allclose(logs["loss"], 0.2 * task + 0.7 * distillation, rtol=1e-5)


def test_teacher_stays_bit_identical():
    teacher = normalized_teacher()
    model = compiled(kt.models.Distillation(dense(8, 4), dense(4, 3), teacher), keras.optimizers.Adam(0.1))
    before, student = teacher.get_weights(), model.encoder.get_weights()
    model.fit(*batch(), epochs=3, verbose=0)
    for old, new in zip(before, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)
    assert not np.array_equal(model.encoder.get_weights()[0], student[0])
    assert not teacher.trainable and len(model.trainable_weights) == 4


def test_unlabelled_batches():
    model = kt.models.Distillation(dense(8, 4), dense(4, 3), dense(8, 3), task_weight=0)
    model.compile(keras.optimizers.Adam(0.03))
    history = model.fit(batch()[0], epochs=20, verbose=0).history
    assert set(history) == {"loss", "distillation_term"}
    assert history["loss"][-1] < 0.5 * history["loss"][0]


def test_rows_without_a_label_join_with_weight_zero():
    model = compiled(kt.models.Distillation(dense(8, 4), dense(4, 3), dense(8, 3)), keras.optimizers.SGD(0.0))
    (x, y), weights = batch(), np.repeat(np.float32([1.0, 0.0]), 6)
    terms = ("task_term", "distillation_term")
    both, other = (
        model.train_on_batch(x, labels, weights, return_dict=True) for labels in (y, np.r_[y[:6], 0 * y[6:]])
    )
    first, rest = (model.train_on_batch(x[part], y[part], return_dict=True) for part in (slice(6), slice(6, None)))
    assert [both[name] for name in terms] == [other[name] for name in terms]
    np.testing.assert_allclose(both["task_term"], first["task_term"] / 2, rtol=1e-5)
    np.testing.assert_allclose(
        both["distillation_term"], (first["distillation_term"] + rest["distillation_term"]) / 2, rtol=1e-5
    )


def test_export_holds_the_student_alone(tmp_path):
    """`tests/test_contract.py` verifies the outputs in a fresh process."""
    model = compiled(kt.models.Distillation(dense(8, 4), dense(4, 3), normalized_teacher()))
    model.train_on_batch(*batch())
    version = kt.export(model, tmp_path / "student", batch()[0], verify=False)
    reader = tf.train.load_checkpoint(str(version / "variables/variables"))
    stored = {key: reader.get_tensor(key) for key in reader.get_variable_to_shape_map() if "OBJECT_GRAPH" not in key}
    expected = model.encoder.get_weights() + model.head.get_weights()
    assert len(stored) == len(expected) == 4
    for weight in expected:
        assert any(np.array_equal(weight, value) for value in stored.values())


def test_teacher_that_is_not_built_or_returns_probabilities():
    networks = dense(8, 4), dense(4, 3)
    unbuilt = keras.Sequential([keras.layers.Dense(3)], name="my_teacher")
    with pytest.raises(ValueError, match="Expected a built and trained teacher; received 'my_teacher'"):
        kt.models.Distillation(*networks, unbuilt)
    with pytest.raises(
        ValueError, match="`teacher` to return logits, .* whose layer '.*' .Dense with the activation softmax"
    ):
        kt.models.Distillation(*networks, dense(8, 3, "softmax"))
    with pytest.raises(ValueError, match="Expected `temperature` to be a finite number above 0; received 0"):
        kt.models.Distillation(*networks, dense(8, 3), temperature=0)


def test_teacher_of_other_classes():
    model = compiled(kt.models.Distillation(dense(8, 4), dense(4, 3), dense(8, 5)), run_eagerly=False)
    with pytest.raises(ValueError, match=r"received shapes \(None, 5\) and \(None, 3\)"):
        model.fit(*batch(), verbose=0)


def test_beats_training_on_labels_alone():
    """The teacher has seen 2,000 rows; the student has 20 labels, and 500 rows without one."""
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(10, 3))

    def task(rows):
        x = rng.normal(size=(rows, 10)).astype("float32")
        return x, np.argmax(x @ weights, axis=1)

    keras.utils.set_random_seed(0)
    teacher, test = dense(10, 3), task(2000)
    compiled(teacher, keras.optimizers.Adam(0.05), run_eagerly=False).fit(
        *task(2000), batch_size=200, epochs=10, verbose=0
    )
    for seed in range(3):
        (x, y), (unlabelled, _), accuracy = task(20), task(500), []
        for distils in (False, True):
            keras.utils.set_random_seed(seed)
            parts = dense(10, 8, "tanh"), dense(8, 3)
            model = compiled(
                kt.models.Distillation(*parts, teacher) if distils else keras.Sequential(parts),
                keras.optimizers.Adam(0.05),
                run_eagerly=False,
            )
            if distils:
                rows, labels = np.concatenate([x, unlabelled]), np.r_[y, np.zeros(500, int)]
                weight = np.r_[np.ones(20), np.zeros(500)]
                labels, weight = np.tile(labels, 5), np.tile(weight, 5)
                model.fit(np.tile(rows, (5, 1)), labels, sample_weight=weight, batch_size=104, epochs=2, verbose=0)
            else:
                model.fit(np.tile(x, (130, 1)), np.tile(y, 130), batch_size=104, epochs=2, verbose=0)
            accuracy.append(np.mean(np.argmax(model(test[0]), axis=1) == test[1]))
        assert accuracy[1] > accuracy[0] + 0.05
