# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Each strategy against hand-computed values."""

import math

import pytest
import torch
from batch_of_losses import TASKS, Losses, step

from mtl_perception.errors import ConfigurationError
from mtl_perception.weighting import (
    Asynchronous,
    DynamicScaling,
    DynamicWeightAverage,
    EqualWeights,
    FocusedGeometricMean,
    GeometricMean,
    GradNorm,
    HandcraftedWeights,
    UncertaintyWeights,
    WeightLearning,
    build_weighting,
)

TWO = ['semantic', 'detection']

# geometric and focused


def test_the_geometric_mean_of_hand_computed_losses():
    geometric = GeometricMean(TASKS)
    losses = Losses(semantic=1.0, depth=2.0, motion=4.0)

    assert losses.total(geometric).item() == pytest.approx(2.0)
    # total / (n L_i)
    assert geometric.weights() == pytest.approx(
        {'semantic': 2 / 3, 'depth': 1 / 3, 'motion': 1 / 6})


def test_focused_multiplies_the_mean_of_the_focused_tasks():
    focused = FocusedGeometricMean(TASKS, focus=['depth', 'motion'])
    losses = Losses(semantic=1.0, depth=2.0, motion=4.0)
    total = 2 * math.sqrt(8)

    assert losses.total(focused).item() == pytest.approx(total)
    # total (1 / (n L_i) + [focused] / (m L_i))
    assert focused.weights() == pytest.approx({
        'semantic': total / 3, 'depth': total * (1 / 6 + 1 / 4),
        'motion': total * (1 / 12 + 1 / 8)})


def test_focused_normalised_is_the_square_root_and_the_first_task_is_the_default():
    focused = FocusedGeometricMean(TASKS, normalise=True)
    losses = Losses(semantic=4.0, depth=1.0, motion=2.0)

    assert losses.total(focused).item() == pytest.approx(math.sqrt(2 * 4))

    losses.total(focused).backward()

    assert losses.own['depth'].grad.item() == pytest.approx(focused.weights()['depth'])


def test_without_its_focused_tasks_a_batch_has_the_geometric_mean_of_the_others():
    focused = FocusedGeometricMean(TASKS, focus=['motion'])
    assert Losses(semantic=2.0, depth=8.0).total(focused).item() == pytest.approx(4.0)

# handcrafted and dynamic scaling


def test_handcrafted_weights_scale_the_first_losses_to_detection_and_then_stay_fixed():
    weighting = HandcraftedWeights(TWO, steps=2)

    assert step(weighting, semantic=2.0, detection=8.0) == {'semantic': 4.0, 'detection': 1.0}

    wanted = {'semantic': 10 / 4, 'detection': 1.0}  # means 10 and 4

    assert step(weighting, semantic=6.0, detection=12.0) == wanted
    assert step(weighting, semantic=100.0, detection=1.0) == wanted


def test_handcrafted_weights_wait_for_a_task_that_has_not_occurred():
    weighting = HandcraftedWeights(TASKS, reference='motion', steps=1)

    assert step(weighting, semantic=2.0, depth=4.0)['semantic'] == 1.0
    assert step(weighting, motion=8.0)['motion'] == 1.0
    assert step(weighting, semantic=9.0, depth=9.0, motion=9.0) == {
        'semantic': 4.0, 'depth': 2.0, 'motion': 1.0}


def test_weights_set_by_hand_are_used_unchanged():
    weighting = HandcraftedWeights(TWO, weights={'semantic': 70, 'detection': 1})
    assert Losses(semantic=1.0, detection=3.0).total(weighting).item() == 73.0


def test_dynamic_scaling_follows_the_means_of_the_last_epoch():
    weighting = DynamicScaling(TWO)

    for semantic, detection in ((2.0, 3.0), (4.0, 9.0)):
        assert step(weighting, semantic=semantic, detection=detection)['semantic'] == 1.0

    weighting.end_epoch()

    assert step(weighting, semantic=1.0, detection=1.0) == {'semantic': 2.0, 'detection': 1.0}

    weighting.end_epoch()

    assert step(weighting, semantic=1.0, detection=1.0) == {'semantic': 1.0, 'detection': 1.0}


def test_dynamic_scaling_keeps_the_weight_of_a_task_that_was_missing_from_an_epoch():
    weighting = DynamicScaling(TASKS, reference='semantic')
    step(weighting, semantic=6.0, depth=2.0, motion=3.0)
    weighting.end_epoch()
    step(weighting, semantic=6.0, depth=6.0)
    weighting.end_epoch()

    assert step(weighting, semantic=1.0, depth=1.0, motion=1.0) == {
        'semantic': 1.0, 'depth': 1.0, 'motion': 2.0}

# dynamic weight average


def test_dwa_after_epochs_with_means_1_and_4():
    weighting = DynamicWeightAverage(['semantic', 'depth'])
    for semantic in (1.0, 4.0):
        assert set(step(weighting, semantic=semantic, depth=5.0).values()) == {1.0}
        weighting.end_epoch()
    # ratios 4 and 1 over a temperature of 2
    share = math.exp(2) / (math.exp(2) + math.exp(0.5))

    assert step(weighting, semantic=1.0, depth=1.0) == pytest.approx(
        {'semantic': 2 * share, 'depth': 2 * (1 - share)})


def test_dwa_compares_epoch_means_and_skips_epochs_without_the_task():
    weighting = DynamicWeightAverage(['semantic', 'depth'], temperature=1.0)
    step(weighting, semantic=2.0, depth=1.0)
    step(weighting, semantic=4.0, depth=1.0)
    weighting.end_epoch()
    step(weighting, depth=1.0)
    weighting.end_epoch()
    step(weighting, semantic=6.0, depth=1.0)
    weighting.end_epoch()
    share = math.exp(2) / (math.exp(2) + math.exp(1))  # 6 / 3 against 1

    assert step(weighting, semantic=1.0, depth=1.0)['semantic'] == pytest.approx(2 * share)

# uncertainty

FIXED_POINTS = {  # form -> variance and weight of the gradient where the total is smallest
    'regression': lambda loss: (loss, 1 / (2 * loss)),
    'classification': lambda loss: (2 * loss, 1 / (2 * loss)),
    'laplace': lambda loss: (loss, 1 / loss),
    'xtasc': lambda loss: (loss / 2, 1 / loss),
    'omnidet': lambda loss: ((loss + math.sqrt(loss ** 2 + 8 * loss)) / 4,
                             2 / (loss + math.sqrt(loss ** 2 + 8 * loss))),
}


@pytest.mark.parametrize('form', FIXED_POINTS)
@pytest.mark.parametrize('loss', [0.2, 3.0])
def test_each_form_has_its_minimum_at_its_closed_form_variance(form, loss):
    variance, weight = FIXED_POINTS[form](loss)
    weighting = UncertaintyWeights(
        ['depth'], forms={'depth': form}, initial={'depth': math.log(variance)})
    Losses(depth=loss).total(weighting).backward()

    assert weighting.log_variances['depth'].grad.item() == pytest.approx(0, abs=1e-6)
    assert weighting.weights()['depth'] == pytest.approx(weight)


def test_totals_of_the_forms_for_a_hand_computed_loss():
    def total(form):
        weighting = UncertaintyWeights(
            ['depth'], forms={'depth': form}, initial={'depth': math.log(2.0)})
        return Losses(depth=3.0).total(weighting).item()

    half = math.log(2.0) / 2

    assert total('regression') == pytest.approx(0.75 + half)
    assert total('classification') == pytest.approx(1.5 + half)
    assert total('laplace') == pytest.approx(1.5 + 2 * half)
    assert total('xtasc') == pytest.approx(0.75 + 2 * half)
    assert total('omnidet') == pytest.approx(0.75 + math.log(3.0))
    assert total('omnidet') > 0


def test_log_variances_from_minus_2_to_5_reach_the_same_value():
    def after(initial):
        weighting = UncertaintyWeights(['depth'], initial={'depth': initial})
        optimiser = torch.optim.SGD(weighting.parameters(), 0.05, momentum=0.9, nesterov=True)
        for _ in range(150):
            optimiser.zero_grad()
            Losses(depth=1.5).total(weighting).backward()
            optimiser.step()
        return weighting.log_variances['depth'].item()

    for initial in (-2.0, 0.0, 5.0):
        assert after(initial) == pytest.approx(math.log(1.5), rel=0.05)


def test_semantic_and_motion_have_the_classification_form_by_default():
    weighting = UncertaintyWeights(TASKS)
    assert step(weighting, semantic=1.0, depth=1.0, motion=1.0) == {
        'semantic': 1.0, 'depth': 0.5, 'motion': 1.0}


def test_a_missing_task_leaves_its_log_variance_without_a_gradient():
    weighting = UncertaintyWeights(TASKS)
    Losses(semantic=3.0, depth=3.0).total(weighting).backward()

    assert weighting.log_variances['motion'].grad is None
    assert weighting.log_variances['depth'].grad.item() == pytest.approx(0.5 - 1.5)


def test_log_variances_stay_in_range_and_can_come_back():
    weighting = UncertaintyWeights(['depth'])
    with torch.no_grad():
        weighting.log_variances['depth'].fill_(50.0)
    Losses(depth=1.0).total(weighting).backward()

    assert weighting.log_variances['depth'].item() == 10.0
    assert weighting.log_variances['depth'].grad.item() > 0

# weight learning


def test_weight_learning_drifts_to_the_smaller_loss():
    weighting = WeightLearning(TWO)
    losses = Losses(semantic=0.5, detection=2.0)

    assert losses.total(weighting).item() == 1.25

    losses.total(weighting).backward()

    # alpha (1 - alpha) (L_1 - L_2)
    assert weighting.logits['semantic'].grad.item() == pytest.approx(0.25 * (0.5 - 2.0))

    optimiser = torch.optim.Adam(weighting.parameters(), 0.01)
    for _ in range(2000):
        optimiser.zero_grad()
        Losses(semantic=0.5, detection=2.0).total(weighting).backward()
        optimiser.step()

    assert weighting.weights()['semantic'] == pytest.approx(0.996, abs=5e-4)


def test_two_tasks_have_one_parameter_and_three_have_three():
    assert [len(list(WeightLearning(tasks).parameters())) for tasks in (TWO, TASKS)] == [1, 3]


def test_three_tasks_have_softmax_weights_and_those_of_a_batch_add_up_to_one():
    weighting = WeightLearning(TASKS)
    with torch.no_grad():
        weighting.logits['depth'].fill_(math.log(2.0))

    assert step(weighting, semantic=1.0, depth=1.0, motion=1.0) == pytest.approx(
        {'semantic': 0.25, 'depth': 0.5, 'motion': 0.25})
    assert step(weighting, semantic=1.0, depth=1.0) == pytest.approx(
        {'semantic': 1 / 3, 'depth': 2 / 3, 'motion': 0.0})

    gradient = weighting.logits['motion'].grad.clone()
    step(weighting, semantic=1.0, depth=9.0)

    assert weighting.logits['motion'].grad == gradient  # a missing task's parameter stays alone


def test_no_weight_falls_below_the_smallest():
    weighting = WeightLearning(TWO, smallest=0.1)
    with torch.no_grad():
        weighting.logits['semantic'].fill_(50.0)

    assert step(weighting, semantic=1.0, detection=1.0) == pytest.approx(
        {'semantic': 0.9, 'detection': 0.1})


def test_weights_of_normalised_losses_do_not_drift_while_the_losses_are_constant():
    weighting = WeightLearning(TWO, normalise=True)
    Losses(semantic=0.5, detection=2.0).total(weighting).backward()

    assert weighting.logits['semantic'].grad.item() == 0.0
    assert weighting.weights() == {'semantic': 1.0, 'detection': 0.25}  # 0.5 / L(0)

# asynchronous


def test_a_task_is_due_when_its_frequency_divides_the_step():
    weighting = Asynchronous(TASKS, {'semantic': 7, 'depth': 2})
    due = {task: [at for at in range(15) if task in weighting.active(at)] for task in TASKS}

    assert due == {'semantic': [0, 7, 14], 'depth': list(range(0, 15, 2)),
                   'motion': list(range(15))}


def test_it_may_happen_that_no_task_is_due():
    assert Asynchronous(TWO, {'semantic': 2, 'detection': 3}).active(1) == ()


def test_epochs_are_counted_instead_of_steps():
    weighting = Asynchronous(TWO, {'detection': 3}, unit='epoch')
    seen = []
    for epoch in range(4):
        seen.append('detection' in weighting.active(100 * epoch + 1))
        weighting.end_epoch()

    assert seen == [True, False, False, True]


def test_only_due_tasks_enter_the_total_of_the_nested_strategy():
    weighting = Asynchronous(TWO, {'detection': 2}, strategy=GeometricMean(TWO))
    weighting.active(0)

    assert Losses(semantic=2.0, detection=8.0).total(weighting).item() == pytest.approx(4.0)

    weighting.active(1)

    assert Losses(semantic=2.0, detection=8.0).total(weighting).item() == pytest.approx(2.0)
    assert weighting.weights() == {'semantic': 1.0, 'detection': 0.0}


def test_nested_frequencies_multiply():
    weighting = Asynchronous(TWO, {'semantic': 3}, strategy=Asynchronous(TWO, {'semantic': 2}))
    assert [at for at in range(13) if 'semantic' in weighting.active(at)] == [0, 6, 12]


def test_the_nested_strategy_keeps_its_epochs_and_its_learning_rate():
    weighting = Asynchronous(TWO, strategy=DynamicScaling(TWO))
    step(weighting, semantic=2.0, detection=6.0)
    weighting.end_epoch()

    assert step(weighting, semantic=1.0, detection=1.0)['semantic'] == 3.0
    assert Asynchronous(TWO, strategy=UncertaintyWeights(TWO, rate=4.0)).rate == 4.0
    assert EqualWeights(TWO).rate == 1.0


# gradients

def test_gradnorm_favours_the_slow_task_if_alpha_is_positive():
    norms, progress = torch.tensor([1.0, 1.0]), torch.tensor([1.5, 0.5])
    for alpha, moved in ((0.0, False), (1.5, True)):
        weighting = GradNorm(['slow', 'fast'], alpha=alpha)
        weighting.descend(norms, progress)
        slow, fast = weighting.current.tolist()
        assert (slow > 1 > fast) == moved
        assert slow + fast == pytest.approx(2)


def test_no_weight_of_gradnorm_falls_below_a_thousandth():
    weighting = GradNorm(['strong', 'weak'], alpha=0.0)
    for _ in range(300):
        weighting.descend(torch.tensor([1e4, 1.0]), torch.ones(2))

    assert weighting.current.tolist() == pytest.approx([1e-3, 2.0], rel=0.01)


def test_a_known_gradient_is_scaled_like_any_other():
    """By the loss scale of half precision, say, or by the number of parts of a batch."""
    found = []
    for factor in (1.0, 0.25):
        losses = Losses(semantic=2.0, depth=0.5)
        (losses.total(GradNorm(['semantic', 'depth'])) * factor).backward()
        found.append((losses.shared.layer.grad.item(), losses.own['depth'].grad.item()))

    assert found[1] == pytest.approx([value / 4 for value in found[0]])


def test_log_variances_learn_ten_times_as_fast_as_the_network():
    assert UncertaintyWeights(['semantic']).rate == 10


def test_weights_of_a_gradient_method_belong_to_their_tasks_if_the_first_is_missing():
    pytest.importorskip('torchjd')
    weighting = build_weighting('gradient_method', TASKS, {'gradient_method': {'method': 'mgda'}})

    # in one dimension the smallest gradient of all is that of the smaller one alone
    assert step(weighting, depth=4.0, motion=1.0) == pytest.approx(
        {'semantic': 0.0, 'depth': 0.0, 'motion': 1.0}, abs=0.01)


def test_a_loss_below_the_clamp_has_no_gradient_and_no_weight():
    for kind in (GeometricMean, FocusedGeometricMean):
        losses = Losses(semantic=1e-13, depth=1.0)
        weighting = kind(['semantic', 'depth'])
        losses.total(weighting).backward()
        assert losses.own['semantic'].grad.item() == weighting.weights()['semantic'] == 0.0
        losses = Losses(semantic=1e-11, depth=1.0)  # the control
        losses.total(weighting).backward()
        assert losses.own['semantic'].grad.item() > 0


@pytest.mark.parametrize(('name', 'options', 'words'), [
    ('handcrafted', {'weights': {'semantic': math.inf, 'depth': 1, 'motion': 1}}, 'finite'),
    ('uncertainty', {'forms': ['depth']}, r"forms is \['depth'\]; it must be a table"),
    ('asynchronous', {'strategy': ['dwa']}, r"strategy is \['dwa'\]; did you mean 'dwa'"),
    ('focused', {'focus': 'depth'}, "focus is 'depth'; it must be a list")])
def test_option_values_of_a_wrong_type_are_refused(name, options, words):
    with pytest.raises(ConfigurationError, match=words):
        build_weighting(name, TASKS, {name: options})
