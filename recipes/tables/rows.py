"""The tables of README and docs/, each a function from the folder of results to the lines of a Markdown table."""

import json
import statistics

import keras_transfer as kt
from keras_transfer.recipes.domains import FLATTERED

MARGINS = {"change": 1.0}  # of records that state none: of a mean change in %, as of accuracies, one point
METHODS = {
    "source_only_plain": "source-only, plain",
    "source_only": "source-only",
    "adabn": "AdaBN",
    "tent": "TENT",
    "shot": "SHOT",
    "adamatch": "AdaMatch",
    "self_ensembling": "self-ensembling",
    "mcc": "MCC",
    "information": "information",
    "bnm": "BNM",
    "dann": "DANN",
    "cdan": "CDAN",
    "adda": "ADDA",
    "wdgrl": "WDGRL",
    "mcd": "MCD",
    "mdd": "MDD",
    "deep_coral": "Deep CORAL",
    "dan": "DAN",
    "jan": "JAN",
    "deep_jdot": "DeepJDOT",
    "nearest_neighbour": "neighbour",
    "logistic_regression": "regression",
    "logistic_regression_scaled": "regression, scaled",
    "logistic_regression_coral": "regression, CORAL",
}

CONTINUAL = {
    "lower_rate": "lower rate",
    "fewer_steps": "fewer steps",
    "l2": "L2 to the last task",
    "l2sp": "L2-SP",
    "ewc": "EWC",
    "si": "synaptic intelligence",
    "mas": "MAS",
    "lwf": "LwF",
    "agem": "A-GEM",
    "derpp": "DER++",
    "icarl": "iCaRL",
    "gdumb": "GDumb",
}

ZERO_SHOT = {
    "eszsl": "ESZSL",
    "sae": "SAE",
    "bilinear": "bilinear, softmax",
    "dual": "dual encoder, names",
    "words": "bilinear, names, end to end",
}
SEMI = {
    "twin": "supervised twin",
    "probe": "regression on features",
    "fine_tune": "LP-FT",
    "fixmatch": "FixMatch",
    "mean_teacher": "mean teacher",
    "pseudo_label": "Pseudo-Label",
    "pi_model": "Pi-model",
    "mixmatch": "MixMatch",
}
TEXT = {
    "tf_idf": "tf-idf, regression",
    "scratch": "from scratch",
    "frozen": "frozen, regression",
    "names": "no label, names",
    "descriptions": "no label, three texts",
    "setfit": "SetFit",
    "lora": "LoRA",
    "full": "all weights",
}


def adapt_digits(results):
    """What adapts a network of digits to another domain, on each pair: the baselines first."""
    yield from header("pair", "arm", "source", "target", "information", "gain", "verdict")
    first = "printed_handwritten", "digits_photos", "usps_mnist", "mnist_usps"
    for case, report in records(results / "adapt_digits", *first):
        yield from _adapted(case, report, "chosen")


def adapt_domains(results):
    """What adapts features between the domains of a data set, by pair, and means over the pairs."""
    for place, (case, record) in enumerate(records(results / "adapt_domains", "pacs", "office_caltech")):
        arms = list(record["means"])
        yield from header("case", "pair", *(METHODS.get(arm, arm) for arm in arms), below=place > 0)
        for pair, report in record["reports"].items():
            means = {arm: mean["target_accuracy"] for arm, mean in report["means"].items()}
            means |= {"chosen": means[report["extra"]["chosen"]], "oracle": max(means.values())}
            yield row(case, pair, *(f"{100 * means[arm]:.1f}" for arm in arms))
        yield row(case, "mean", *(f"{100 * record['means'][arm]:.1f}" for arm in arms))


def adapt_blocks(results):
    """What adapts the upper blocks of a backbone, beside its features as they are; means over the pairs at the end."""
    yield from header("case", "pair", "features", "features, MCC", "blocks", "blocks, MCC")
    for case, record in records(results / "adapt_blocks"):
        arms = list(record["means"])
        for pair, report in record["reports"].items():
            yield row(case, pair, *(spread_of(report, arm, "target_accuracy") for arm in arms))
        yield row(case, "mean", *(f"{100 * record['means'][arm]:.1f}" for arm in arms))


def adapted_epochs(results):
    """What choosing the epoch by the target's information gets, beside the last and the best, by what was run."""
    yield from header("recipe", "case", "arms", "last epoch", "by the score", "by the labels", "given up")
    for recipe in ("adapt_digits", "adapt_domains"):
        for case, record in records(results / recipe):
            reports = record["reports"].values() if "reports" in record else [record]
            found = [one for report in reports for one in report["extra"].get("epochs", {}).items()]
            kept = [epochs for arm, epochs in found if arm not in FLATTERED]
            if kept:
                means = [100 * statistics.mean(one[name] for one in kept) for name in ("last", "score", "oracle")]
                yield row(recipe, case, str(len(kept)), *(f"{value:.1f}" for value in (*means, means[2] - means[1])))


def tune_photos(results):
    """Fine-tuning by choice and by fixed strategies, near and far, against the better logistic regression."""
    yield from header("case", "strategy", "accuracy", "gain", "verdict", "draws")
    cases = (f"{data}_{labels}" for data in ("art_painting", "cartoon", "glyphs") for labels in (2, 10, 50))
    there = [case for case in cases if (results / f"tune_photos/{case}.json").exists()]
    for case, report in records(results / "tune_photos", *there):
        for arm in (report["baseline"], *report["gains"]):
            told = (
                (interval(report["gains"][arm]), verdict(report, arm)) if arm in report["gains"] else ("", "baseline")
            )
            draws = str(len(report["runs"][arm])) if arm == report["baseline"] else ""
            yield row(case, arm, spread_of(report, arm, "accuracy"), *told, draws)


def finetune_strategies(results):
    """Strategies of fine-tuning on few labels, and what each costs; the first row of a case is its baseline."""
    yield from header("case", "strategy", "accuracy", "gain", "verdict", "parameters", "seconds", "MB")
    first = "art_painting_hub_10", "art_painting_mobilenet_10", "art_painting_hub_2"
    for case, report in records(results / "finetune_strategies", *first):
        for arm in (report["baseline"], *report["gains"]):
            mean, gain = report["means"][arm], report["gains"].get(arm)
            told = (interval(gain), verdict(report, arm)) if gain else ("", "baseline")
            costs = f"{mean['trained_parameters']:,.0f}", f"{mean['seconds']:.0f}", f"{mean['file_megabytes']:.2f}"
            yield row(case, arm, spread_of(report, arm, "accuracy"), *told, *costs)


def adapt_photos(results):
    """What is trained on labelled photographs, and tested in another domain: the baselines first."""
    yield from header("case", "arm", "source", "target", "information", "gain", "verdict")
    for case, report in records(results / "adapt_photos"):
        yield from _adapted(case, report, "exported")


def _adapted(case, report, key):
    """The rows of a report of two domains, of which one arm is marked: `report["extra"][key]`."""
    for arm in report["runs"]:
        gain, chosen = report["gains"].get(arm), f", {key}" * (arm == report["extra"][key])
        told = (interval(gain), verdict(report, arm)) if gain else ("", "baseline" * (arm == report["baseline"]))
        accuracies = (spread_of(report, arm, f"{domain}_accuracy") for domain in ("source", "target"))
        score = f"{report['means'][arm]['target_information']:.2f}"
        yield row(case, METHODS.get(arm, arm), *accuracies, score, told[0], f"{told[1]}{chosen}".removeprefix(", "))


def learn_photos(results):
    """Accuracy on classes of pictures that no arm has seen, by the size of the episodes."""
    yield from _episodes(results / "learn_photos", "data")


def learn_episodes(results):
    """Accuracy on classes never seen, by the size of the episodes; a table for each choice of sizes."""
    yield from _episodes(results / "learn_episodes", "data")


def learn_to_adapt(results):
    """Accuracy on classes never seen of methods that adapt their weights to each task."""
    yield from _episodes(results / "learn_to_adapt", "case")


def _episodes(folder, of):
    """Of trainings the mean ± standard deviation, of a single one the mean ± its interval over episodes."""
    shown = None
    for case, record in records(folder):
        for arm, runs in record["tests"].items():
            protocols = [report["protocol"] for report in runs[0]["reports"]]
            sizes = [f"{protocol['ways']}-way {protocol['shots']}-shot" for protocol in protocols]
            if sizes != shown:
                yield from header(of, "method", *sizes, "trainings", below=shown is not None)
                shown = sizes
            cells = []
            for reports in zip(*(run["reports"] for run in runs)):
                accuracies = [100 * report["accuracy"] for report in reports]
                spread = statistics.stdev(accuracies) if len(reports) > 1 else 100 * reports[0]["margin"]
                cells.append(f"{statistics.mean(accuracies):.1f} ± {spread:.1f}")
            yield row(case, arm, *cells, str(len(runs)))


def maml_sinusoid(results):
    """Errors after some numbers of steps, the median and the range of seeds, and the longest training."""
    steps = 0, 1, 2, 5, 10
    yield from header("shots", "network", *(f"{n} step{'' if n == 1 else 's'}" for n in steps), "seconds")
    for case, record in records(results / "maml_sinusoid"):
        for arm, curves in record["mean_squared_error"].items():
            cells = []
            for n in steps:
                errors = sorted(float("inf") if curve[n] is None else curve[n] for curve in curves)
                cells.append(f"{statistics.median(errors):.3f} [{errors[0]:.3f}, {errors[-1]:.3f}]")
            yield row(case, arm, *cells, f"{max(record['seconds'][arm]):.0f}")


def pretrain_views(results):
    """Probes with all labels, then what few labels are worth; mean ± standard deviation of seeds."""
    names = [f"fashion_mnist_{method}" for method in ("simclr", "byol", "barlow_twins", "vicreg", "mae")]
    found = list(records(results / "pretrain_views", *names))
    yield from header("case", "encoder", "linear", "neighbours", "minutes")
    for case, record in found:
        median = f"{statistics.median(record['seconds'].values()) / 60:.0f}"
        for encoder, runs in record["all_labels"].items():
            cells = [spread([run[name] for run in runs.values()]) for name in ("linear_accuracy", "knn_accuracy")]
            yield row(case, encoder, *cells, median if encoder == record["config"]["method"] else "")
    yield from header("case", "labels of each class", "arm", "accuracy", "gain", "verdict", below=True)
    for case, record in found:
        for labels, report in record["reports"].items():
            for arm, runs in record["few_labels"][labels].items():
                gain = report["gains"].get(arm)
                at_baseline = "", "baseline" * (arm == report["baseline"])
                told = (interval(gain), verdict(report, arm)) if gain else at_baseline
                chosen = ", chosen" * (arm == report["extra"].get("chosen"))
                accuracy = spread([run["test"] for run in runs.values()])
                yield row(case, labels, arm, accuracy, told[0], told[1] + chosen)


def pretrain_colours(results):
    """Probes in each domain, their mean, and the gains of what was pretrained; mean ± standard deviation of seeds."""
    domains = "photo", "cartoon", "art_painting"
    over = "over random", "verdict", "over crops", "verdict"
    yield from header("case", "encoder", *domains, "mean", *over, "views a second")
    for case, record in records(results / "pretrain_colours"):
        for arm, runs in record["accuracies"].items():
            names = (*(f"{domain}_accuracy" for domain in domains), "accuracy")
            cells = [spread([run[name] for run in runs.values()]) for name in names]
            for baseline in ("random", "crops"):
                report = record["reports"][baseline]
                gain = report["gains"].get(arm)
                cells += [interval(gain), verdict(report, arm)] if gain else ["", ""]
            speed = record["views_per_second"].get(arm)
            yield row(case, arm, *cells, f"{speed:,.0f}" if speed else "")


def train_tasks(results):
    """Each task alone and in the shared model, and what the latter takes of all single-task models together."""
    yield from header("case", "task", "single", "shared", "gain", "verdict", "parameters", "time")
    for case, record in records(results / "train_tasks"):
        seconds = {arm: sum(by_seed.values()) for arm, by_seed in record["seconds"].items()}
        costs = [
            of["shared"] / sum(v for arm, v in of.items() if arm != "shared") for of in (record["parameters"], seconds)
        ]
        for task, report in record["reports"].items():
            gain = report["gains"]["shared"]
            arms = (spread_of(report, arm, "accuracy") for arm in ("single", "shared"))
            yield row(
                case, task, *arms, interval(gain), verdict(report, "shared"), *(f"{share:.0%}" for share in costs)
            )


def train_table(results):
    """Columns of a table by one network, a network for each, and models that are none; r2 in % of the variance."""
    yield from header("case", "task", "metric", "linear", "boosted trees", "single", "shared", "shared over single")
    for case, record in records(results / "train_table"):
        for task, report in record["reports"].items():
            arms = [spread_of(report, arm, report["metric"]) for arm in ("linear", "boosted trees", "single", "shared")]
            found = (list(record["scores"][task][arm].values()) for arm in ("shared", "single"))
            gain = kt.report.paired_gain(*found, margin=report["margin"])
            yield row(case, task, report["metric"], *arms, f"{interval(gain._asdict())}, {gain.verdict}")


def adapt_table(results):
    """A task of a table, learned from some origins and told for another one; r2 in % of the variance."""
    yield from header("case", "arm", "metric", "sources", "target", "gain", "verdict")
    for case, report in records(results / "adapt_table"):
        name = report["extra"]["metric"]
        for arm in report["runs"]:
            cells = [spread_of(report, arm, f"{side}_{name}") for side in ("source", "target")]
            yield row(case, METHODS.get(arm, arm), name, *cells, *said_of(report, arm))


def learn_tasks(results):
    """Tasks one after another: accuracy on all after the last, what was forgotten, and what each was at its time."""
    yield from header("case", "arm", "accuracy", "forgetting", "at its time", "kept, MB", "gain", "verdict")
    first = [f"mnist_{scenario}" for scenario in ("class", "task", "domain", "permuted")]
    for case, report in records(results / "learn_tasks", *first):
        scores = report["extra"]["scores"]
        for arm in report["runs"]:
            found = list(scores.get(arm, {}).values())
            cells = [
                f"{100 * statistics.mean(one[name] for one in found):.1f}" if found else ""
                for name in ("forgetting", "plasticity")
            ]
            kept = report["extra"]["bytes"][arm]
            told = said_of(report, arm)
            told = ("", "has all data") if arm in ("joint", "cumulative") else told
            yield row(
                case, CONTINUAL.get(arm, arm), spread_of(report, arm, "accuracy"), *cells, _megabytes(kept), *told
            )


def learn_domains(results):
    """One domain after another on a pretrained network, each arm with the strength that other splits choose."""
    yield from header("case", "arm", "strength", "former domain", "new domain", "mean", "gain", "verdict")
    for case, report in records(results / "learn_domains", "photo_cartoon", "art_painting_photo"):
        extra = report["extra"]
        before = [f"{100 * value:.1f}" for value in extra["before"].values()]
        yield row(case, "before the new domain", "", *before, "", "", "")
        for arm in report["runs"]:
            each = [spread_of(report, arm, f"{name}_accuracy") for name in extra["domains"]]
            told = said_of(report, arm)
            strength = "" if arm == "plain" else f"{extra['chosen'][arm]:g}"
            yield row(case, CONTINUAL.get(arm, arm), strength, *each, spread_of(report, arm, "accuracy"), *told)


def classify_text(results):
    """Texts from a few labels of each class or from none; gains over the best baseline, in points of the metric."""
    yield from header("case", "arm", "accuracy", "macro-F1", "seconds", "gain", "verdict")
    cases = (f"{data}_{labels}" for data in ("trec", "sst2", "emotion") for labels in (8, 64))
    there = [case for case in cases if (results / f"classify_text/{case}.json").exists()]
    for case, report in records(results / "classify_text", *there):
        for arm in report["runs"]:
            cells = [spread_of(report, arm, metric) for metric in ("accuracy", "macro_f1")]
            told = said_of(report, arm)
            seconds = f"{report['means'][arm]['seconds']:.0f}"
            yield row(case, TEXT[arm], *cells, seconds, *told)


def pretrain_text(results):
    """What an encoder tells of hidden or lost tokens, and a few labels and its nearest texts before and after."""
    yield from header("case", "tokens told", "by counting or copying", "perplexity", "minutes", below=False)
    for case, report in records(results / "pretrain_text"):
        means = report["extra"]["pretraining_means"]
        others = [means[name] for name in ("unigram_accuracy", "bigram_accuracy", "copying_accuracy") if name in means]
        told = (f"{100 * means['token_accuracy']:.1f}", f"{100 * max(others):.1f}") if others else ("", "")
        yield row(case, *told, f"{means['perplexity']:.0f}" if others else "", f"{means['seconds'] / 60:.1f}")
    heads = ("before", "after", "by tf-idf", "gain", "verdict", "nearest before", "nearest after", "nearest by tf-idf")
    yield from header("case", *heads, below=True)
    for case, report in records(results / "pretrain_text"):
        arms = ("before", "after", "tf_idf")
        cells = [spread_of(report, arm, "accuracy") for arm in arms]
        near = [spread_of(report, arm, "precision_at_10") for arm in arms]
        yield row(case, *cells, interval(report["gains"]["after"]), verdict(report, "after"), *near)


def several_text_tasks(results):
    """Four questions about texts, each with a model of its own, and in one network with all others."""
    yield from header("case", "task", "arm", "accuracy", "gain", "verdict")
    for case, record in records(results / "several_text_tasks"):
        for task, report in record["reports"].items():
            for arm in report["runs"]:
                yield row(case, task, arm, spread_of(report, arm, "accuracy"), *said_of(report, arm))


def _megabytes(size):
    return f"{size / 1e6:.1f}" if size else ""


def balance_tasks(results):
    """Two tasks by each weighting, their mean change against single-task models, the gain over equal weights."""
    yield from header("pair", "weights", "first task", "second task", "change", "gain over equal", "verdict")
    for case, record in records(results / "balance_tasks"):
        tasks = [name for name in record["tests"]["equal"]["0"] if name != "change"]
        for arm, runs in record["tests"].items():
            cells = []
            for task in tasks:
                values = [run[task] for run in runs.values() if task in run]
                scale, digits = (1, 4) if task == "image" else (100, 1)
                cells.append(f"{scale * statistics.mean(values):.{digits}f}" if values else "")
            changes = [run["change"] for run in runs.values() if "change" in run]
            cells.append(f"{statistics.mean(changes):+.1f} ± {statistics.stdev(changes):.1f}" if changes else "")
            report = record["report"]
            gain = report["gains"].get(arm)
            yield row(case, arm, *cells, *((interval(gain, 1), verdict(report, arm)) if gain else ("", "")))


def choose_backbones(results):
    """What backbones score before training and reach after it, then how well the one tells the other."""
    found = list(records(results / "choose_backbones"))
    yield from header("data", "backbone", "LogME", "H-score", "regression", "on views", "fine-tuned")
    for case, record in found:
        for backbone, mean in record["means"].items():
            scores = f"{mean['log_me']:.3f}", f"{mean['h_score']:.2f}"
            cells = (f"{100 * mean[family]:.1f}" for family in ("probe", "probe_on_views", "fine_tuned"))
            yield row(case, backbone, *scores, *cells)
    yield from header(
        "data", "Spearman of LogME", "of H-score", "best of all", "recommended", "points behind", "by draw", below=True
    )
    for case, record in found:
        told = (f"{record['spearman'][score]['fine_tuned']:.2f}" for score in ("log_me", "h_score"))
        recommended = dict.fromkeys(split["recommended"] for split in record["splits"].values())
        arms = (arm.replace("_", " ") for arm in (record["best"], "; ".join(recommended)))
        behind = (f"{100 * record[name]:.1f}" for name in ("regret", "regret_by_draw"))
        yield row(case, *told, *arms, *behind)


def recognise_unseen(results):
    """Classes that no training showed, told among themselves; then seen and unseen classes told from all."""
    yield from header("case", "arm", "accuracy", "among five", "gain", "verdict")
    for case, report in records(results / "recognise_unseen"):
        for arm in report["runs"]:
            cells = [spread_of(report, arm, metric) for metric in ("unseen_accuracy", "top_5_accuracy")]
            yield row(case, ZERO_SHOT[arm], *cells, *said_of(report, arm))
    kinds = ("plain", "penalty", "gate", "oracle")
    names = ("H", "H, penalty", "H, gate", "H, oracle's penalty")
    yield from header("case", "arm", "U", "S", *names, "U, penalty", "S, penalty", "AUSUC", below=True)
    for case, report in records(results / "recognise_unseen"):
        for arm in report["runs"] if "plain_seen_accuracy" in report["means"][next(iter(report["runs"]))] else ():
            sides = [spread_of(report, arm, f"plain_{side}_accuracy") for side in ("unseen", "seen")]
            each = [spread_of(report, arm, f"{kind}_harmonic_accuracy") for kind in kinds]
            after = [spread_of(report, arm, f"penalty_{side}_accuracy") for side in ("unseen", "seen")]
            yield row(case, ZERO_SHOT[arm], *sides, *each, *after, spread_of(report, arm, "curve_accuracy"))


def learn_from_few(results):
    """Few labels, stage by stage, over the better of the supervised twin and a regression on features."""
    yield from header("case", "arm", "accuracy", "seconds", "gain", "verdict", "over the stage before")
    for case, report in records(results / "learn_from_few"):
        before = {one["stage"]: one for one in report["extra"]["stages"]}
        for arm in report["runs"]:
            seconds = f"{report['means'][arm]['seconds']:.0f}"
            over = interval(before[arm]["over_before"]) + f" {before[arm]['before']}" if arm in before else ""
            cells = (spread_of(report, arm, "accuracy"), seconds)
            yield row(case, SEMI.get(arm, arm), *cells, *said_of(report, arm), over)


def commands(results):
    """What each verb of the command takes on real pictures and rows."""
    yield from header("run", "minutes of a core", "largest difference")
    for name, found in json.loads((results / "commands.json").read_text(encoding="utf-8")).items():
        largest = found["largest_difference"]
        yield row(name, f"{found['core_seconds'] / 60:.1f}", "" if largest is None else f"{largest:.0e}")


TABLES = {
    table.__name__: table
    for table in (
        commands,
        *(adapt_digits, adapt_domains, adapt_blocks, adapted_epochs, adapt_photos, adapt_table),
        *(tune_photos, finetune_strategies),
        *(learn_episodes, learn_photos, learn_to_adapt),
        *(maml_sinusoid, pretrain_views, pretrain_colours),
        *(train_tasks, train_table, balance_tasks, choose_backbones),
        *(learn_tasks, learn_domains),
        *(classify_text, pretrain_text, several_text_tasks),
        *(recognise_unseen, learn_from_few),
    )
}


def records(folder, *first):
    """Yields `(case, record)` of the JSON files in a folder: those named first in their order, then all others."""
    paths = {path.stem: path for path in sorted(folder.glob("*.json")) if path.stem != "selection"}
    for case in (*first, *(case for case in paths if case not in first)):
        yield case, json.loads(paths[case].read_text(encoding="utf-8"))


def header(*cells, below=False):
    """Yields the head of a table; `below` leaves a line between it and the table above."""
    yield from [""] * below
    yield row(*cells)
    yield "|" + "---|" * len(cells)


def row(*cells):
    """Returns one row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def said_of(report, arm):
    """Returns the gain of an arm with its interval and the verdict on it, or that it is the baseline, or nothing."""
    if arm == report["baseline"]:
        return "", "baseline"
    return (interval(report["gains"][arm]), verdict(report, arm)) if arm in report["gains"] else ("", "")


def verdict(report, arm):
    """Returns what may be said of an arm, by its interval: older records keep another word, and no margin.

    Args:
        report: record of a `kt.report.TransferReport`.
        arm: name of the method.
    """
    metric, gain = report["metric"], report["gains"][arm]
    margin = report["margin"] if "margin" in report else MARGINS.get(metric, kt.report.default_margin(metric))
    return kt.report.Gain(gain["mean"], gain["low"], gain["high"], margin).verdict


def interval(gain, scale=100):
    """Returns a gain with its interval, as points in %."""
    return f"{scale * gain['mean']:+.1f} [{scale * gain['low']:+.1f}, {scale * gain['high']:+.1f}]"


def spread(fractions):
    """Returns mean ± standard deviation of fractions, in %."""
    return f"{100 * statistics.mean(fractions):.1f} ± {100 * statistics.stdev(fractions):.1f}"


def spread_of(report, arm, metric):
    """Returns what a report keeps as mean ± standard deviation of a fraction, in %."""
    return f"{100 * report['means'][arm][metric]:.1f} ± {100 * report['deviations'][arm][metric]:.1f}"
