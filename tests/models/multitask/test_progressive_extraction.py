import keras
import numpy as np

import keras_transfer as kt
from tests.contract import each, encoder, experts, heads, tasks
from tests.models.multitask.test_mixture_of_experts import mixed, run

(X, _), _ = tasks()


def test_two_levels_by_hand():
    keras.utils.set_random_seed(0)
    task_experts = each(lambda: [experts(), experts()])
    model = kt.models.ProgressiveExtraction(encoder(), [experts(), experts()[:1]], task_experts, heads())
    model.build((None, X.shape[1]))
    found = model.predict(X, verbose=0)

    z = run(model.encoder, X)
    common = [run(expert, z) for expert in model.shared_experts[0]]
    own = {task: [run(expert, z) for expert in levels[0]] for task, levels in model.task_experts.items()}
    kernels = {task: [gate.get_weights()[0] for gate in gates] for task, gates in model.gates.items()}
    read = {task: mixed(z, kernels[task][0], own[task] + common) for task in own}
    first, second = own.values()
    shared = mixed(z, model.shared_gates[0].get_weights()[0], common + first + second)

    common = [run(expert, shared) for expert in model.shared_experts[1]]
    for task, head in model.heads.items():
        own = [run(expert, read[task]) for expert in model.task_experts[task][1]]
        expected = run(head, mixed(read[task], kernels[task][1], own + common))
        np.testing.assert_allclose(found[task], expected, atol=1e-5)


def test_one_level_has_no_shared_gate():
    model = kt.models.ProgressiveExtraction(encoder(), [experts()], each(lambda: [experts()]), heads())
    assert model.shared_gates == []
