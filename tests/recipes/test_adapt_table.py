import inspect

import numpy as np
import pytest

from keras_transfer.recipes import adapt_table, own_table, table_tasks
from tests.recipes.runs import check_run, folders, served
from tests.recipes.test_train_table import text_of

ROWS = 90


def houses(folder, price=None):
    """A table of three cities, of which one has few labels, with a name, a gap and a number to tell."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    city = np.array(["Bergen", "Oslo", "Turku"])[np.arange(ROWS) % 3]
    size = np.round(rng.normal(size=ROWS) + (city == "Turku"), 2)
    columns = {
        "city": city,
        "size": [None if place % 7 == 3 else size[place] for place in range(ROWS)],
        "kind": rng.choice(["flat", "house"], ROWS),
        "price": np.round(50 + 10 * size + rng.normal(size=ROWS), 2) if price is None else price,
    }
    path = folder / "houses.csv"
    path.write_text(text_of(columns))
    return path


def config(folder, csv, **change):
    given = {"csv": csv, "task": "price", "origin_column": "city", "target": "Turku", "method": ("dan",)}
    return adapt_table.Config(**{**given, "seeds": (0, 1), "steps": 3, "batch_size": 16, **change}, **folders(folder))


def test_a_short_run(tmp_path):
    """Two cities are the sources; the export takes raw columns and answers in the unit of the table."""
    settings = config(tmp_path, houses(tmp_path / "mine"))
    record = adapt_table.main(settings)
    version = check_run(tmp_path, "adapt_table", "houses", record, ("curves", "report"))
    assert list(record["runs"]) == ["linear", "boosted trees", "source_only", "dan"]
    assert record["metric"] == "target_r2" and record["extra"]["rows"] == {"train": 48, "source": 12, "target": 30}
    table, _ = adapt_table.load(settings)
    there = np.flatnonzero(table.groups == "Turku")
    raw = {name: column[there] for name, column in table.inputs.items()}
    (answers,) = served(version)(**{**raw, "kind": raw["kind"].tolist()}).values()
    truth = table.labels["price"][there]
    r2 = 1 - np.square(answers[:, 0] - truth).sum() / np.square(truth - truth.mean()).sum()
    assert r2 == pytest.approx(record["runs"]["dan"]["0"]["target_r2"], abs=1e-4)


def test_labels_of_the_target_reach_no_training(tmp_path):
    """What trains gets the sources' rows and labels, and of the target inputs alone."""
    table, target = adapt_table.load(config(tmp_path, houses(tmp_path / "mine")))
    other = np.where(table.groups == target, 7e6, table.labels["price"]).astype("float32")
    for labels in (table.labels["price"], other):
        train, test, there = adapt_table.parts(table._replace(labels={"price": labels}), target)
        assert target not in {*train.groups, *test.groups} and set(there.groups) == {target}
        assert table_tasks.Labels(train).scale["price"][0] == pytest.approx(train.labels["price"].mean(), rel=1e-5)
        assert train.labels["price"].max() < 100
    arguments = inspect.signature(adapt_table.train).parameters
    assert list(arguments) == ["config", "arm", "seed", "sources", "target", "labels"]  # the last: what kind they are


def test_a_target_without_labels_is_measured_on_the_sources(tmp_path):
    csv = houses(tmp_path / "mine")
    rows = [line.split(",") for line in csv.read_text().splitlines()]
    csv.write_text("\n".join(",".join(row if row[0] != "Turku" else [*row[:3], ""]) for row in rows) + "\n")
    record = adapt_table.main(config(tmp_path, csv))
    assert record["metric"] == "source_r2" and "target_r2" not in record["runs"]["dan"]["0"]


def test_the_default_is_of_patients():
    table, target = adapt_table.load(adapt_table.Config())
    train, test, there = adapt_table.parts(table, target)
    sizes = [len(part.labels["progression"]) for part in (train, test, there)]
    assert sum(sizes) == 442 and table.inputs["age"][table.groups == "older"].min() > train.inputs["age"].max()


@pytest.mark.parametrize(
    "change, said",
    [
        ({"target": "Rome"}, r"one of the origins \['Bergen', 'Oslo', 'Turku'\]; received 'Rome'"),
        ({"target": None}, "--csv with --task, --origin-column and --target"),
        ({"seeds": (0,)}, "at least 2 seeds"),
    ],
)
def test_what_cannot_be_run_is_said_before(tmp_path, change, said):
    with pytest.raises(ValueError, match=said):
        adapt_table.main(config(tmp_path, houses(tmp_path / "mine"), **change))


def test_one_origin_alone_is_refused(tmp_path):
    csv = houses(tmp_path / "mine")
    csv.write_text("".join(line for line in csv.read_text().splitlines(True) if line.startswith(("city", "Turku"))))
    with pytest.raises(ValueError, match="groups in the column 'city'; received 1 different"):
        own_table.load(csv, ("price",), group_column="city")
