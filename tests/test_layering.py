"""Who may import whom, and what of a method others may look at: the house, read from the source with `ast`."""

import ast
import functools
import pathlib

import keras
import pytest

import keras_transfer as kt

ROOT = pathlib.Path(__file__).parent.parent
HOUSE = [
    ["files", "checks", "keras_internals", "stored_rows", "tasks"],
    ["schedules", "gradients", "chunks", "batches", "networks", "signatures", "layers", "losses", "metrics"]
    + ["optimizers", "datasets", "streams", "report"],
    ["model", "class_matrix", "backbones", "weightings", "finetuning"],
    ["models", "callbacks"],
    ["serving"],
    ["testing", "zoo"],
    ["__main__"],
]
FLOORS = {room: number for number, rooms in enumerate(HOUSE) for room in rooms}
NOT_FOR_MODELS = {"datasets", "streams", "backbones"}
WITH_TENSORFLOW = ("streams/", "serving/", "backbones/tf_hub")
OPTIONAL = {"matplotlib", "sklearn", "scipy", "tyro", "PIL", "tensorflow_serving"}
OPTIONAL |= {"keras_hub", "keras_cv", "keras_nlp", "tensorflow_hub"}
RECIPES = "keras_transfer.recipes."
OURS = {"keras_transfer", "recipes", "tests", "benchmarks"}
VERBS = {"adapt", "calibrate", "consolidate", "from_source", "grow"}  # between fits; they are their callers' business
FILES = [
    path.relative_to(ROOT) for room in ("keras_transfer", "recipes") for path in sorted(ROOT.glob(f"{room}/**/*.py"))
]


def violations(source, path):
    """What a file imports and should not.

    Args:
        source: str, the text of the file.
        path: its path from the root of the repository, such as `keras_transfer/models/adaptation/dann.py`.

    Returns:
        List of strings, one for each violation.
    """
    tree = ast.parse(source)
    relative = [f"line {node.lineno}: relative import" for node in ast.walk(tree) if getattr(node, "level", 0)]
    check = _in_package if path.parts[0] == "keras_transfer" else _in_recipe
    return relative + check(tree, path)


def _in_recipe(tree, path):
    allowed = ("keras_transfer", "kt")
    return [
        f"{path} imports {name}; recipes import `keras_transfer as kt` alone"
        for name, alias in _imports(ast.walk(tree))
        if name.split(".")[0] == "keras_transfer" and not name.startswith(RECIPES) and (name, alias) != allowed
    ]


def _in_package(tree, path):
    inside = path.relative_to("keras_transfer")
    found = [
        f"{path} imports {name}: {reason}"
        for name, _ in _imports(ast.walk(tree))
        if name.split(".")[0] in OURS and (reason := _wrong(name, inside))
    ]
    trains = any(isinstance(node, ast.FunctionDef) and node.name == "train_step" for node in ast.walk(tree))
    for name in {name.split(".")[0] for name, _ in _imports(_when_imported(tree))}:
        if name in OPTIONAL:
            found.append(f"{path} imports {name} at its top: optional packages load where they are used")
        if name == "tensorflow" and not trains and not inside.as_posix().startswith(WITH_TENSORFLOW):
            found.append(f"{path} imports tensorflow at its top: the rest runs on every backend")
    return found


def _wrong(name, inside):
    """Why the file `inside` the package may not import `name`; None if it may."""
    if inside.name == "__init__.py" and len(inside.parts) == 1:
        return None  # the package shows every room
    if inside.name == "__main__.py" and name.startswith(RECIPES):
        return None  # the command runs them
    parts = name.split(".")
    if parts[0] != "keras_transfer":
        return "outside of the package"
    if len(parts) == 1 or parts[1] not in FLOORS:
        return "not a room; name the file"
    here, there = inside.parts[0].removesuffix(".py"), parts[1]
    if here == there != "models":
        return None
    if here == there and parts[2:4] == [inside.parts[1], "shared"]:
        return None  # what only this family uses
    if here == there and inside.name == "__init__.py":
        return None if parts[2:][: len(inside.parts) - 2] == list(inside.parts[1:-1]) else "another family"
    if here == "models" and there in NOT_FOR_MODELS:
        return f"models know no {there}"
    if FLOORS[there] >= FLOORS[here]:
        return f"floor {FLOORS[there]} from floor {FLOORS[here]}"
    return None


def _imports(nodes):
    """Pairs of the dotted name and the alias of every import; what `from x import y` brings is `x.y`."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((alias.name, alias.asname) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from ((f"{node.module}.{alias.name}", alias.asname) for alias in node.names)


def _when_imported(tree):
    """The nodes that run when the file is imported: all but what is inside functions."""
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield node
            yield from _when_imported(node)


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports(path):
    assert violations((ROOT / path).read_text(), path) == []


def test_every_room_has_a_floor():
    rooms = {path.parts[1].removesuffix(".py") for path in FILES if path.parts[0] == "keras_transfer"}
    assert rooms - {"__init__"} <= set(FLOORS)
    assert {"model", "models", "losses", "streams", "serving"} <= rooms


@pytest.mark.parametrize(
    "path, source, reason",
    [
        ("losses/coral.py", "from keras_transfer.model import TransferModel", "floor 2 from floor 1"),
        ("losses/coral.py", "from keras_transfer.layers import GradientReversal", "floor 1 from floor 1"),
        ("losses/coral.py", "def f():\n    from keras_transfer import models", "floor 3 from floor 1"),
        ("losses/coral.py", "from .pairs import check_pair", "relative import"),
        ("losses/coral.py", "import keras_transfer as kt", "not a room"),
        ("losses/coral.py", "from keras_transfer import export", "not a room"),
        ("losses/coral.py", "from recipes import adapt_digits", "outside of the package"),
        ("datasets/usps.py", "from keras_transfer.models import DANN", "floor 3 from floor 1"),
        ("model.py", "import keras_transfer.serving", "floor 4 from floor 2"),
        ("models/adaptation/dann.py", "from keras_transfer.streams import domains", "models know no streams"),
        ("models/adaptation/dann.py", "from keras_transfer.datasets.usps import usps", "models know no datasets"),
        ("models/adaptation/dann.py", "from keras_transfer.models.meta import maml", "floor 3 from floor 3"),
        ("models/adaptation/dann.py", "from keras_transfer.models.adaptation import dan", "floor 3 from floor 3"),
        ("models/adaptation/__init__.py", "from keras_transfer.models.meta import maml", "another family"),
        ("models/meta/maml.py", "from keras_transfer.models.multitask.shared import answers", "floor 3 from floor 3"),
        ("serving/export.py", "from keras_transfer import testing", "floor 5 from floor 4"),
        ("files.py", "from keras_transfer import networks", "floor 1 from floor 0"),
        ("model.py", "import tensorflow as tf", "imports tensorflow at its top"),
        ("model.py", "if True:\n    from tensorflow import data", "imports tensorflow at its top"),
        ("report.py", "try:\n    from scipy import stats\nexcept ImportError:\n    pass", "imports scipy at its top"),
        ("streams/views.py", "class A:\n    import PIL.Image", "imports PIL at its top"),
    ],
)
def test_the_package_check_notices(path, source, reason):
    (found,) = violations(source, pathlib.Path("keras_transfer", path))
    assert reason in found


@pytest.mark.parametrize(
    "source",
    [
        "from keras_transfer import datasets",
        "import keras_transfer",
        "import keras_transfer as transfer",
        "import keras_transfer.models as kt",
        "def main():\n    from keras_transfer.losses import coral",
    ],
)
def test_the_recipe_check_notices(source):
    (found,) = violations(source, pathlib.Path("recipes/adapt.py"))
    assert "recipes import `keras_transfer as kt` alone" in found


@pytest.mark.parametrize(
    "path, source",
    [
        ("keras_transfer/losses/coral.py", "from keras_transfer.losses.checks import check_pair"),
        ("keras_transfer/model.py", "def f():\n    import tensorflow as tf"),
        ("keras_transfer/models/meta/maml.py", "import tensorflow as tf\nclass A:\n    def train_step(self): pass"),
        ("keras_transfer/models/meta/maml.py", "from keras_transfer import gradients, losses, model"),
        ("keras_transfer/models/__init__.py", "from keras_transfer.models.adaptation.dan import DAN"),
        ("keras_transfer/models/meta/__init__.py", "from keras_transfer.models.meta.maml import MAML"),
        ("keras_transfer/models/meta/maml.py", "from keras_transfer.models.meta.shared import descend"),
        ("keras_transfer/testing.py", "from keras_transfer.models import DANN\ndef f():\n    import sklearn"),
        (
            "recipes/adapt.py",
            "import keras\nimport tyro\nimport keras_transfer as kt\nfrom keras_transfer.recipes.plots import draw",
        ),
    ],
)
def test_the_check_lets_pass(path, source):
    assert violations(source, pathlib.Path(path)) == []


# What of a method is looked at from outside of its family.


def looked_at(source):
    """What a file looks at of a method beside its contract and what every Keras model has.

    A method is what is called `model`, or an attribute or item of that name: `self.model`, `models[arm]`.

    Args:
        source: str, the text of the file.

    Returns:
        List of strings, one for each.
    """
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and _is_method(node.value) and node.attr not in _known() | VERBS:
            found.append(f"line {node.lineno}: .{node.attr}")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
            asks = node.func.id in ("hasattr", "getattr", "setattr", "isinstance", "vars", "dir")
            if asks and _is_method(node.args[0]):
                found.append(f"line {node.lineno}: {node.func.id}")
    return found


def _is_method(node):
    if isinstance(node, ast.Subscript):
        node = node.value
        return isinstance(node, ast.Name) and node.id == "models"
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    return name == "model"


@functools.cache
def _known():
    """The public names of a compiled method that has nothing of its own."""
    model = kt.TransferModel({})
    model.compile("sgd", "mse")
    return {name for name in (*dir(kt.TransferModel), *vars(model)) if not name.startswith("_")}


OUTSIDE = [path for path in FILES if path.parts[1] not in ("model.py", "models", "keras_internals.py")]


@pytest.mark.parametrize("path", OUTSIDE, ids=str)
def test_of_a_method_others_see_its_contract_alone(path):
    assert looked_at((ROOT / path).read_text()) == []


@pytest.mark.parametrize(
    "source, reason",
    [
        ("if hasattr(model, 'heads'): pass", "hasattr"),
        ("getattr(self.model, 'encoder', None)", "getattr"),
        ("isinstance(models[arm], DANN)", "isinstance"),
        ("for head in model.heads: pass", ".heads"),
        ("self.model.weighting.used", ".weighting"),
    ],
)
def test_the_look_is_noticed(source, reason):
    (found,) = looked_at(source)
    assert found == f"line 1: {reason}"


def test_the_contract_may_be_used():
    source = "model.signatures(x)\nmodel.combine\nmodel.optimizer\nmodel.step\nmodel.adapt(x, y)\nisinstance(x, dict)"
    assert looked_at(source) == []
    assert issubclass(kt.TransferModel, keras.Model)
