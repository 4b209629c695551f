import collections

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt

Dataset = tf.data.Dataset


def rows(count, first=0):
    """Inputs that carry their own number: row i is (i, -i), and never two are equal."""
    number = np.arange(first, first + count, dtype="float32")
    return np.stack([number, -number], axis=1)


def labelled(count):
    x = rows(count)
    return x, np.arange(count, dtype="int32") % 7


def dataset(arrays):
    return Dataset.from_tensor_slices(arrays)


def epochs(stream, count=1):
    return [list(stream.as_numpy_iterator()) for _ in range(count)]


def seen(epoch, name):
    """The numbers of the rows of one stream, in the order of an epoch."""
    return [int(number) for batch in epoch for number in batch[0][name][:, 0]]


def same(first, second):
    pairs = zip(keras.tree.flatten(first), keras.tree.flatten(second), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


forms = pytest.mark.parametrize("form", [lambda data: data, dataset], ids=["arrays", "datasets"])
all_forms = pytest.mark.parametrize(
    "source_form, target_form",
    [(lambda x: x, lambda x: x), (dataset, dataset), (dataset, lambda x: x), (lambda x: x, dataset)],
    ids=["arrays", "datasets", "source dataset", "target dataset"],
)


# What one epoch shows.


@all_forms
def test_one_epoch_is_one_pass_over_the_source(source_form, target_form):
    stream = kt.streams.domains(source_form(labelled(53)), target_form(rows(40)), batch_size=8, seed=0)
    first, second, third = epochs(stream, 3)
    for epoch in (first, second, third):
        assert len(epoch) == 6 and len(set(seen(epoch, "source"))) == 48  # 53 = 6 * 8 + 5, which are dropped
        for x, y in epoch:
            assert x["source"].shape == x["target"].shape == (8, 2)
            np.testing.assert_array_equal(y, x["source"][:, 0] % 7)
            for name in x:
                np.testing.assert_array_equal(x[name][:, 1], -x[name][:, 0])
    for name in ("source", "target"):
        orders = [seen(epoch, name) for epoch in (first, second, third)]
        assert orders[0] != orders[1] != orders[2] != orders[0]
    assert seen(first, "source") != sorted(seen(first, "source"))


@all_forms
@pytest.mark.parametrize("target_rows, count", [(480, 10), (100, 7), (9, 3)])
def test_target_goes_on_where_it_stopped(source_form, target_form, target_rows, count):
    """48 target rows in an epoch; whatever the target's length, after each epoch all rows were seen as often."""
    target = rows(target_rows, first=1000)
    stream = kt.streams.domains(source_form(labelled(53)), target_form(target), batch_size=8, seed=1, check_range=False)
    times = collections.Counter()
    for epoch in epochs(stream, count):
        times.update(seen(epoch, "target"))
        if times.total() >= target_rows:
            assert set(times) == set(range(1000, 1000 + target_rows))
        assert max(times.values()) - min(times.values()) <= 1
        assert max(times.values()) == -(-times.total() // target_rows)


@all_forms
def test_target_batch_size(source_form, target_form):
    source, target = source_form(labelled(20)), target_form(rows(30))
    (epoch,) = epochs(kt.streams.domains(source, target, batch_size=4, target_batch_size=6, seed=0))
    assert [(x["source"].shape, x["target"].shape) for x, _ in epoch] == [((4, 2), (6, 2))] * 5
    assert sorted(seen(epoch, "target")) == list(range(30))


def test_labelled_rows_of_the_target_join_every_batch():
    """They stand behind the source's rows, with their own labels, and go on where they stopped."""
    few = rows(5, first=100), np.int32([9, 8, 7, 6, 5])
    arguments = {"batch_size": 8, "target_batch_size": 4, "labelled_target": few, "labelled_target_batch_size": 3}
    stream = kt.streams.domains(labelled(53), rows(40, first=200), seed=0, **arguments)
    first, second = epochs(stream, 2)
    shown = []
    for x, y in (*first, *second):
        assert x["source"].shape == (11, 2) and x["target"].shape == (4, 2) and y.shape == (11,)
        numbers = x["source"][:, 0].astype(int)
        assert (numbers[:8] < 53).all() and (y[:8] == numbers[:8] % 7).all()
        assert (y[8:] == 109 - numbers[8:]).all()
        shown += numbers[8:].tolist()
    counts = collections.Counter(shown)  # 36 rows drawn of 5: each seven times, one eight times
    assert set(counts) == set(range(100, 105)) and max(counts.values()) - min(counts.values()) <= 1
    plain = kt.streams.domains(labelled(53), rows(40, first=200), batch_size=8, target_batch_size=4, seed=0)
    assert seen(epochs(plain)[0], "target") == seen(first, "target")


@pytest.mark.parametrize(
    "few, arguments, message",
    [
        (rows(5), {}, "of as many parts as `source`, a tuple of 2"),
        ((rows(5), np.zeros(5, "int32"), np.ones(5)), {}, "a tuple of 3"),
        ((rows(5), np.zeros(5, "float32")), {}, "of one structure, shape and dtype"),
        ((rows(5)[:, :1], np.zeros(5, "int32")), {}, "of one structure, shape and dtype"),
        ((rows(5), np.full(5, 9, "int32")), {"classes": 7}, "labels from 0 to 6; received labels from 9 to 9"),
        ((rows(0), np.zeros(0, "int32")), {}, "Expected"),
        ((rows(5), np.zeros(5, "int32")), {"labelled_target_batch_size": 0}, "labelled_target_batch_size"),
        (dataset(labelled(5)), {}, "received a dataset"),
    ],
)
def test_labelled_rows_of_the_target_that_do_not_fit(few, arguments, message):
    with pytest.raises(ValueError, match=message):
        kt.streams.domains(labelled(16), rows(16), batch_size=8, labelled_target=few, **arguments)


def test_length_of_arrays_is_known():
    stream = kt.streams.domains(labelled(53), rows(40), batch_size=8)
    assert stream.cardinality().numpy() == len(stream) == 6


@forms
def test_sample_weights(form):
    x, y = labelled(24)
    weight = (x[:, 0] / 10).astype("float32")
    (epoch,) = epochs(kt.streams.domains(form((x, y, weight)), form(rows(24)), batch_size=8, seed=0))
    for batch, labels, weights in epoch:
        np.testing.assert_array_equal(labels, batch["source"][:, 0] % 7)
        np.testing.assert_allclose(weights, batch["source"][:, 0] / 10, rtol=1e-6)


@forms
@pytest.mark.parametrize("pack", [lambda a, b: {"pixels": a, "deep": {"mask": b}}, lambda a, b: (a, b)])
def test_inputs_with_structure(form, pack):
    (x, y), target = labelled(24), rows(32)
    stream = kt.streams.domains(
        form((pack(x, x[:, 0] * 2), y)), form(pack(target, target[:, 0] * 2)), batch_size=8, seed=0
    )
    for x, y in epochs(stream)[0]:
        keras.tree.assert_same_structure(x["source"], pack(0, 0))
        for part in x.values():
            mask, pixels = sorted(keras.tree.flatten(part), key=np.ndim)
            np.testing.assert_array_equal(mask, 2 * pixels[:, 0])
        np.testing.assert_array_equal(y, sorted(keras.tree.flatten(x["source"]), key=np.ndim)[1][:, 0] % 7)


@pytest.mark.parametrize("given, kept", [("uint8", "uint8"), ("float32", "float32"), ("float64", "float32")])
def test_dtypes_of_arrays(given, kept):
    x = np.arange(32).reshape(16, 2).astype(given)
    batch, y = epochs(kt.streams.domains((x, np.arange(16)), x, batch_size=4))[0][0]
    assert batch["source"].dtype == batch["target"].dtype == kept
    assert y.dtype == "int64"


# The order.


@all_forms
def test_order_follows_the_seed(source_form, target_form):
    def two_epochs(seed):
        source, target = source_form(labelled(40)), target_form(rows(60))
        return epochs(kt.streams.domains(source, target, batch_size=8, seed=seed), 2)

    once, again, other = two_epochs(5), two_epochs(5), two_epochs(6)
    assert same(once, again)
    for name in ("source", "target"):
        assert seen(once[0], name) != seen(other[0], name)


@forms
def test_without_a_seed_each_stream_draws_its_own(form):
    first, second = (
        seen(epochs(kt.streams.domains(form(labelled(40)), form(rows(40)), batch_size=8))[0], "source")
        for _ in range(2)
    )
    assert first != second


@pytest.mark.parametrize("peeked", [1, 19])
def test_an_iterator_that_is_dropped_leaves_the_order(peeked):
    def stream():
        return kt.streams.domains(labelled(80), rows(100), batch_size=4, seed=3)

    expected, peeking = epochs(stream(), 3), stream()
    got = []
    for _ in range(3):
        iterator = peeking.as_numpy_iterator()
        for _ in range(peeked):
            next(iterator)
        del iterator
        got += epochs(peeking)
    assert len(expected[0]) == 20 and same(got, expected)


def test_batches_that_arrive_in_fit():
    """What Keras reads beforehand changes nothing: the model sees the epochs of the stream, in their order."""
    expected = epochs(kt.streams.domains(labelled(40), rows(60), batch_size=8, seed=2), 2)
    model = adapter()
    taken = []

    class Watch(kt.models.DAN):
        def forward(self, x, training=False):
            if not isinstance(x["source"], keras.KerasTensor):
                tf.py_function(lambda s, t: taken.append((s.numpy(), t.numpy())), [x["source"], x["target"]], [])
            return super().forward(x, training)

    model = Watch(model.encoder, model.head)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(kt.streams.domains(labelled(40), rows(60), batch_size=8, seed=2), epochs=2, verbose=0)
    assert same(taken, [(x["source"], x["target"]) for epoch in expected for x, _ in epoch])


# Datasets that are endless, or of unknown length.


def adapter():
    dense = keras.layers.Dense
    model = kt.models.DAN(keras.Sequential([keras.Input((2,)), dense(4, "tanh")]), keras.Sequential([dense(7)]))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def test_endless_datasets_in_fit():
    source, target = dataset(labelled(40)).repeat(), dataset(rows(24)).repeat()
    stream = kt.streams.domains(source, target, batch_size=8, seed=0, shuffle_buffer=16)
    model = adapter()
    history = model.fit(stream, epochs=3, steps_per_epoch=4, verbose=0).history
    assert model.step.numpy() == 12
    assert np.isfinite(history["mmd_term"]).all() and len(history["mmd_term"]) == 3


@pytest.mark.filterwarnings("ignore:Your input ran out of data")  # Keras says so for any dataset of unknown length
def test_dataset_of_unknown_length_is_not_counted():
    taken = collections.Counter()

    def generator(name, count):
        def generate():
            for i in range(count):
                taken[name] += 1
                yield (np.float32([i, -i]), np.int32(i % 7)) if name == "source" else np.float32([i, -i])

        x = tf.TensorSpec((2,))
        signature = (x, tf.TensorSpec((), tf.int32)) if name == "source" else x
        return Dataset.from_generator(generate, output_signature=signature)

    source, target = generator("source", 203), generator("target", 400)
    stream = kt.streams.domains(source, target, batch_size=8, seed=0, shuffle_buffer=50)
    assert max(taken.values()) <= 3 * 8  # the first batch, which is checked, and what tf.data reads ahead of it
    checked = taken["source"]
    (epoch,) = epochs(stream)
    assert len(epoch) == 25 and len(set(seen(epoch, "source"))) == 200
    assert taken["source"] == checked + 203
    model = adapter()
    model.fit(stream, epochs=2, verbose=0)
    assert model.step.numpy() == 50


# Bad input: arrays are checked whole, datasets on their first batch.


def fails(source, target, **kwargs):
    with pytest.raises(ValueError) as error:
        kt.streams.domains(source, target, **{"batch_size": 8, **kwargs})
    return str(error.value)


@forms
def test_a_domain_smaller_than_its_batch(form):
    assert "at least one batch of 8 rows in `source`; received" in fails(form(labelled(7)), form(rows(8)))
    assert "at least one batch of 8 rows in `target`; received" in fails(form(labelled(8)), form(rows(7)))
    message = fails(form(labelled(8)), form(rows(11)), target_batch_size=12)
    assert "at least one batch of 12 rows in `target`; received" in message and "11" in message
    kt.streams.domains(form(labelled(8)), form(rows(12)), batch_size=8, target_batch_size=12)


@forms
def test_an_empty_domain(form):
    x, y = labelled(8)
    assert "rows in `source`; received" in fails(form((x[:0], y[:0])), form(rows(8)))
    assert "rows in `target`; received" in fails(form((x, y)), form(x[:0]))


@forms
def test_different_shapes(form):
    message = fails(form(labelled(8)), form(np.ones((8, 3), "float32")))
    assert "one structure, shape and dtype" in message and "(2,)" in message and "(3,)" in message


@forms
def test_different_dtypes(form):
    x, y = labelled(8)
    message = fails(form((np.abs(x), y)), form(np.abs(x).astype("uint8")))
    assert "one structure, shape and dtype" in message and "float32" in message and "uint8" in message


@forms
def test_different_structures(form):
    x, y = labelled(8)
    assert "one structure, shape and dtype" in fails(form(({"a": x}, y)), form({"b": x}))


@forms
def test_different_ranges(form):
    pixels = np.linspace(0, 255, 64, dtype="float32").reshape(8, 8)
    y = np.zeros(8, "int32")
    message = fails(form((pixels, y)), form(pixels / 255))
    assert "same value range; received [0, 255] and [0, 1]" in message
    message = fails(form((pixels / 255, y)), form(pixels))
    assert "same value range; received [0, 1] and [0, 255]" in message
    nested = fails(form(({"a": pixels, "b": pixels}, y)), form({"a": pixels, "b": pixels / 255}))
    assert "same value range; received [0, 255] and [0, 1]" in nested
    message = fails(form((pixels, y)), form(pixels / 127.5 - 1))
    assert "same value range; received [0, 255] and [-1, 1]" in message and "check_range=False" in message
    assert "[-1, 1] and [-127, 128]" in fails(form((pixels / 127.5 - 1, y)), form(pixels - 127))
    for fine in (pixels / 9, -pixels / 9, pixels - 127):  # less than ten times apart
        kt.streams.domains(form((pixels, y)), form(fine), batch_size=8)


@forms
@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_ids_and_heavy_tails_have_a_way_round(form, dtype):
    few, many = (np.arange(16).reshape(8, 2) * scale for scale in (1, 1000))
    source, target = form((few.astype(dtype), np.zeros(8, "int32"))), form(many.astype(dtype))
    assert "same value range; received [0, 15] and [0, 15000]" in fails(source, target)
    (epoch,) = epochs(kt.streams.domains(source, target, batch_size=8, check_range=False))
    assert epoch[0][0]["target"].max() == 15_000


def test_the_smallest_integer_has_a_size():
    x = np.full((8, 2), -128, "int8")
    assert "received [-128, -128] and [1, 1]" in fails((x, np.zeros(8)), np.ones((8, 2), "int8"))


@forms
@pytest.mark.parametrize("wrong", [-1, 3])
def test_labels_outside_the_classes(form, wrong):
    x, y = rows(8), np.array([0, 1, 2, 0, 1, 2, 0, 1], "int32")
    kt.streams.domains(form((x, y)), form(x), batch_size=8, classes=3)
    y[5] = wrong
    message = fails(form((x, y)), form(x), classes=3)
    assert "Expected labels from 0 to 2; received labels from" in message and str(wrong) in message


COLUMNS = np.eye(3, dtype="float32")[[0, 1, 2, 0, 1, 2, 0, 1]]


@forms
@pytest.mark.parametrize("y", [np.arange(8) % 3, np.arange(8) % 3 == 1, (np.arange(8) % 3)[:, None], np.ones((8, 5))])
def test_labels_of_the_classes(form, y):
    """Numbers of classes, in any shape; floats that are such numbers."""
    for dtype in [y.dtype] if y.shape == (8, 5) or y.dtype == bool else ["int32", "float32"]:
        labels = (y.astype("int32") if y.shape == (8, 5) else y.astype(dtype)) + 0
        batch = epochs(kt.streams.domains(form((rows(8), labels)), form(rows(8)), batch_size=8, classes=3))[0][0]
        assert sorted(batch[1].reshape(-1)) == sorted(labels.reshape(-1))


@forms
@pytest.mark.parametrize("y", [COLUMNS, COLUMNS.astype("int32"), 0.9 * COLUMNS + 0.1 / 3])
def test_columns_of_the_classes(form, y):
    kt.streams.domains(form((rows(8), y)), form(rows(8)), batch_size=8, classes=3)


@forms
@pytest.mark.parametrize(
    "y, classes, message",
    [
        (COLUMNS, 4, r"one column for each of 4 classes in `source labels`; received shape \(8, 3\)"),
        (COLUMNS.astype("int32"), 4, r"one column for each of 4 classes in `source labels`; received shape \(8, 3\)"),
        (2 * COLUMNS, 3, "values from 0 to 1 in one column for each class; received labels from 0 to 2"),
        (np.linspace(0, 1, 8), 3, "labels from 0 to 2; received 0.142857, which is no whole number"),
        (np.arange(8.0), 3, "labels from 0 to 2; received labels from 0 to 7"),
        (np.array(["no", "yes"] * 4), None, "numbers in `source labels`; received strings: `np.unique"),
        (np.arange(8) % 2 == 0, 1, "labels from 0 to 0; received labels from 0 to 1"),
        (np.arange(8), 0, "`classes` to be an integer of at least 1; received 0"),
    ],
)
def test_labels_that_are_no_classes(form, y, classes, message):
    with pytest.raises(ValueError, match=message):
        kt.streams.domains(form((rows(8), y)), form(rows(8)), batch_size=8, classes=classes)


def test_classes_of_several_labels():
    y = {"a": np.zeros(8, "int32")}
    assert "one array of labels to compare with `classes`; received a dict" in fails((rows(8), y), rows(8), classes=2)


@pytest.mark.parametrize("change", [{"batch_size": 0}, {"batch_size": 8.0}, {"batch_size": "8"}, {"batch_size": True}])
def test_sizes(change):
    (value,) = change.values()
    assert f"`batch_size` to be an integer of at least 1; received {value!r}" in fails(labelled(8), rows(8), **change)
    assert "`target_batch_size`" in fails(labelled(8), rows(8), target_batch_size=0)
    assert "`shuffle_buffer`" in fails(labelled(8), rows(8), shuffle_buffer=0)


@forms
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(form, value):
    x, y = rows(8), np.zeros(8, "float32")
    spoiled, spoiled_y = x.copy(), y.copy()
    spoiled[3, 1] = spoiled_y[2] = value
    assert "finite values in `source`; received 1 that are NaN or infinite" in fails(form((spoiled, y)), form(x))
    assert "finite values in `target`; received 1 that are NaN or infinite" in fails(form((x, y)), form(spoiled))
    assert "finite values in `source labels`; received 1" in fails(form((x, spoiled_y)), form(x))


@forms
def test_labels_of_the_target(form):
    x, y = labelled(8)
    for labels in ((x, y), (x, y, y.astype("float32"))):
        assert "Expected `target` to be x alone" in fails(form((x, y)), form(labels))
    assert "one structure" in fails(form(((x, x), y)), form(((x, x), y)))


@forms
def test_source_without_labels(form):
    x, _ = labelled(8)
    assert "Expected `source` to be (x, y) or (x, y, sample_weight)" in fails(form(x), form(x))


def test_arrays_of_different_length():
    x, y = labelled(16)
    assert "one length in `source`; received lengths [15, 16]" in fails((x, y[:-1]), x)
    assert "one length in `source`; received lengths [9, 16]" in fails((x, y, np.ones(9)), x)
    assert "one length in `target`; received lengths [15, 16]" in fails(({"a": x, "b": x}, y), {"a": x, "b": x[:-1]})


def test_arrays_are_checked_whole_and_datasets_on_their_first_batch():
    x, y = labelled(64)
    x[40, 0] = np.nan
    y[41] = 9
    assert "finite values" in fails((x, y), rows(64))
    assert "received labels from 0 to 9" in fails((rows(64), y), rows(64), classes=7)
    stream = kt.streams.domains(dataset((x, y)), dataset(rows(64)), batch_size=8, classes=7)
    assert len(epochs(stream)[0]) == 8


# Augmentation.


def doubled(x):
    return 2 * x


@forms
def test_each_stream_is_a_view_of_its_domain(form):
    augment = {"source": doubled, "target_weak": None, "target_strong": lambda x: x + 0.5}
    stream = kt.streams.domains(form(labelled(16)), form(rows(16)), batch_size=4, seed=0, augment=augment)
    plain = kt.streams.domains(form(labelled(16)), form(rows(16)), batch_size=4, seed=0)
    for (x, y), (as_it_is, labels) in zip(*epochs(stream), *epochs(plain), strict=True):
        assert set(x) == {"source", "target_weak", "target_strong"}
        np.testing.assert_array_equal(y, labels)
        np.testing.assert_array_equal(x["source"], 2 * as_it_is["source"])
        np.testing.assert_array_equal(x["target_weak"], as_it_is["target"])
        np.testing.assert_array_equal(x["target_strong"], as_it_is["target"] + 0.5)


def test_one_augmentation_is_of_both_domains():
    ((x, _),) = epochs(kt.streams.domains(labelled(4), rows(4), batch_size=4, augment=doubled))[0]
    assert sorted(x["source"][:, 0]) == sorted(x["target"][:, 0]) == [0, 2, 4, 6]


def test_a_layer_draws_for_each_row_and_each_pass():
    images = np.tile(np.linspace(0, 255, 64, dtype="float32").reshape(1, 8, 8, 1), (16, 1, 1, 1))
    flip = keras.layers.RandomFlip(seed=0)
    stream = kt.streams.domains((images, np.zeros(16, int)), images, batch_size=16, seed=0, augment=flip)
    first, second = (epoch[0][0]["target"] for epoch in epochs(stream, 2))
    assert len(np.unique(first, axis=0)) > 1 and not np.array_equal(first, second)


@pytest.mark.parametrize(
    "augment, message",
    [
        ({"target": doubled}, r"received a dict of \('target',\)"),
        ({"source": doubled}, r"received a dict of \('source',\)"),
        ({"source": doubled, "target": "strong"}, "received 'strong'"),
        (3, "received 3"),
        (keras.layers.RandomCrop(4, 4), "crops a whole batch at one place"),
    ],
)
def test_what_is_no_augmentation(augment, message):
    with pytest.raises(ValueError, match=message):
        kt.streams.domains(labelled(16), rows(16), batch_size=4, augment=augment)


# Several sources.


def sources():
    one, other = labelled(20), labelled(53)
    return {"small": one, "large": (other[0] + 100, other[1])}


def test_each_batch_holds_as_many_rows_of_each_source():
    stream = kt.streams.domains(sources(), rows(16), batch_size=8, seed=0, check_range=False)
    passes = epochs(stream, 3)
    assert [len(epoch) for epoch in passes] == [53 // 4] * 3  # a pass over the largest
    of_small = []
    for epoch in passes:
        numbers = np.array(seen(epoch, "source")).reshape(-1, 8)
        large = numbers[numbers >= 100]
        assert ((numbers < 100).sum(1) == 4).all() and len(set(large)) == len(large) == 52
        of_small += numbers[numbers < 100].tolist()
        labels = np.concatenate([y for _, y in epoch])
        np.testing.assert_array_equal(labels, numbers.ravel() % 100 % 7)  # the label of each row goes with it
    counts = collections.Counter(of_small)
    assert len(counts) == 20 and max(counts.values()) - min(counts.values()) <= 1  # it goes on where it stopped


def test_few_labelled_rows_of_the_target_join_several_sources():
    few = (rows(3, first=900), np.zeros(3, "int32"))
    arguments = {"labelled_target": few, "labelled_target_batch_size": 2, "check_range": False}
    stream = kt.streams.domains(sources(), rows(16), 8, seed=0, **arguments)
    numbers = np.array(seen(epochs(stream)[0], "source")).reshape(-1, 10)
    assert ((numbers >= 900).sum(1) == 2).all()


@pytest.mark.parametrize(
    "source, batch_size, said",
    [
        ({}, 8, "at least one source; received an empty dict"),
        (sources(), 7, "multiple of the number of sources, 2, .* received 7"),
        ({"one": labelled(20), "other": dataset(labelled(20))}, 8, "several sources to be arrays"),
        ({"one": labelled(20), "other": (*labelled(20), np.ones(20, "float32"))}, 8, "all with sample weights or none"),
        (
            {"one": labelled(20), "other": (rows(20)[:, :1], labelled(20)[1])},
            8,
            "`other` and `target` of one structure",
        ),
        ({"one": labelled(20), "other": labelled(3)}, 8, "one batch of 4 rows in `other`; received 3"),
        (
            {"one": labelled(20), "other": (rows(20), np.full(20, 9))},
            8,
            "labels from 0 to 6; received labels from 9 to 9",
        ),
    ],
)
def test_sources_that_do_not_go_together_are_refused(source, batch_size, said):
    with pytest.raises(ValueError, match=said):
        kt.streams.domains(source, rows(16), batch_size, classes=7, check_range=False)
