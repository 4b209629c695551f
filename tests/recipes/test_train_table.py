import keras
import numpy as np
import pytest
from PIL import Image

from keras_transfer.recipes import own_table, table_network, table_tasks, train_table
from tests.recipes.runs import check_run, folders, served

RNG = np.random.default_rng(0)
ROWS = 60


def text_of(columns):
    rows = zip(*columns.values(), strict=True)
    return "\n".join([",".join(columns), *(",".join("" if c is None else str(c) for c in row) for row in rows)]) + "\n"


def shoes(folder):
    """A table with numbers, names, gaps, pictures and two tasks, one with missing labels."""
    (folder / "pictures").mkdir(parents=True)
    kind = RNG.integers(0, 2, ROWS)
    for place in range(ROWS):
        Image.fromarray(np.full((9, 9, 3), 100 * kind[place] + place, np.uint8)).save(folder / f"pictures/{place}.png")
    size = np.round(RNG.normal(size=ROWS) + kind, 2)
    columns = {
        "file": [f"pictures/{place}.png" for place in range(ROWS)],
        "the size": [None if place % 7 == 3 else size[place] for place in range(ROWS)],
        "colour": ["" if place % 9 == 1 else str(RNG.choice(["red", "blue"])) for place in range(ROWS)],
        "kind-of": [None if place % 5 == 2 else ["boot", "sandal"][kind[place]] for place in range(ROWS)],
        "price": np.round(50 + 10 * size + RNG.normal(size=ROWS), 2),
    }
    path = folder / "shoes.csv"
    path.write_text(text_of(columns))
    return path


def test_a_short_run(tmp_path, capsys):
    """Raw columns go into the export: strings, numbers, gaps and pictures; one seed, so that there are no reports."""
    config = train_table.Config(
        csv=shoes(tmp_path / "mine"),
        tasks=("kind-of", "price"),
        image_column="file",
        image_size=8,
        seeds=(0,),
        steps=2,
        batch_size=16,
        rates=(1e-3,),
        **folders(tmp_path),
    )
    record = train_table.main(config)
    version = check_run(tmp_path, "train_table", "shoes", record, ("curves",))
    assert record["metric"] == {"kind_of": "accuracy", "price": "r2"} and record["reports"] == {}
    assert set(record["scores"]["price"]) == {"single", "linear", "boosted trees", "shared"}
    assert record["rows"] == {"train": 48, "test": 12}
    assert set(record["export"]["differences"]) == {"kind_of", "price", "serving_default", "embed"}
    assert f"price (r2): single {record['scores']['price']['single'][0]:.3f}, linear " in capsys.readouterr().out
    _, test = train_table.load(config)
    raw = table_network.raw_inputs(test, "file")
    assert set(raw) == {"colour", "file", "the_size"} and np.isnan(raw["the_size"]).any() and "" in raw["colour"]
    answers = served(version)(**{**raw, "colour": raw["colour"].tolist()})
    there = test.labels["kind-of"] >= 0
    right = (answers["kind_of_class_id"] == test.labels["kind-of"])[there].mean()
    assert right == pytest.approx(record["scores"]["kind_of"]["shared"][0])
    price, truth = answers["price"][:, 0], test.labels["price"]
    r2 = 1 - np.square(price - truth).sum() / np.square(truth - truth.mean()).sum()  # in the unit of the table
    assert r2 == pytest.approx(record["scores"]["price"]["shared"][0], abs=1e-4)
    (file,) = (tmp_path / "runs").glob("*/model.keras")
    again = keras.saving.load_model(file).predict(raw, verbose=0)
    np.testing.assert_allclose(again["price"][:, 0], price, rtol=1e-5)


# What goes into a network.


@pytest.fixture
def small():
    inputs = {
        "b": np.float32([1, 3, np.nan, 2, 2]),
        "a": np.array(["x", "", "y", "x", "y"], dtype=object),
        "c": np.float32([0, 10, 0, 10, 5]),
    }
    return own_table.Table(inputs, None, {"t": np.zeros(5, np.int32)}, {"t": ("u", "v")}, None)


def test_the_preparation_of_columns(small):
    """Numbers are standardised by what is there, with the mean in gaps; names are one-hot, gaps and new ones alike."""
    prepare = table_network.preparation(small)
    assert prepare.output_shape == (None, 3 + 1 + 1 + 1)
    vectors = prepare.predict(table_network.raw_inputs(small), verbose=0)
    filled = np.array([1, 3, 2, 2, 2])
    columns = {tuple(np.round(column, 4)) for column in vectors.T}
    for expected in (
        (filled - 2) / filled.std(),
        (small.inputs["c"] - 5) / small.inputs["c"].std(),
        [0, 0, 1, 0, 0],
        *([float(cell == name) for cell in small.inputs["a"]] for name in ("x", "y", "")),
    ):
        assert tuple(np.round(np.asarray(expected, "float32"), 4)) in columns
    raw = {"a": np.array(["new"], object), "b": np.float32([np.nan]), "c": np.float32([np.nan])}
    unseen = prepare.predict(raw, verbose=0)[0]
    assert sorted(np.round(unseen, 4)) == [0, 0, 0, 0, 1, 1]  # what is missing, and what is new


def test_names_as_they_are_served(small):
    assert table_network.served_name("hours per-week (\u00fc)") == "hours_per_week_"
    twice = small._replace(inputs={"a b": small.inputs["b"], "a-b": small.inputs["c"]})
    with pytest.raises(ValueError, match=r"differ in letters and digits, as which they are served; not \['a_b'\]"):
        table_network.raw_inputs(twice)
    with pytest.raises(ValueError, match=r"not \['t'\]"):
        table_network.raw_inputs(small._replace(inputs={"t": small.inputs["b"]}))


def test_no_columns_need_no_preparation(small):
    assert table_network.preparation(small._replace(inputs={})) is None


def test_pictures_through_a_frozen_backbone(small):
    pictures = RNG.integers(0, 256, (5, 4, 4, 3), dtype=np.uint8)
    backbone = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.GlobalAveragePooling2D()])
    prepare = table_network.preparation(small)
    raw = {**table_network.raw_inputs(small), "photo": pictures}
    x = table_network.prepared(raw, prepare, backbone, "photo")
    np.testing.assert_allclose(x["pictures"], pictures.mean((1, 2)), rtol=1e-4)
    encoder = table_network.encoder(x)
    whole = table_network.from_raw(raw, prepare, backbone, "photo", encoder)
    np.testing.assert_allclose(whole.predict(raw, verbose=0), encoder.predict(x, verbose=0), atol=1e-5)
    assert sum(v.shape == (3,) for v in encoder.trainable_variables) == 2  # features are normalised


# What is measured.


def labels_of(kind, value):
    table = own_table.Table({}, None, {"kind": np.int32(kind), "value": np.float32(value)}, {"kind": ("a", "b")}, None)
    return table_tasks.Labels(table), table


def test_labels_are_scaled_by_the_rows_that_train():
    labels, table = labels_of([0, 1, -1], [1, 3, np.nan])
    assert labels.scale == {"value": (2.0, 1.0)}
    np.testing.assert_array_equal(labels.of(table)["value"], [-1, 1, np.nan])
    other = labels.of(table._replace(labels={"kind": np.int32([1]), "value": np.float32([5])}))
    assert other["value"].tolist() == [3] and other["kind"].tolist() == [1]


def test_scores_leave_out_what_has_no_label():
    labels, _ = labels_of([0, 1], [1, 3])
    logits = np.array([[2, 1], [0, 1], [3, 0]])
    assert labels.score("kind", np.array([0, -1, 1]), logits) == 0.5
    truth, guess = np.array([1.0, 2, np.nan, 6]), np.array([[1.0], [3], [9], [4]])
    assert labels.score("value", truth, guess) == pytest.approx(1 - (0 + 1 + 4) / (4 + 1 + 9))


def test_sides_without_labels_are_an_error():
    labels, _ = labels_of([0, 1], [1, 3])
    good = {"kind": np.array([0, 1]), "value": np.array([0.0, 1.0])}
    labels.check({"train": good, "test": {**good, "kind": np.array([0, -1])}})
    with pytest.raises(
        ValueError, match="at least 2 different labels of the task 'kind' among the rows of train; received 1"
    ):
        labels.check({"train": {**good, "kind": np.array([0, -1])}, "test": good})
    with pytest.raises(
        ValueError, match="at least 2 different labels of the task 'value' among the rows of test; received 1"
    ):
        labels.check({"train": good, "test": {**good, "value": np.array([0.5, np.nan])}})


def test_models_without_a_network():
    """Of a line and noise, the linear model is right, and trees know the class that a threshold makes."""
    x = RNG.normal(size=(300, 3)).astype("float32")
    labels, _ = labels_of([0, 1], [1, 3])
    y = {"kind": (x[:, 0] * x[:, 1] > 0).astype("int32"), "value": x @ np.array([1.0, -2, 0.5])}
    parts = {"train": {"columns": x[:200]}, "test": {"columns": x[200:]}}
    train, test = ({task: part[rows] for task, part in y.items()} for rows in (slice(200), slice(200, None)))
    value = table_tasks.without_network(labels, "value", parts, train, test)
    kind = table_tasks.without_network(labels, "kind", parts, train, test)
    assert value["linear"] > 0.999 and value["linear"] > value["boosted trees"] > 0.7
    assert kind["boosted trees"] > 0.85 and kind["linear"] < 0.7


def test_a_report_for_each_task():
    found = {
        "a": {0: {"a": 0.5}, 1: {"a": 0.6}},
        "b": {0: {"b": 0.5}, 1: {"b": 0.5}},
        "shared": {0: {"a": 0.7, "b": 0.4}, 1: {"a": 0.8, "b": 0.4}},
    }
    arms = table_tasks.arms_of("a", found, {"a": {"linear": 0.1}, "b": {"linear": 0.9}})
    assert arms == {"single": {0: 0.5, 1: 0.6}, "linear": {0: 0.1, 1: 0.1}, "shared": {0: 0.7, 1: 0.8}}
    assert table_tasks.report("r2", arms).gain("shared").mean == pytest.approx(0.2)
    assert list(table_tasks.arms_of("b", found, {})) == ["single", "shared"]


def test_advice_compares_networks_with_networks():
    flat = {0: 0.5, 1: 0.5}
    by_task = {
        "a": {"single": flat, "linear": flat, "shared": {0: 0.61, 1: 0.59}},
        "b": {"single": flat, "boosted trees": {0: 0.9, 1: 0.9}, "shared": flat},
    }
    lines = table_tasks.advice(by_task).splitlines()
    assert lines[1].startswith("  a: +0.100 [-0.027, +0.227], inconclusive")  # 12.706 standard errors of 0.01
    assert lines[2] == "  b: +0.000 [+0.000, +0.000], no difference"
    assert lines[3] == "Better without a network: b (boosted trees)"
    assert "Better" not in table_tasks.advice({"a": by_task["a"]})


def test_bad_settings(tmp_path):
    for change in ({"tasks": ("a", "b")}, {"csv": tmp_path / "t.csv"}, {"csv": tmp_path / "t.csv", "tasks": ("a",)}):
        with pytest.raises(ValueError, match="Expected --csv with at least two --tasks"):
            train_table.load(train_table.Config(**change))
    with pytest.raises(ValueError, match="--test-share between 0 and 1; received 1.0"):
        train_table.load(train_table.Config(test_share=1.0))
