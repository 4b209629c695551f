"""The pictures that recipes draw, each a function that returns a matplotlib figure."""

import textwrap

import numpy as np
from matplotlib.figure import Figure

TSNE_STEPS = 1000  # of gradient descent, as many as scikit-learn takes by default


def samples(domains, rows=4, columns=12):
    """Draws images of each domain side by side; `domains` is `{name: uint8 images (n, height, width, 1 or 3)}`."""
    figure = Figure(figsize=(0.5 * columns * len(domains), 0.5 * rows + 0.4), layout="constrained")
    panels = figure.subplots(1, len(domains), squeeze=False)[0]
    for panel, (name, images) in zip(panels, domains.items()):
        height, width, channels = images.shape[1:]
        grid = np.full((rows * columns, height, width, channels), 255, np.uint8)  # white where there are fewer
        grid[: len(images)] = images[: len(grid)]
        grid = grid.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
        panel.imshow(grid.reshape(rows * height, columns * width, channels), cmap="gray")
        panel.set_title(name)
        panel.axis("off")
    return figure


def embedding(features, labels, names):
    """Draws t-SNE of source and target features, by domain and by class.

    Args:
        features: dict of a title (before, after) to a pair of arrays `(rows, dim)`, source and target.
        labels: pair of integer arrays `(rows,)`, source and target.
        names: pair of the names of the domains.
    """
    from sklearn.manifold import TSNE

    figure = Figure(figsize=(5 * len(features), 9.4), layout="constrained")
    panels = figure.subplots(2, len(features), squeeze=False)
    for column, (title, (source, target)) in enumerate(features.items()):
        points = TSNE(init="pca", random_state=0, max_iter=TSNE_STEPS).fit_transform(np.concatenate([source, target]))
        for part, domain, color in zip(np.split(points, [len(source)]), names, ("#0072B2", "#D55E00")):
            panels[0, column].scatter(*part.T, s=5, color=color, label=domain)
        panels[0, column].set_title(f"{title}: by domain")
        panels[0, column].legend(markerscale=3)
        by_class = panels[1, column].scatter(*points.T, s=5, c=np.concatenate(labels), cmap="tab10")
        panels[1, column].set_title(f"{title}: by class")
        panels[1, column].legend(*by_class.legend_elements(), markerscale=0.8, ncols=2, fontsize=8)
    for panel in panels.flat:
        panel.set_xticks([])
        panel.set_yticks([])
    return figure


def curves(histories):
    """Draws every log over the epochs, a panel each; `histories` is a dict of names to lists of `History.history`."""
    logs = sorted({name for runs in histories.values() for name in runs[0]})
    columns = min(5, len(logs))
    rows = -(-len(logs) // columns)
    figure = Figure(figsize=(3.6 * columns, 3.2 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel in panels[len(logs) :]:
        panel.axis("off")
    for panel, log in zip(panels, logs):
        for number, (name, runs) in enumerate(histories.items()):
            for run in runs:
                if log in run:
                    label = name if run is runs[0] else None
                    panel.plot(range(1, len(run[log]) + 1), run[log], color=f"C{number}", alpha=0.7, label=label)
        panel.set(title=log, xlabel="epoch")
        lengths = [len(run[log]) for runs in histories.values() for run in runs if log in run]
        if max(lengths) > 8 * min(lengths):
            panel.set_xscale("log")
        panel.grid(alpha=0.3)
        panel.legend(fontsize=7)
    return figure


def confusion(labels, predictions, classes):
    """Draws confusion matrices side by side, in % of each true class; `predictions` is `{title: class ids}`."""
    from sklearn.metrics import confusion_matrix

    figure = Figure(figsize=(4.6 * len(predictions), 4.4), layout="constrained")
    for panel, (title, predicted) in zip(figure.subplots(1, len(predictions), squeeze=False)[0], predictions.items()):
        matrix = 100 * confusion_matrix(labels, predicted, labels=range(len(classes)), normalize="true")
        panel.imshow(matrix, cmap="Blues", vmin=0, vmax=100)
        for (row, column), value in np.ndenumerate(matrix):
            if value >= 0.5:
                color = "white" if value > 50 else "black"
                panel.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=7, color=color)
        panel.set_xticks(range(len(classes)), classes)
        panel.set_yticks(range(len(classes)), classes)
        panel.set(title=title, xlabel="predicted", ylabel="true")
    return figure


def predictions(images, labels, logits, classes, rows=4, columns=10):
    """Draws images with what the model answers and how sure it is; in red, with the truth beside, where it is wrong.

    Args:
        images: uint8 array `(n, height, width, 1 or 3)`.
        labels: integer array `(n,)`.
        logits: array `(n, classes)`.
        classes: names of the classes.
        rows: int, rows of images.
        columns: int, images in a row.
    """
    chosen = np.random.default_rng(0).permutation(len(images))[: rows * columns]
    odds, titles = np.exp(logits - logits.max(-1, keepdims=True)), {}
    for i in chosen:
        answer, sure = logits[i].argmax(), odds[i].max() / odds[i].sum()
        said = [f"{_shortened(classes[answer], 42)} {100 * sure:.0f} %"]
        if answer != labels[i]:
            said.append(f"is {_shortened(classes[labels[i]], 42)}")
        titles[i] = "\n".join(textwrap.fill(text, 24) for text in said)
    lines = max(2, *(title.count("\n") + 1 for title in titles.values()))
    figure = Figure(figsize=(1.5 * columns, (1.45 + 0.15 * lines) * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel in panels:
        panel.axis("off")
    for panel, i in zip(panels, chosen):
        panel.imshow(images[i], cmap="gray")
        color = "#0072B2" if logits[i].argmax() == labels[i] else "#D55E00"
        panel.set_title(titles[i], fontsize=8, color=color)
    return figure


def seen_unseen(curves):
    """Draws how accuracies on seen and on unseen classes trade; `curves` is `{arm: {"seen": list, "unseen": list}}`."""
    figure = Figure(figsize=(5, 4.6), layout="constrained")
    panel = figure.subplots()
    for number, (arm, curve) in enumerate(curves.items()):
        panel.plot(curve["unseen"], curve["seen"], color=f"C{number}", label=arm)
    panel.set(xlabel="accuracy on unseen classes", ylabel="accuracy on seen classes", xlim=(0, 1), ylim=(0, 1))
    panel.grid(alpha=0.3)
    panel.legend()
    return figure


def episode(support, labels, query, truth, answers):
    """Draws an episode: the support of each class on the left, its queries on the right; wrong answers in red.

    Args:
        support: uint8 images `(rows, height, width, 1 or 3)`.
        labels: integer array `(rows,)`.
        query: uint8 images `(queries, height, width, 1 or 3)`.
        truth: integer array `(queries,)`.
        answers: integer array `(queries,)`.
    """
    ways = labels.max() + 1
    shots, queries = len(labels) // ways, len(truth) // ways
    figure = Figure(figsize=(0.9 * (shots + queries) + 0.3, 1.05 * ways), layout="constrained")
    panels = figure.subplots(ways, shots + queries, squeeze=False)
    for k in range(ways):
        mine, asked = support[labels == k], np.flatnonzero(truth == k)
        for panel, image in zip(panels[k], [*mine, *query[asked]]):
            panel.imshow(image, cmap="gray")
            panel.set_xticks([])
            panel.set_yticks([])
        panels[k, 0].set_ylabel(f"class {k}")
        for panel, i in zip(panels[k, shots:], asked):
            wrong = answers[i] != k
            panel.spines[:].set(color="#D55E00" if wrong else "#0072B2", linewidth=3 if wrong else 1)
            panel.set_xlabel(f"class {answers[i]}" if wrong else "", color="#D55E00", fontsize=8)
    panels[0, 0].set_title("support", fontsize=9)
    panels[0, shots].set_title("queries", fontsize=9)
    return figure


def classes(features, labels, names=None):
    """Draws t-SNE of features `(rows, dim)`, coloured by class; `names` are those of the classes."""
    from sklearn.manifold import TSNE

    perplexity = min(30, (len(features) - 1) // 3)
    points = TSNE(init="pca", random_state=0, perplexity=perplexity, max_iter=TSNE_STEPS).fit_transform(features)
    figure = Figure(figsize=(5, 4.6), layout="constrained")
    panel = figure.subplots()
    present = np.unique(labels)
    drawn = panel.scatter(*points.T, s=14, c=labels, cmap="tab10" if len(present) <= 10 else "turbo")
    named = present if names is None else [names[label] for label in present]
    handles, _ = drawn.legend_elements(num=list(present))
    figure.legend(handles, named, loc="outside right upper", fontsize=8, ncols=1 + len(named) // 14)
    panel.set_xticks([])
    panel.set_yticks([])
    return figure


def accuracies(by_arm):
    """Draws `{arm: {case: [accuracy]}}`, a dot for each seed and a bar at their mean."""
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    panel = figure.subplots()
    for number, (arm, by_case) in enumerate(by_arm.items()):
        for place, values in enumerate(by_case.values()):
            x = place + 0.18 * (number - (len(by_arm) - 1) / 2)
            panel.plot(
                [x] * len(values),
                100 * np.array(values),
                "o",
                color=f"C{number}",
                alpha=0.7,
                label=arm if not place else None,
            )
            panel.hlines(100 * np.mean(values), x - 0.07, x + 0.07, color=f"C{number}", linewidth=3)
    cases = next(iter(by_arm.values()))
    panel.set_xticks(range(len(cases)), cases)
    panel.set_ylabel("accuracy in the test (%)")
    panel.grid(axis="y", alpha=0.3)
    panel.legend(fontsize=8)
    return figure


def matrices(by_arm):
    """Draws the accuracy on each task (columns) after each task (rows); `{arm: array (tasks, tasks)}`."""
    columns = min(5, len(by_arm))
    rows = -(-len(by_arm) // columns)
    figure = Figure(figsize=(2.6 * columns, 2.7 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel in panels[len(by_arm) :]:
        panel.axis("off")
    for panel, (arm, matrix) in zip(panels, by_arm.items()):
        panel.imshow(matrix, vmin=0, vmax=1, cmap="viridis")
        for (row, column), value in np.ndenumerate(np.asarray(matrix)):
            shade = "white" if value < 0.6 else "black"
            panel.text(column, row, f"{100 * value:.0f}", ha="center", va="center", color=shade, fontsize=7)
        panel.set_title(arm, fontsize=9)
        panel.set_xlabel("accuracy on task", fontsize=8)
        panel.set_ylabel("after task", fontsize=8)
    return figure


def over_time(by_arm):
    """Draws the mean accuracy on the tasks seen so far, after each; `{arm: array (seeds, tasks, tasks)}`."""
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    panel = figure.subplots()
    for number, (arm, found) in enumerate(by_arm.items()):
        means = np.array(
            [[100 * matrix[t, : t + 1].mean() for t in range(len(matrix))] for matrix in np.asarray(found)]
        )
        tasks, style = np.arange(1, means.shape[1] + 1), "-" if number < 10 else "--"
        panel.plot(tasks, means.mean(0), f"o{style}", color=f"C{number}", markersize=3, label=arm)
        panel.fill_between(tasks, means.min(0), means.max(0), color=f"C{number}", alpha=0.15)
    panel.set_xticks(tasks)
    panel.set_xlabel("tasks learned")
    panel.set_ylabel("mean accuracy on these (%)")
    panel.grid(alpha=0.3)
    panel.legend(fontsize=7, ncols=2)
    return figure


def frontier(lines, names):
    """Draws what is kept of an old domain against what is learned of a new one.

    Args:
        lines: `{method: [(old accuracy, new accuracy) of each strength, in their order]}`.
        names: pair of the names of the domains.
    """
    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    panel = figure.subplots()
    for number, (method, points) in enumerate(lines.items()):
        new, old = 100 * np.array([point[1] for point in points]), 100 * np.array([point[0] for point in points])
        panel.plot(new, old, "o-" if len(points) > 1 else "s", color=f"C{number}", markersize=5, label=method)
    panel.set_xlabel(f"new: accuracy on {names[1]} (%)")
    panel.set_ylabel(f"old: accuracy on {names[0]} (%)")
    panel.grid(alpha=0.3)
    panel.legend(fontsize=8)
    return figure


def by_shots(shots, accuracies):
    """Draws accuracy against the number of examples; `accuracies` is `{arm: (shots,)}`."""
    figure = Figure(figsize=(5.4, 3.8), layout="constrained")
    panel = figure.subplots()
    for arm, values in accuracies.items():
        panel.plot(shots, 100 * np.array(values), "o-", label=arm)
    panel.set_xscale("log")
    panel.set_xticks(shots, shots)
    panel.minorticks_off()
    panel.set(xlabel="examples of each class", ylabel="5-way accuracy in the test (%)")
    panel.grid(alpha=0.3)
    panel.legend(fontsize=8)
    return figure


def fits(x, supports, curves):
    """Draws regression from a few points: a row for each method, a column for each task, a line for each step count.

    Args:
        x: array `(points,)`.
        supports: list, for each task, of the support's arrays `(shots, 1)`, inputs and targets.
        curves: dict of names of methods to a list, for each task, of a dict of numbers of steps to `(points,)`.
    """
    figure = Figure(figsize=(3.6 * len(supports), 2.8 * len(curves)), layout="constrained")
    panels = figure.subplots(len(curves), len(supports), squeeze=False, sharex=True, sharey="col")
    for row, (name, tasks) in zip(panels, curves.items()):
        for panel, support, lines in zip(row, supports, tasks):
            for style, (steps, y) in zip((":", "--", "-"), lines.items()):
                panel.plot(x, y, style, color="#0072B2", label=f"after {steps} step{'' if steps == 1 else 's'}")
            panel.plot(*(part.ravel() for part in support), "^", color="#D55E00", label="support")
        row[0].set_ylabel(name)
    panels[0, 0].legend(fontsize=8)
    return figure


def neighbours(images, features, rows=8, columns=10):
    """Draws images, each with the nearest others by the cosine of their features on its right.

    Args:
        images: uint8 array `(n, height, width, 1 or 3)`.
        features: array `(n, dim)`.
        rows: int, images that are asked for.
        columns: int, neighbours of each.
    """
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    figure = Figure(figsize=(0.8 * (columns + 1), 0.8 * rows + 0.3), layout="constrained")
    for row, panels in enumerate(figure.subplots(rows, columns + 1, squeeze=False)):
        order = np.argsort(-(unit @ unit[row]))
        for panel, place in zip(panels, (row, *order[order != row])):
            panel.imshow(images[place], cmap="gray")
            panel.axis("off")
        if not row:
            panels[0].set_title("asked", fontsize=9)
            panels[1].set_title("nearest", fontsize=9)
    return figure


def reconstructions(images, hidden, predicted):
    """Draws images, what was visible of them, and what was predicted in the hidden places.

    Args:
        images: uint8 array `(n, height, width, 1 or 3)`.
        hidden: array `(n, height, width, 1)`, 1 where pixels were hidden.
        predicted: array of the images' shape, 0-1.
    """
    seen = np.where(hidden > 0, 128, images).astype("uint8")
    filled = np.where(hidden > 0, np.clip(255 * predicted, 0, 255), images).astype("uint8")
    figure = Figure(figsize=(0.8 * len(images), 2.6), layout="constrained")
    panels = figure.subplots(3, len(images), squeeze=False)
    for row, (title, shown) in zip(panels, (("image", images), ("visible", seen), ("filled", filled))):
        for panel, image in zip(row, shown):
            panel.imshow(image, cmap="gray", vmin=0, vmax=255)
            panel.set_xticks([])
            panel.set_yticks([])
        row[0].set_ylabel(title, fontsize=9)
    return figure


def nearest_texts(texts, features, rows=8, columns=3, width=60):
    """Draws texts, each with the nearest others by the cosine of their features below it."""
    z = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    near = z @ z.T
    np.fill_diagonal(near, -np.inf)
    figure = Figure(figsize=(10, 0.28 * rows * (columns + 1.6)), layout="constrained")
    panel, line = figure.subplots(), 0.0
    panel.axis("off")
    for text in np.linspace(0, len(texts) - 1, min(rows, len(texts))).astype(int):
        panel.text(0, -line, _shortened(texts[text], width), weight="bold", fontsize=9)
        for number, other in enumerate(np.argsort(-near[text])[:columns], 1):
            panel.text(0.03, -line - number, f"{near[text, other]:.2f}  {_shortened(texts[other], width)}", fontsize=9)
        line += columns + 1.6
    panel.set_xlim(0, 1)
    panel.set_ylim(-line, 1)
    return figure


def _shortened(text, width):
    text = " ".join(str(text).split()).replace("$", r"\$")  # no formula
    return text if len(text) <= width else f"{text[: width - 1]}…"
