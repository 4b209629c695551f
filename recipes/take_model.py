"""Lists the models of the zoo, shows what is known of one, or copies it for a server.

keras-transfer zoo
keras-transfer zoo --name digits_adapted
keras-transfer zoo --name digits_adapted --saved-models my_models
"""

import dataclasses
import pathlib
import shutil

import keras_transfer as kt
from keras_transfer.recipes import runs


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of a look at the zoo."""

    name: str | None = None
    """A model to show; by default all are listed."""
    saved_models: pathlib.Path | None = None
    """Folder to copy the model into, `<saved_models>/<name>/`; by default nothing is copied."""


def main(config):
    """Lists, shows or copies; returns the names, the card or the path of the copy."""
    runs.check(config)
    if config.name is None:
        if config.saved_models is not None:
            raise ValueError("Expected --name, of the model to copy; received --saved-models alone.")
        names = kt.zoo.names()
        for name in names:
            print(f"{name:<24}{kt.zoo.card(name)['what_for']}")
        return names
    folder = kt.zoo.path(config.name)
    print((folder / "README.md").read_text(encoding="utf-8"))
    if config.saved_models is None:
        return kt.zoo.card(config.name)

    def copy(beside):
        shutil.copytree(folder, beside, dirs_exist_ok=True)

    target = kt.report.write_folder_whole(config.saved_models, copy, config.name)
    print(runs.serving(max(path for path in target.iterdir() if path.name.isdecimal())))
    return target


if __name__ == "__main__":
    runs.command(main, Config, __doc__)
