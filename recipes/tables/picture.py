"""The README's picture: the best measured arm of each case with its interval, and what gradient steps are worth."""

import io

from matplotlib.figure import Figure
from PIL import Image

from keras_transfer.recipes.tables.gains import FAMILIES, best_of_cases, sinusoids

OTHER = "#666666"
COLORS = {  # Okabe and Ito's
    "gain": "#0072B2",
    "no difference": OTHER,
    "inconclusive": "#CC79A7",
    "negative transfer": "#D55E00",
}
NETWORKS = {"maml": "MAML", "pretrained": "fine-tuned"}


def describe(results):
    """Returns in words what the picture shows: kept in the file, it tells whether the picture is of these results.

    Args:
        results: pathlib.Path of the folder of results.
    """
    medians, _ = sinusoids(results)
    lines = [f"{FAMILIES[gain.family]}: {gain} ({gain.verdict})" for gain in best_of_cases(results)]
    for arm, errors in medians.items():
        lines.append(f"Sinusoids, squared error after each step, {arm}: {', '.join(f'{e:.4f}' for e in errors)}")
    return "\n".join(lines)


def shows(path, results):
    """Returns whether the picture at `path` is there and was drawn from these results."""
    if not path.is_file():
        return False
    with Image.open(path) as image:
        return image.info.get("Description") == describe(results)


def png(results):
    """Returns the picture as the bytes of a PNG file that also says what it shows."""
    file = io.BytesIO()
    draw(results).savefig(file, dpi=100, metadata={"Description": describe(results), "Software": None})
    return file.getvalue()


def draw(results):
    """Returns the picture as a matplotlib figure; `results` is the folder of results."""
    found = best_of_cases(results)
    figure = Figure(figsize=(11.5, 6.2), layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=(1.3, 1), height_ratios=(2, 1))
    gains, changes = figure.add_subplot(grid[:, 0]), figure.add_subplot(grid[1, 1])
    forest(gains, [gain for gain in found if gain.family != "weightings"])
    gains.set_xlabel("gain in accuracy over the baseline, in points of %", fontsize=9)
    for verdict, color in COLORS.items():
        gains.plot([], [], "o-", color=color, linewidth=2.2, label=verdict)
    beside = {"loc": "center right", "bbox_to_anchor": (1.0, 0.65)}  # where no number stands
    gains.legend(fontsize=7.5, title="best of each case, 95 % interval", title_fontsize=7.5, **beside)
    forest(changes, [gain for gain in found if gain.family == "weightings"])
    changes.set_xlabel("gain over equal weights, in points of %", fontsize=9)
    steps(figure.add_subplot(grid[0, 1]), sinusoids(results)[0])
    return figure


def forest(panel, gains):
    """Draws each gain as a point with its interval, and above those of a family its name."""
    place, ticks, family, size = 0, [], None, 8.5 * min(1.0, 36 / len(gains))  # rows do not lie over one another
    for gain in gains:
        if gain.family != family:
            family, place = gain.family, place + 0.5 * bool(ticks)
            name = panel.text(0, place, FAMILIES[family], transform=panel.get_yaxis_transform())
            name.set(ha="right", va="center", fontsize=size + 0.5, fontweight="bold")
            place += 1
        color = COLORS.get(gain.verdict, OTHER)
        panel.plot([gain.low, gain.high], [place, place], color=color, linewidth=2.2, solid_capstyle="butt")
        panel.plot(gain.mean, place, "o", color=color, markersize=0.7 * size)
        beside = {"xytext": (6, 0), "textcoords": "offset points", "va": "center", "fontsize": size - 0.5}
        panel.annotate(f"{gain.mean:+.1f}", (max(gain.high, 0), place), color=color, **beside)
        ticks.append((place, gain.name))
        place += 1
    panel.set_yticks(*zip(*ticks), fontsize=size)
    panel.axvline(0, color="black", linewidth=0.8, zorder=0)
    panel.set_ylim(place - 0.4, -0.6)
    panel.margins(x=0.12)
    panel.tick_params("y", length=0)
    panel.spines[["left", "right", "top"]].set_visible(False)
    panel.grid(axis="x", alpha=0.25)


def steps(panel, medians):
    """Draws the error of each network against the gradient steps that it took on a new task."""
    for (arm, label), color in zip(NETWORKS.items(), ("#0072B2", OTHER)):
        panel.plot(medians[arm], "o-", color=color, markersize=4, label=label)
    panel.set_xticks(range(0, len(medians["maml"]), 2))
    panel.set_yscale("log")
    panel.set_yticks([0.1, 0.3, 1, 3], ["0.1", "0.3", "1", "3"])
    panel.minorticks_off()
    panel.set_title("Few-shot: new sinusoids, 10 points", fontsize=9, fontweight="bold")
    panel.set_xlabel("gradient steps on the points", fontsize=9)
    panel.set_ylabel("mean squared error", fontsize=9)
    panel.legend(fontsize=8.5)
    panel.spines[["right", "top"]].set_visible(False)
    panel.grid(alpha=0.25)
