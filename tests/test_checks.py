import fractions
import inspect

import keras
import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.checks import (
    check_choice,
    check_flag,
    check_integer,
    check_number,
    check_span,
    check_weight,
    received,
)

NO_NUMBERS = ["0.5", None, True, np.bool_(True), [0.5], np.array(0.5), float("nan"), float("inf"), -float("inf"), 1j]


@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
def test_what_is_no_number(value):
    for check in (check_number, check_weight):
        with pytest.raises(ValueError, match="Expected `share` to be a finite number") as error:
            check(value, "share")
        assert f"received {received(value)}" in str(error.value)


@pytest.mark.parametrize("value", [0, 0.5, 1, np.float32(0.5), np.int64(1), fractions.Fraction(1, 2)], ids=repr)
def test_numbers(value):
    found = check_number(value, "share", least=0, most=1)
    assert found == value and not isinstance(found, np.generic)
    assert check_weight(value, "share") == value


@pytest.mark.parametrize(
    "value, bounds, expected",
    [
        (-0.1, {"least": 0}, "a finite number of at least 0; received -0.1"),
        (0, {"above": 0}, "a finite number above 0; received 0"),
        (1.5, {"least": 0, "most": 1}, "a finite number of at least 0 and at most 1; received 1.5"),
        (1, {"above": 0, "below": 1}, "a finite number above 0 and below 1; received 1"),
        (np.float32(2), {"most": 1}, r"a finite number at most 1; received np.float32\(2.0\)"),
    ],
)
def test_range_of_numbers(value, bounds, expected):
    with pytest.raises(ValueError, match=f"Expected `share` to be {expected}"):
        check_number(value, "share", **bounds)


@pytest.mark.parametrize("value", [0, -1, 2.0, 2.5, "2", None, True, float("nan"), np.array([2])], ids=repr)
def test_what_is_no_integer(value):
    with pytest.raises(ValueError, match="Expected `chunk_size` to be an int of at least 1; received"):
        check_integer(value, "chunk_size")
    assert check_integer(np.int32(3), "chunk_size") == 3 and type(check_integer(np.int32(3), "n")) is int


def test_schedules_as_weights():
    ramp = kt.schedules.LinearRamp(10, 0.5, 1.5)
    assert check_weight(ramp, "weight") is ramp
    with pytest.raises(ValueError, match="`momentum` .* values of at least 0 and at most 1; .* is 1.5 at step 1,000,0"):
        check_weight(ramp, "momentum", most=1)
    with pytest.raises(ValueError, match="received a PolynomialDecay that is -1 at step 1,000,000,000"):
        check_weight(keras.optimizers.schedules.PolynomialDecay(1.0, 10, -1.0), "weight")
    with pytest.raises(ValueError, match="received a PiecewiseConstantDecay that is -2 at step 0"):
        check_weight(keras.optimizers.schedules.PiecewiseConstantDecay([5], [-2.0, 1.0]), "weight")


@pytest.mark.parametrize("value", ["False", 0, 1, None])
def test_what_is_no_flag(value):
    with pytest.raises(ValueError, match=f"Expected `cosine` to be True or False; received {value!r}"):
        check_flag(value, "cosine")
    assert check_flag(np.bool_(True), "cosine") is True


def test_choices():
    assert check_choice("a", "word", ("a", "b", "c")) == "a"
    for wrong in ("d", None, ["a"], np.array("a")):
        with pytest.raises(ValueError, match='Expected `word` to be "a", "b" or "c"; received'):
            check_choice(wrong, "word", ("a", "b", "c"))


@pytest.mark.parametrize(
    "pair", [(2, 1), (0, 1), (1,), (1, 2, 3), 1, "ab", (1, float("nan")), ("a", 1), None], ids=repr
)
def test_what_is_no_span(pair):
    with pytest.raises(ValueError, match="Expected `gain` to be a pair of finite numbers with 0 < least <= largest"):
        check_span(pair, "gain")
    assert check_span([0.5, np.float64(1.0)], "gain", most=1) == (0.5, 1.0)


def test_what_was_received_is_short():
    assert len(received(np.zeros(10_000))) < 200 and received(np.zeros(2)).endswith("(ndarray)")
    assert len(received("a" * 1000)) < 100


# Every constructor: each argument that is a network, a weight, a number, a flag or a word.


def dense(inputs, outputs):
    return keras.Sequential([keras.Input((inputs,)), keras.layers.Dense(outputs)])


def pair():
    return {"encoder": dense(8, 4), "head": dense(4, 3)}


def remembering():
    return {**pair(), "memory": layers.ReplayBuffer(6, (8,), 3, logits=True)}


def views():
    return {"encoder": dense(8, 4), "projector": dense(4, 4)}


def predicting():
    return {**views(), "predictor": dense(4, 4)}


def masked():
    encoder = kt.backbones.small_vit((8, 8, 1), patch_size=4, dim=8, blocks=1, heads=2)
    return {"encoder": encoder, "decoder": kt.backbones.small_vit_decoder(encoder)}


def filling_in():
    return {"encoder": kt.backbones.small_transformer(12, 6, dim=8, blocks=1, heads=2)}


def describing():
    return {"encoder": dense(8, 4), "descriptions": {"a": [[1.0] * 8], "b": [[-1.0] * 8]}}


def attributed():
    return {"encoder": dense(8, 4), "projector": dense(4, 2), "descriptions": {"a": [1.0, 0.0], "b": [0.0, 1.0]}}


VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"]
models, layers, schedules, losses = kt.models, kt.layers, kt.schedules, kt.losses
NOTHING = dict
CONSTRUCTORS = {
    models.DAN: (pair, ["mmd_weight"], [], [], ["passes"]),
    models.DeepCORAL: (pair, ["coral_weight"], [], [], ["passes"]),
    models.DANN: (
        lambda: {**pair(), "discriminator": dense(4, 1)},
        ["reversal", "domain_weight"],
        [],
        [],
        ["passes"],
    ),
    models.CDAN: (
        lambda: {**pair(), "discriminator": dense(12, 1)},
        ["reversal", "domain_weight"],
        [],
        [],
        ["entropy_conditioning", "passes"],
    ),
    models.WDGRL: (
        lambda: {**pair(), "critic": dense(4, 1)},
        ["reversal", "closeness_weight", "penalty_weight"],
        [],
        [],
        ["passes"],
    ),
    models.ADDA: (
        lambda: {**pair(), "source_encoder": dense(8, 4), "discriminator": dense(4, 1)},
        ["fool_weight"],
        [],
        [],
        [],
    ),
    models.MCD: (
        lambda: {**pair(), "second_head": dense(4, 3)},
        ["reversal", "agreement_weight"],
        [],
        [],
        ["passes"],
    ),
    models.MDD: (
        lambda: {**pair(), "adversary": dense(4, 3)},
        ["reversal", "disparity_weight"],
        ["margin"],
        [],
        ["passes"],
    ),
    models.JAN: (pair, ["mmd_weight"], [], [], ["passes"]),
    models.DeepJDOT: (
        pair,
        ["transport_weight", "feature_weight", "label_weight"],
        ["regularization"],
        [],
        ["passes"],
    ),
    models.TargetTerms: (pair, [], [], [], ["passes"]),
    models.AdaMatch: (pair, ["consistency_weight"], ["threshold"], [], ["passes"]),
    models.SelfEnsembling: (pair, ["consistency_weight", "momentum"], ["threshold"], [], ["passes"]),
    models.SHOT: (pair, ["pseudo_weight"], ["momentum"], [], []),
    losses.MCC: (NOTHING, [], ["temperature"], [], []),
    models.Distillation: (
        lambda: {**pair(), "teacher": dense(8, 3)},
        ["distillation_weight", "task_weight"],
        ["temperature"],
        [],
        [],
    ),
    models.L2SP: (pair, ["start_weight", "head_weight"], [], [], []),
    models.EWC: (pair, ["anchor_weight"], ["decay"], [], ["kind"]),
    models.SynapticIntelligence: (pair, ["anchor_weight"], ["damping"], [], []),
    models.MAS: (pair, ["anchor_weight"], [], [], []),
    models.LwF: (pair, ["distillation_weight"], ["temperature"], [], []),
    models.ExperienceReplay: (remembering, ["replay_weight"], [], [], ["passes"]),
    models.AGEM: (remembering, [], [], [], ["passes"]),
    models.DERpp: (remembering, ["replay_weight", "logits_weight"], [], [], ["passes"]),
    models.ICaRL: (remembering, ["distillation_weight"], [], [], []),
    models.GDumb: (remembering, [], [], [], []),
    losses.TaskCrossentropy: (lambda: {"tasks": [[0, 1]]}, [], [], [], []),
    layers.ReplayBuffer: (
        lambda: {"capacity": 6, "shape": (2,), "classes": 3},
        [],
        [],
        [],
        ["keep"],
    ),
    models.SimCLR: (views, [], ["temperature"], ["chunk_size"], []),
    models.SupCon: (views, [], ["temperature"], ["chunk_size"], []),
    models.BYOL: (predicting, ["momentum"], [], [], []),
    models.SimSiam: (predicting, [], [], [], []),
    models.BarlowTwins: (views, ["redundancy_weight"], [], [], []),
    models.VICReg: (views, ["invariance_weight", "variance_weight", "covariance_weight"], [], [], []),
    models.Inpainting: (lambda: {"encoder": dense(8, 4), "decoder": dense(4, 8)}, [], ["hidden"], [], []),
    models.MAE: (masked, [], ["hidden"], [], ["normalize"]),
    models.PrototypicalNetwork: (lambda: {"encoder": dense(8, 4)}, [], [], [], []),
    models.MatchingNetwork: (lambda: {"encoder": dense(8, 4)}, [], ["temperature"], [], ["cosine"]),
    models.MAML: (
        lambda: {"network": dense(8, 3)},
        [],
        ["rate"],
        ["steps", "test_steps"],
        ["first_order", "learn_rates", "statistics"],
    ),
    models.ANIL: (pair, [], ["rate"], ["steps", "test_steps"], ["first_order"]),
    models.Reptile: (
        lambda: {"network": dense(8, 3)},
        [],
        ["rate"],
        ["steps", "batch_size", "test_steps"],
        ["statistics"],
    ),
    models.SetFit: (lambda: {"encoder": dense(8, 4), "classes": 3}, [], ["temperature"], ["classes"], []),
    models.SimCSE: (lambda: {"encoder": dense(8, 4)}, [], ["temperature"], [], []),
    models.MaskedLanguageModel: (filling_in, [], [], [], []),
    models.DenoisingText: (
        lambda: {**filling_in(), "decoder": kt.backbones.small_text_decoder(12, 6, dim=8, blocks=1, heads=2)},
        [],
        [],
        [],
        [],
    ),
    models.LabelDescriptions: (describing, [], ["temperature"], [], ["centred"]),
    models.BilinearCompatibility: (attributed, [], [], [], ["centred"]),
    models.ESZSL: (attributed, [], [], [], ["centred"]),
    models.SAE: (attributed, [], [], [], ["centred"]),
    models.DualEncoder: (
        lambda: {"encoder": dense(8, 4), "describer": dense(5, 4)},
        [],
        ["temperature"],
        ["chunk_size"],
        ["pairwise"],
    ),
    models.PseudoLabel: (pair, ["pseudo_label_weight"], ["threshold"], [], []),
    models.PiModel: (pair, ["consistency_weight"], [], [], []),
    models.MeanTeacher: (pair, ["consistency_weight", "momentum"], [], [], []),
    models.FixMatch: (pair, ["consistency_weight"], ["sure_enough", "momentum"], [], ["threshold", "alignment"]),
    models.MixMatch: (pair, ["guess_weight"], ["temperature", "mixing"], [], []),
    layers.WordPiece: (
        lambda: {"vocabulary": VOCABULARY},
        [],
        [],
        ["sequence_length"],
        ["lowercase", "fixed_length"],
    ),
    layers.GradientReversal: (NOTHING, [], ["strength"], [], []),
    layers.CrossStitchUnit: (NOTHING, [], ["own"], [], []),
    layers.ExpertGate: (NOTHING, [], [], ["experts"], []),
    layers.Patches: (NOTHING, [], [], ["size"], []),
    layers.SinePositions: (lambda: {"rows": 2, "columns": 2}, [], [], ["rows", "columns"], []),
    layers.RandomGamma: (NOTHING, [], ["gamma", "gain", "value_range"], [], []),
    layers.RandomResizedCrop: (
        lambda: {"height": 4, "width": 4},
        [],
        ["scale", "ratio"],
        ["height", "width"],
        [],
    ),
    schedules.DannRamp: (lambda: {"steps": 10}, [], ["steps", "peak", "gamma"], [], []),
    schedules.LinearRamp: (lambda: {"steps": 10}, [], ["steps", "start", "end"], [], []),
    schedules.CosineRamp: (lambda: {"steps": 10}, [], ["steps", "start", "end"], [], []),
    losses.DeViSE: (NOTHING, [], ["margin"], [], []),
    losses.SJE: (NOTHING, [], ["margin"], [], []),
    losses.ALE: (NOTHING, [], ["margin"], [], []),
    losses.DistillationLoss: (NOTHING, [], ["temperature"], [], []),
    losses.MMD: (NOTHING, [], ["factors"], [], ["unbiased"]),
    losses.CORAL: (NOTHING, [], [], [], ["normalize"]),
    kt.optimizers.LARS: (NOTHING, ["learning_rate"], ["momentum", "weight_decay", "trust"], [], []),
}
WRONG = {
    "network": [lambda x: x, None, keras.layers.Dense, "mobilenet", [keras.layers.Dense(2)], 3],
    "weight": [-0.1, float("nan"), float("inf"), "0.1", None, True, np.array([0.1]), schedules.LinearRamp],
    "number": [-0.1, float("nan"), float("inf"), "0.1", None, True, np.array([0.1])],
    "integer": [-1, 1.5, float("nan"), "2", True],
    "word": [2, "neither", "False"],
}


def wrong_arguments():
    found = []
    for constructor, (networks, *kinds) in CONSTRUCTORS.items():
        by_kind = dict(zip(("weight", "number", "integer", "word"), kinds))
        if networks in (pair, views, predicting, masked) or constructor.__module__.startswith("keras_transfer.models"):
            by_kind["network"] = [name for name in networks() if name not in ("memory", "descriptions", "classes")]
        for kind, arguments in by_kind.items():
            for argument in arguments:
                found.append(pytest.param(constructor, argument, WRONG[kind], id=f"{constructor.__name__}-{argument}"))
    return found


@pytest.mark.parametrize("constructor, argument, wrong", wrong_arguments())
def test_constructors_say_what_is_wrong(constructor, argument, wrong):
    for value in wrong:
        arguments = CONSTRUCTORS[constructor][0]() | {argument: value}
        with pytest.raises(ValueError, match=f"Expected `{argument}` to be .*; received"):
            constructor(**arguments)


def test_every_constructor_is_here():
    """A new model, layer, schedule, loss or optimizer has to state its arguments above."""
    others = {"target_terms", "tasks", "rows_dtype", "logits", "projector"}  # in tests of their own
    others |= {"describer", "seen", "rows", "average"}
    elsewhere = {"SharedEncoder", "SoftSharing", "CrossStitch", "MixtureOfExperts", "ProgressiveExtraction"}
    for room in (models, layers, schedules, losses, kt.optimizers):
        for name in getattr(room, "__all__", dir(room)):
            kind = getattr(room, name)
            if inspect.isclass(kind) and kind.__module__.startswith("keras_transfer") and name not in elsewhere:
                networks, *stated = CONSTRUCTORS[kind]
                own = [p.name for p in inspect.signature(kind).parameters.values() if p.kind is not p.VAR_KEYWORD]
                known = {*networks(), *(argument for part in stated for argument in part), "seed", "name", *others}
                assert set(own) <= known, (name, set(own) - known)


@pytest.mark.parametrize("constructor", CONSTRUCTORS, ids=lambda kind: kind.__name__)
def test_defaults_pass(constructor):
    arguments = {layers.ExpertGate: {"experts": 2}, layers.Patches: {"size": 2}}.get(constructor, {})
    constructor(**CONSTRUCTORS[constructor][0](), **arguments)


@pytest.mark.parametrize("wrong", WRONG["number"])
def test_numbers_elsewhere(wrong):
    """Of what is no model, layer, loss, schedule or optimizer, and of methods of several tasks."""
    start = [np.zeros(2)]
    towers, heads = ({task: dense(4, 4) for task in "ab"} for _ in range(2))
    for argument, make in {
        "share": lambda: kt.finetuning.interpolate(start, start, wrong),
        "pull_weight": lambda: models.SoftSharing(towers, heads, pull_weight=wrong),
        "strength": lambda: kt.weightings.CAGrad(strength=wrong),
        "temperature": lambda: kt.weightings.DynamicWeightAverage(temperature=wrong),
        "steps": lambda: kt.weightings.DynamicWeightAverage(steps=wrong),
        "own": lambda: models.CrossStitch({t: [dense(4, 4)] * 2 for t in "ab"}, heads, own=wrong),
        "margin": lambda: kt.report.paired_gain([1.0, 2.0], [1.0, 2.0], margin=wrong),
    }.items():
        if argument != "margin" or wrong is not None:
            with pytest.raises(ValueError, match=f"Expected `{argument}` to be .*; received"):
                make()


@pytest.mark.parametrize("loss", [losses.nt_xent, losses.sup_con, losses.distillation])
@pytest.mark.parametrize("temperature", [0, -1.0, float("nan"), "1"])
def test_temperature_of_the_functions(loss, temperature):
    x = np.ones((4, 3), "float32")
    second = np.arange(4) if loss is losses.sup_con else x
    with pytest.raises(ValueError, match="Expected `temperature` to be a finite number above 0; received"):
        loss(x, second, temperature=temperature)
    with pytest.raises(ValueError, match="Expected `epsilon` to be a finite number above 0; received nan"):
        losses.vicreg(x, x, epsilon=float("nan"))


def test_a_sigmoid_discriminator_and_a_softmax_teacher_or_student():
    sigmoid = keras.Sequential([dense(4, 1), keras.layers.Activation("sigmoid", name="last")])
    softmax = keras.Sequential([keras.Input((8,)), keras.Sequential([dense(8, 3), keras.layers.Softmax(name="last")])])
    with pytest.raises(ValueError, match="`discriminator` to return logits.*layer 'last'"):
        models.DANN(**pair(), discriminator=sigmoid)
    with pytest.raises(ValueError, match="`teacher` to return logits.*layer 'last'"):
        models.Distillation(**pair(), teacher=softmax)
    with pytest.raises(ValueError, match="`head` to return logits.*'softmax|activation softmax"):
        models.Distillation(dense(8, 4), keras.layers.Dense(3, "softmax"), dense(8, 3))


@pytest.mark.parametrize("from_logits", [True, False])
def test_a_head_that_ends_in_a_softmax(from_logits):
    """The compiled loss decides: it is refused where that takes a softmax too, before the first step."""
    head = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "softmax", name="last")])
    x, y = np.random.default_rng(0).normal(size=(12, 4)).astype("float32"), np.arange(12) % 3
    methods = [models.L2SP(dense(4, 4), head), models.DAN(dense(4, 4), head), models.MAML(head)]
    rows, labels = x.reshape(2, 6, 4), y.reshape(2, 6)
    batches = [(x, y), ({"source": x, "target": x}, y), ({"support": (rows, labels), "query": rows}, labels)]
    for model, batch in zip(methods, batches):
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits))
        if from_logits:
            with pytest.raises(ValueError, match="to return logits, as the compiled loss .* layer 'last'"):
                model.train_on_batch(*batch)
        else:
            assert np.isfinite(model.train_on_batch(*batch)).all()
