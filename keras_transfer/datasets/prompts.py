"""Sentences around the names of classes, for towers that were trained on captions."""

PICTURE_PROMPTS = (
    "a picture of {}",
    "a photo of a {}",
    "a drawing of {}",
    "an image that shows {}",
)


def prompts(names, templates=PICTURE_PROMPTS):
    """Makes descriptions of classes of their names; zero-shot methods average those of a class.

    Args:
        names: Names of classes, each once.
        templates: Strings with one `{}` each.

    Returns:
        Dict of names to lists of str, for `kt.models.LabelDescriptions` and others.

    Raises:
        ValueError: If a name is empty or twice, or a template has no `{}`, or more than one.

    Example:
    >>> prompts(["zebra"], ["a photo of a {}"])
    {'zebra': ['a photo of a zebra']}
    """
    names, templates = list(names), list(templates)
    if not all(isinstance(name, str) and name.strip() for name in names) or len(set(names)) < len(names):
        raise ValueError(f"Expected names of classes, each once; received {names}.")
    wrong = [template for template in templates if template.count("{}") != 1]
    if wrong or not templates:
        raise ValueError(f"Expected templates with one {{}} each; received {wrong or 'none'}.")
    return {name: [template.replace("{}", name) for template in templates] for name in names}
