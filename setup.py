"""All settings are in setup.cfg, but for two: the folders recipes/ and saved_models/ are installed in the package."""

import pathlib

from setuptools import find_packages, setup

RECIPES = [f"keras_transfer.{name}" for name in find_packages(include=["recipes*"])]
MODELS = [card.parent.name for card in pathlib.Path("saved_models").glob("*/card.json")]  # not exports of recipes

setup(
    packages=[*find_packages(include=["keras_transfer*"]), *RECIPES, "keras_transfer.saved_models"],
    package_dir={"keras_transfer.recipes": "recipes", "keras_transfer.saved_models": "saved_models"},
    package_data={
        "keras_transfer.layers": ["*.npz"],
        "keras_transfer.saved_models": [f"{name}/**/*" for name in MODELS],
    },
)
