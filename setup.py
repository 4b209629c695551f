"""All settings are in setup.cfg, but for one: the folder recipes/ is installed as `keras_transfer.recipes`."""

from setuptools import find_packages, setup

RECIPES = [f"keras_transfer.{name}" for name in find_packages(include=["recipes*"])]

setup(
    packages=[*find_packages(include=["keras_transfer*"]), *RECIPES],
    package_dir={"keras_transfer.recipes": "recipes"},
)
