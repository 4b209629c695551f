"""The command `keras-transfer <verb>`: each verb is a recipe, from your own data to a model that is served."""

import importlib
import importlib.util
import sys

PACKAGES = {"matplotlib": "matplotlib", "sklearn": "scikit-learn", "tyro": "tyro"}
VERBS = {  # the recipe of each verb, and what it does
    "fine-tune": ("finetune_photos", "a pretrained backbone and a few labels of your classes"),
    "adapt": ("adapt_photos", "labels in one domain, none in the one that counts"),
    "few-shot": ("learn_photos", "classes never seen, from a few examples of each"),
    "pretrain": ("pretrain_images", "many pictures, few of them labelled"),
    "multi-task": ("train_table", "several kinds of labels of the same rows or pictures"),
    "classify-text": ("classify_text", "texts, from a few labels of your classes or from none"),
    "pretrain-text": ("pretrain_text", "many texts, few of them labelled"),
    "zero-shot": ("recognise_unseen", "classes never seen, from attributes or words"),
    "few-labels": ("learn_from_few", "few labels and many rows without, stage by stage"),
    "choose": ("choose_backbone", "which backbone, and which of these ways, pays for your pictures"),
    "export": ("export_model", "from a .keras file to a SavedModel that TF Serving loads, verified"),
    "verify": ("verify_model", "a SavedModel against the .keras file that it was made from"),
    "zoo": ("take_model", "models to take away: list them, copy one"),
}


def main(arguments=None):
    """Runs a verb with its options.

    Args:
        arguments: list of strings; by default those of the command line.

    Raises:
        SystemExit: with status 2 if there is no such verb or option, or what is asked for is refused; 1 if packages
            are missing; 130 if it was interrupted.
    """
    verb, *options = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if verb in ("-h", "--help"):
        print(_usage())
        return
    if verb not in VERBS:
        print(f"Expected a verb, one of {', '.join(VERBS)}; received {verb!r}.\n\n{_usage()}", file=sys.stderr)
        raise SystemExit(2)
    missing = [package for module, package in PACKAGES.items() if importlib.util.find_spec(module) is None]
    if missing:
        print(f"Expected the packages {', '.join(missing)}: pip install 'keras_transfer[recipes]'.", file=sys.stderr)
        raise SystemExit(1)
    from keras_transfer.recipes import runs

    recipe = importlib.import_module(f"keras_transfer.recipes.{VERBS[verb][0]}")
    runs.command(recipe.main, recipe.Config, recipe.__doc__, options, f"keras-transfer {verb}")


def _usage():
    verbs = [f"  {verb:<15}{what}" for verb, (_, what) in VERBS.items()]
    head = ["usage: keras-transfer <verb> [options]", "", "Transfer learning, from your own data to a served model."]
    more = ["`keras-transfer <verb> --help` teaches the options. Without data of yours the first ten run on theirs."]
    return "\n".join([*head, "", *verbs, "", *more])


if __name__ == "__main__":
    main()
