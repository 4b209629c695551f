"""The numbers in the prose of README and docs/, each made of `results/` under the name that its mark has there."""

import json
import math
import statistics

from scipy import stats

from keras_transfer.recipes.tables import gains
from keras_transfer.recipes.tables.rows import records


def figures(results):
    """Returns every number by its name, as text.

    Args:
        results: pathlib.Path of the folder of results.

    Returns:
        Dict such as `{"pretraining.views": "27,003"}`.
    """
    parts = (
        *(_gains, _set_up, _protocols, _adaptation_steps, _adapting, _finetuning),
        *(_maml, _hidden_patches, _pretraining, _tasks, _choosing, _continual, _text),
        *(_zero_shot, _semi_supervised),
    )
    return {name: text for part in parts for name, text in part(results)}


def _gains(results):
    found = list(gains.measured(results))
    for family in gains.FAMILIES:
        yield f"gain.{family}", str(gains.best(gain for gain in found if gain.family == family))
    photographs = (gain for gain in found if gain.family == "finetuning" and gain.case.startswith("art_painting"))
    yield "gain.photographs", str(gains.best(photographs))
    medians, gain = gains.sinusoids(results)
    yield "gain.few_shot", f"{gain.mean:.2f} [{gain.low:.2f}, {gain.high:.2f}]"
    yield "error.maml", f"{medians['maml'][10]:.2f}"
    yield "error.pretrained", f"{medians['pretrained'][10]:.2f}"


def _set_up(results):
    measured = _read(results, "set_up")
    yield "set_up.minutes", f"{math.ceil(measured['first_command']['total'] / 60)}"
    yield "set_up.tests", f"{math.ceil(measured['test_command']['total_with_ruff'] / 60)}"


def _protocols(results):
    """How often things were repeated, from the settings that the records keep."""
    for recipe in ("adapt_digits", "adapt_domains", "maml_sinusoid", "pretrain_views", "train_tasks", "balance_tasks"):
        yield f"{recipe}.seeds", _same(len(_settings(record)["seeds"]) for _, record in records(results / recipe))
    tuned = {case: _settings(record) for case, record in records(results / "finetune_strategies")}
    yield "finetune_strategies.views", _same(settings["views"] for settings in tuned.values())
    for data in ("pacs", "glyphs"):
        of = [settings for settings in tuned.values() if settings["data"] == data]
        yield f"finetune_strategies.draws.{data}", _same(len(settings["splits"]) for settings in of)
    tests = [
        report
        for recipe in ("learn_episodes", "learn_to_adapt")
        for _, record in records(results / recipe)
        for runs in record["tests"].values()
        for run in runs
        for report in run["reports"]
    ]
    yield "episodes.tested", _same(report["episodes"] for report in tests)
    yield "episodes.queries", _same(report["protocol"]["queries"] for report in tests)
    sinusoid = _settings(_read(results, "maml_sinusoid/10"))
    yield "maml_sinusoid.points", f"{sinusoid['shots']}"
    yield "maml_sinusoid.tasks", f"{sinusoid['test_tasks']}"
    yield "maml_sinusoid.steps", f"{sinusoid['test_steps']}"
    yield "omniglot.steps", f"{_settings(_read(results, 'learn_episodes/omniglot_1'))['steps']:,}"
    yield "reptile.steps", f"{_settings(_read(results, 'learn_to_adapt/omniglot_reptile'))['steps']:,}"


def _adapting(results):
    for case, record in records(results / "learn_to_adapt"):
        seconds = [run["seconds"] for runs in record["tests"].values() for run in runs]
        yield f"minutes.{case}", f"{statistics.mean(seconds) / 60:.0f}"


def _finetuning(results):
    measured = _read(results, "finetuning")
    cached, lora, mixed = (measured[name] for name in ("cached_features", "lora", "mixed_precision"))
    yield "finetuning.cached", f"{cached['ratio']:.0f}"
    yield "finetuning.extraction", f"{cached['extraction_seconds']:.1f}"
    yield "finetuning.images", f"{cached['images']:,}"
    yield "lora.share", f"{lora['adapter_share']:.1%}"
    yield "lora.share.about", f"{lora['adapter_share']:.0%}"
    yield "lora.megabytes", f"{lora['adapter_file_megabytes']:.2f}"
    yield "lora.latency", f"{lora['latency']['ratio']:.3f}"
    for name in ("bfloat16", "float16"):
        yield f"finetuning.{name}", f"{mixed[f'mixed_{name}']['ratio']:.2f}"


def _maml(results):
    for name, found in _read(results, "maml").items():
        network, order = name.removesuffix(" order").split(", ")
        yield f"maml.{network}.{order}", f"{found['tasks_per_second']['MAML']:.0f}"
        yield f"maml.{network}.{order}.ratio", f"{found['ratio']:.2f}"


def _hidden_patches(results):
    record = _read(results, "pretrain_views/fashion_mnist_mae")
    errors, means = ([run[name] for run in record["hidden_patches"].values()] for name in ("error", "patch_mean"))
    error, mean = statistics.mean(errors), statistics.mean(means)
    yield "mae.error", f"{error:.4f} ± {statistics.stdev(errors):.4f}"
    yield "mae.below", f"{1 - error / mean:.0%}"
    yield "mae.patch_mean", f"{mean:.4f}"
    yield "mae.parameters", f"{record['parameters']:,}"
    convolutions = [record for case, record in records(results / "pretrain_views") if not case.endswith("_mae")]
    yield "pretrain_views.parameters", _same(record["parameters"] for record in convolutions)


def _pretraining(results):
    measured = _read(results, "pretraining")
    chunks, whole = (measured["chunks"]["ratio_to_256"][name] for name in ("4096 in chunks of 256", "4096 whole"))
    epochs = _settings(_read(results, "pretrain_views/fashion_mnist_simclr"))["epochs"]
    minutes = statistics.median(measured["step"]["milliseconds"]["fit"]) * (60_000 // 256) * epochs / 60_000
    yield "pretraining.step", f"{measured['step']['ratio']:.2f}"
    yield "pretraining.epochs", f"{epochs}"
    yield "pretraining.minutes", f"{minutes:.0f}"
    yield "pretraining.views", f"{measured['views']['images_per_second']['kt.streams.views']:,.0f}"
    yield "pretraining.chunks.memory", f"{chunks['peak']:.2f}"
    yield "pretraining.whole.memory", f"{whole['peak']:.2f}"
    yield "pretraining.chunks.time", f"{chunks['milliseconds_per_image']:.2f}"
    yield "pretraining.gradients", f"{max(measured['gradients']['float32'].values()):.0e}"


def _adaptation_steps(results):
    ratios = {name: found["ratio"] for name, found in _read(results, "adaptation_steps")["methods"].items()}
    yield "adaptation.step.median", f"{statistics.median(ratios.values()):.2f}"
    worst = max(ratios, key=ratios.get)
    yield "adaptation.step.most", f"{ratios[worst]:.2f} ({worst})"


def _tasks(results):
    ratio = _read(results, "tasks")["ratio"]
    weights = [ratio[name] for name in ("MGDA", "PCGrad", "CAGrad")]
    features = max(value for name, value in ratio.items() if name.endswith("on the representation"))
    yield "tasks.least", f"{min(weights):.2f}"
    yield "tasks.most", f"{max(weights):.2f}"
    yield "tasks.representation", f"{features:.2f}"
    balanced = [rate for _, record in records(results / "balance_tasks") for rate in record["rates"].values()]
    yield "balance_tasks.rate", _same(balanced)
    shared = _read(results, "train_tasks/multi_fashion_shared_encoder_equal")
    yield "multi_fashion.rate", _same(shared["rates"].values())


def _continual(results):
    measured = _read(results, "continual")
    for network, found in measured["fisher"].items():
        for other, compared in found["times_faster_than"].items():
            yield f"fisher.{network}.{other}", f"{compared['ratio']:.0f}"
    for method, compared in measured["steps"]["against_plain"].items():
        yield f"continual.step.{method}", f"{compared['ratio']:.2f}"
    reports = dict(records(results / "learn_tasks"))
    yield "learn_tasks.seeds", _same(len(_settings(report)["seeds"]) for report in reports.values())
    yield "learn_tasks.steps", _same(_settings(report)["steps"] for report in reports.values())
    for arm in ("naive", "replay", "derpp"):
        accuracy = reports["mnist_class"]["means"][arm]["accuracy"]
        yield f"mnist_class.{arm}", f"{100 * accuracy:.1f}"
    yield (
        "learn_domains.seeds",
        _same(len(_settings(record)["seeds"]) for _, record in records(results / "learn_domains")),
    )


def _text(results):
    tests, costs = _read(results, "text"), _read(results, "text_costs")
    yield "text.tokenizer.texts", f"{tests['tokenizer']['texts']:,}"
    yield "text.tokenizer.differ", f"{tests['tokenizer']['differ']}"
    yield "text.minilm", f"{tests['minilm_largest_difference']:.0e}"
    yield "text.cpp", f"{max(v for name, v in tests.items() if name.endswith('difference_cpp')):.0e}"
    yield "text.sentences", f"{costs['sentences_per_second']:,.0f}"
    yield "text.masked", f"{costs['masked']['ratio']['ratio']:.2f}"
    reports = dict(records(results / "classify_text"))
    yield "text.draws", _same(len(_settings(report)["seeds"]) for report in reports.values())
    for case, report in reports.items():
        for arm, means in report["means"].items():
            yield f"text.{case}.{arm}", f"{100 * means[report['metric']]:.1f}"
            yield f"text.{case}.{arm}.accuracy", f"{100 * means['accuracy']:.1f}"
            yield f"text.{case}.{arm}.seconds", f"{means['seconds']:.0f}"


def _zero_shot(results):
    yield "zero_shot.eszsl_seconds", f"{_read(results, 'zero_shot_costs')['seconds']['eszsl']:.0f}"
    served = _read(results, "zero_shot")
    yield "zero_shot.cpp", f"{max(served['added_classes'], served['classes_of_a_request']):.0e}"
    for case, report in records(results / "recognise_unseen"):
        for arm, means in report["means"].items():
            for metric, value in means.items():
                yield f"zero_shot.{case}.{arm}.{metric}", f"{100 * value:.1f}"


def _semi_supervised(results):
    yield "semi_supervised.ratio", f"{_read(results, 'semi_supervised_costs')['ratio']['ratio']:.2f}"
    for case, report in records(results / "learn_from_few"):
        for arm, means in report["means"].items():
            yield f"few.{case}.{arm}", f"{100 * means['accuracy']:.1f}"


def _choosing(results):
    """Rank correlations of scores with the accuracy of fine-tuning, and how far what is recommended is behind."""
    found = [record for _, record in records(results / "choose_backbones")]
    yield "choose.data", f"{len(found)}"
    yield "choose.pairs", f"{sum(len(record['means']) for record in found)}"
    yield "choose.labels", _same(_settings(record)["labels_per_class"] for record in found)
    yield "choose.draws", _same(len(_settings(record)["splits"]) for record in found)
    for score in ("log_me", "h_score"):
        of_data = [record["spearman"][score]["fine_tuned"] for record in found]
        yield f"choose.{score}", f"{statistics.mean(of_data):.2f}"
        pairs = [pair for record in found for pair in _centred(record["means"].values(), score)]
        yield f"choose.{score}.pooled", f"{stats.spearmanr(*zip(*pairs)).statistic:.2f}"
    for name, regret in (("behind", "regret"), ("behind.by_draw", "regret_by_draw")):
        yield f"choose.{name}", f"{100 * statistics.mean(record[regret] for record in found):.1f}"


def _centred(means, score):
    """Pairs of a score and an accuracy of fine-tuning, each without its mean over the backbones of one data set."""
    columns = [[mean[name] for mean in means] for name in (score, "fine_tuned")]
    return zip(*([value - statistics.mean(column) for value in column] for column in columns))


def _read(results, name):
    return json.loads((results / f"{name}.json").read_text(encoding="utf-8"))


def _settings(record):
    return record.get("config") or record["extra"]["config"]


def _same(values):
    """Returns what all records agree on, as text."""
    values = set(values)
    if len(values) != 1:
        raise ValueError(f"Expected records that agree, as the page says one number of all; received {sorted(values)}.")
    return f"{values.pop():,}"
