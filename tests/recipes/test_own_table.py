import numpy as np
import pytest
from PIL import Image

from keras_transfer.recipes import own_table


def write(folder, **columns):
    """Writes a table of columns of one length; None is an empty cell."""
    rows = zip(*columns.values(), strict=True)
    lines = [",".join(columns), *(",".join("" if cell is None else str(cell) for cell in row) for row in rows)]
    path = folder / "t.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


RNG = np.random.default_rng(0)
SIZE = np.round(RNG.normal(size=24), 3)
COLOUR = RNG.choice(["red", "green", "blue"], 24)
KIND = np.where(RNG.permutation(24) % 3, "ant", "bee")
PRICE = np.round(RNG.normal(size=24), 3)


def table(folder, tasks=("kind", "price"), options=None, **more):
    columns = {"size": SIZE, "colour": COLOUR, "kind": KIND, "price": PRICE}
    return own_table.load(write(folder, **columns, **more), tasks, **(options or {}))


def test_what_columns_are(tmp_path, capsys):
    found = table(tmp_path, grade=[1, 2, 3] * 8, legs=range(100, 124))
    assert list(found.inputs) == ["size", "colour", "grade", "legs"][:3]
    assert found.inputs["size"].dtype == "float32" and found.inputs["grade"].dtype == "float32"
    np.testing.assert_allclose(found.inputs["size"], SIZE, atol=1e-6)
    assert found.inputs["colour"].tolist() == COLOUR.tolist()
    assert found.classes == {"kind": ("ant", "bee")}
    assert found.labels["kind"].tolist() == [int(kind == "bee") for kind in KIND]
    np.testing.assert_allclose(found.labels["price"], PRICE, atol=1e-6)
    told = capsys.readouterr().out
    assert "Warning: the column 'legs' is a number of the row, and left out." in told
    assert "24 rows; 2 columns of numbers, 1 of names" in told
    assert "Task kind: 2 classes (ant 16, bee 8)" in told and "Task price: a regression from" in told


def test_whole_numbers_are_classes_unless_told(tmp_path):
    grades = {"grade": [1, 2, 10] * 8}
    found = table(tmp_path, ("grade", "kind"), **grades)
    assert found.classes["grade"] == ("1", "2", "10") and found.labels["grade"][:3].tolist() == [0, 1, 2]
    found = table(tmp_path, ("grade", "kind"), {"regression": ("grade",)}, **grades)
    assert "grade" not in found.classes and found.labels["grade"][:3].tolist() == [1, 2, 10]
    many = {"grade": [*range(21), 0, 1, 2]}
    assert "grade" not in table(tmp_path, ("grade", "kind"), **many).classes
    found = table(tmp_path, options={"categories": ("grade",)}, **grades)
    assert found.inputs["grade"][:3].tolist() == ["1", "2", "10"]


def test_missing_cells_and_labels(tmp_path, capsys):
    gaps = {"weight": ["?", "NA", None, "nan", *range(20)], "place": ["?", " ", None, *["here", "there"] * 10, "here"]}
    labels = {
        "mood": [None, "?", *["good", "bad", "bad", "good"] * 5, "good", "bad"],
        "age": ["N/A", 1.0, *np.round(RNG.normal(size=22), 3)],
    }
    found = table(tmp_path, ("mood", "age"), **gaps, **labels)
    assert np.isnan(found.inputs["weight"][:4]).all() and found.inputs["weight"][4:].tolist() == list(range(20))
    assert found.inputs["place"][:4].tolist() == ["", "", "", "here"]
    assert found.labels["mood"][:4].tolist() == [-1, -1, 1, 0] and found.classes["mood"] == ("bad", "good")
    assert np.isnan(found.labels["age"][0]) and found.labels["age"][1] == 1
    told = capsys.readouterr().out
    assert (
        "Missing cells: weight 4, place 3" in told
        and "Task mood: 2 classes (bad 11, good 11), 2 labels missing" in told
    )


@pytest.mark.parametrize(
    "column, fault",
    [
        (["same"] * 24, "constant (same)"),
        ([7.5] * 24, "constant (7.5)"),
        ([None] * 24, "empty"),
        ([f"person {i}" for i in range(24)], "an identifier (24 different values in 24 rows)"),
        (range(24), "a number of the row"),
        (['"a\n\nb"', "c"] * 12, "of texts with line breaks"),
    ],
)
def test_columns_that_tell_nothing_are_left_out(tmp_path, capsys, column, fault):
    found = table(tmp_path, extra=column)
    assert "extra" not in found.inputs
    assert f"Warning: the column 'extra' is {fault}, and left out." in capsys.readouterr().out


def test_a_column_that_is_half_missing_is_kept(tmp_path):
    assert "extra" in table(tmp_path, extra=[None, "seen"] * 12).inputs


@pytest.mark.parametrize(
    "column, task",
    [
        (["+" if kind == "ant" else "-" for kind in KIND], "kind"),
        ([3.5 if kind == "ant" else 7 for kind in KIND], "kind"),
        (2.54 * PRICE + 1, "price"),
        ([None, *PRICE[1:]], "price"),
    ],
)
def test_what_tells_a_task_is_refused(tmp_path, column, task):
    with pytest.raises(ValueError, match=f"the task '{task}'; received the column 'extra', which tells it in all of 2"):
        table(tmp_path, extra=column)
    assert "extra" not in table(tmp_path, options={"leave_out": ("extra",)}, extra=column).inputs


def test_what_hardly_tells_a_task_is_kept(tmp_path):
    """A column of many values tells every task of few rows, which says nothing; and one of noise is no leak."""
    noise = PRICE + RNG.normal(size=24)
    assert {"extra", "many"} <= set(table(tmp_path, extra=noise, many=RNG.normal(size=24)).inputs)


@pytest.mark.parametrize(
    "tasks, options, more, message",
    [
        (("kind", "cost"), {}, {}, "the columns 'cost' in .*t.csv; received 'size', 'colour', 'kind', 'price'"),
        (("kind", "price"), {"leave_out": ("weight",)}, {}, "the columns 'weight' in"),
        (
            ("kind", "price"),
            {"regression": ("size",)},
            {},
            r"name some of the tasks \('kind', 'price'\); received 'size'",
        ),
        (("kind", "price"), {"regression": ("kind",)}, {}, "numbers for the regression of 'kind'; received names such"),
        (
            ("kind", "price"),
            {"group_column": "kind"},
            {},
            "tasks that are no column of pictures or groups; received 'kind'",
        ),
        (("kind", "x"), {}, {"x": [1] * 24}, r"different labels of the task 'x'; received \[1.0\]"),
        (("kind", "x"), {}, {"x": [None] * 24}, r"different labels of the task 'x'; received \[\]"),
        (
            ("kind", "x"),
            {},
            {"x": [f"a{i}" for i in range(24)]},
            "task 'x'; received an identifier: 24 different values",
        ),
        (
            ("kind", "x"),
            {},
            {"x": ["a", *"bc" * 11, "b"]},
            "2 rows of each class of the task 'x', .*; received one of a",
        ),
        (
            ("kind", "price"),
            {},
            {"x": ["1O", *range(23)]},
            "numbers in the column 'x', as 23 of its 24 cells are; received 1O",
        ),
        (
            ("kind", "price"),
            {"leave_out": ("size", "colour")},
            {},
            "columns beside the tasks in .*; received none that",
        ),
        (
            ("kind", "price"),
            {"group_column": "x"},
            {"x": ["a"] * 24},
            r"received 1 different value\(s\).* keeps all of",
        ),
        (
            ("kind", "price"),
            {"group_column": "x"},
            {"x": range(24)},
            r"received 24 different value\(s\).* keeps none of",
        ),
    ],
)
def test_bad_tables(tmp_path, tasks, options, more, message):
    with pytest.raises(ValueError, match=message):
        table(tmp_path, tasks, options, **more)


def test_pictures_and_subsets(tmp_path):
    for place in range(24):
        Image.fromarray(np.full((9, 9, 3), place, np.uint8)).save(tmp_path / f"{place}.png")
    found = table(tmp_path, options={"image_column": "file", "image_size": 8}, file=[f"{i}.png" for i in range(24)])
    assert "file" not in found.inputs and found.images.shape == (24, 8, 8, 3)
    some = found.subset(np.array([5, 3]))
    assert some.images[:][:, 0, 0, 0].tolist() == [5, 3] and some.inputs["colour"].tolist() == COLOUR[[5, 3]].tolist()
    assert some.labels["kind"].tolist() == found.labels["kind"][[5, 3]].tolist() and some.groups is None


def test_a_split_of_shares_and_one_of_groups(tmp_path):
    found = table(tmp_path, day=[i // 3 for i in range(24)])
    train, test = own_table.split(found, 0.25)
    assert sorted([*train, *test]) == list(range(24)) and len(test) == 6
    assert found.labels["kind"][test].sum() == 2  # a quarter of 8 bees
    assert test.tolist() == own_table.split(found, 0.25)[1].tolist()
    grouped = table(tmp_path, options={"group_column": "day"}, day=[i // 3 for i in range(24)])
    assert "day" not in grouped.inputs
    train, test = own_table.split(grouped, 0.25)
    assert not set(grouped.groups[train]) & set(grouped.groups[test]) and len(test) == 6


def test_wine_is_that_of_scikit_learn(tmp_path):
    from sklearn.datasets import load_wine

    path, tasks = own_table.wine(tmp_path)
    found = own_table.load(path, tasks)
    data = load_wine()
    assert found.labels["cultivar"].tolist() == data.target.tolist()
    np.testing.assert_allclose(found.labels["alcohol"], data.data[:, 0], atol=1e-5)
    assert len(found.inputs) == 11 and set(found.classes) == {"cultivar"}
