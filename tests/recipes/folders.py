"""Where the recipes of the tests write."""


def folders(folder):
    """The settings of a recipe by which all that it leaves lies in one folder."""
    return {name: folder / name for name in ("runs", "saved_models", "results")}
