# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The box loss and the anchors."""

import math

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans

from mtl_perception.losses import BoxLoss, find_anchors
from mtl_perception.losses.anchors import shape_overlap
from mtl_perception.models.boxes import decode_boxes
from mtl_perception.tasks import NO_BOX, NOT_LABELLED

# two anchors in an image of 64 x 32 pixels with cells of 16: 8 x 8 and 32 x 16 pixels
ANCHORS, STRIDE, CLASSES = [[0.125, 0.25], [0.5, 0.5]], 16, 3
SHAPE = (1, 2 * (5 + CLASSES), 2, 4)
EMPTY = [0.0, 0.0, 0.0, 0.0, NO_BOX]


def loss(**settings):
    return BoxLoss(ANCHORS, CLASSES, STRIDE, **settings)


def target(*rows):
    return torch.tensor([rows], dtype=torch.float32)


def channel(anchor, number):
    return anchor * (5 + CLASSES) + number


def test_the_loss_of_one_hand_computed_box():
    # centre (20, 8), in cell (1, 0) at a quarter and a half; 8 x 4 pixels: the first anchor
    box = [16.0, 6.0, 24.0, 10.0, 2]
    place = (0.5 - 0.25) ** 2 + 0 + 0 + math.log(4 / 8) ** 2
    objects = math.log(2) * (1 + 0.5 * 15)  # 15 other anchors without an object

    assert float(loss()(torch.zeros(SHAPE), target(box))) == pytest.approx(
        5 * place + objects + math.log(3), rel=1e-6)


def test_an_anchor_that_overlaps_a_box_but_is_not_the_best_does_not_count():
    # the box is the second anchor in the middle of cell (1, 0); that of each neighbouring cell
    # overlaps it by 16 x 16 of 768 pixels, a third
    box = [8.0, 0.0, 40.0, 16.0, 0]
    output = torch.zeros(SHAPE)
    output[0, channel(1, 4), 0, 2] = 50.0
    near = loss(ignored_overlap=0.3)(output, target(box))
    far = loss(ignored_overlap=0.5)(output, target(box))

    assert float(far - near) == pytest.approx(0.5 * 50 + 0.5 * math.log(2), rel=1e-4)


def test_a_perfect_prediction_has_almost_no_loss():
    output = torch.zeros(SHAPE)
    output[:, [channel(0, 4), channel(1, 4)]] = -30.0
    output[0, channel(0, 4), 0, 1] = 30.0
    output[0, channel(0, 0), 0, 1] = math.log(0.25 / 0.75)
    output[0, channel(0, 3), 0, 1] = math.log(4 / 8)
    output[0, channel(0, 5 + 2), 0, 1] = 30.0

    assert float(loss()(output, target([16.0, 6.0, 24.0, 10.0, 2]))) < 1e-6


def test_minimising_the_loss_recovers_the_ground_truth_boxes():
    truth = target([16.0, 6.0, 24.0, 10.0, 2], [30.0, 10.0, 60.0, 28.0, 0], EMPTY)
    output = torch.zeros(SHAPE, requires_grad=True)
    optimiser = torch.optim.Adam([output], lr=0.2)
    for _ in range(300):
        optimiser.zero_grad()
        loss()(output, truth).backward()
        optimiser.step()
    boxes, scores = decode_boxes(output.detach(), ANCHORS, STRIDE)
    best = scores[0].amax(1).topk(2).indices.sort().values
    found = boxes[0, best]
    order = found[:, 0].argsort()

    torch.testing.assert_close(found[order], truth[0, :2, :4], atol=0.3, rtol=0)
    assert scores[0, best][order].argmax(1).tolist() == [2, 0]
    assert scores[0, best].amax(1).min() > 0.9
    assert scores[0].amax(1).sort().values[-3] < 0.1


def test_the_larger_of_two_boxes_gets_the_anchor_that_both_claim():
    small, large = [17.0, 6.0, 22.0, 11.0, 1], [16.0, 4.0, 24.0, 12.0, 2]
    output = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    both = [loss()(output, target(*rows)) for rows in ((small, large), (large, small))]
    alone = loss()(output, target(large, EMPTY))

    assert both[0] == both[1]
    # the smaller one still keeps its place from counting as empty
    assert float(both[0]) == pytest.approx(float(alone), rel=1e-6)


def test_an_unlabelled_image_has_no_effect_and_one_without_boxes_has():
    output = torch.randn(2, *SHAPE[1:], requires_grad=True)
    rows = torch.tensor([[[16.0, 6.0, 24.0, 10.0, 2]], [[0, 0, 0, 0, NOT_LABELLED]]])
    value = loss()(output, rows)
    value.backward()

    assert (output.grad[1] == 0).all()
    assert float(value) == pytest.approx(float(loss()(output[:1], rows[:1])), rel=1e-6)

    rows[1, 0, 4] = NO_BOX
    output.grad = None
    loss()(output, rows).backward()
    only_objects = output.grad[1].view(2, 5 + CLASSES, 2, 4)

    assert (only_objects[:, 4] > 0).all()
    assert (only_objects[:, [0, 1, 2, 3, 5, 6, 7]] == 0).all()


def test_without_a_labelled_image_the_task_drops_out_and_without_a_box_it_is_finite():
    assert loss()(torch.zeros(SHAPE), target([0, 0, 0, 0, NOT_LABELLED])) is None

    value = loss()(torch.zeros(SHAPE), torch.zeros(1, 0, 5))

    assert float(value) == pytest.approx(0.5 * 16 * math.log(2), rel=1e-6)


def test_a_box_whose_centre_is_outside_belongs_to_the_nearest_cell():
    # 20 x 40 pixels around (70, 40): the second anchor of the last cell, at its corner
    value = loss()(torch.zeros(SHAPE), target([60.0, 20.0, 80.0, 60.0, 1]))
    place = 0.5 ** 2 + 0.5 ** 2 + math.log(20 / 32) ** 2 + math.log(40 / 16) ** 2

    assert float(value) == pytest.approx(
        5 * place + math.log(2) * (1 + 0.5 * 15) + math.log(3), rel=1e-6)


def test_the_gradient_agrees_with_finite_differences():
    torch.manual_seed(0)
    output = torch.randn(2, *SHAPE[1:], dtype=torch.float64, requires_grad=True)
    rows = torch.tensor([[[16.0, 6.0, 24.0, 10.0, 2], [30.0, 10.0, 60.0, 28.0, 0]],
                         [[1.0, 1.0, 9.0, 9.0, 1], EMPTY]])

    assert torch.autograd.gradcheck(lambda found: loss()(found, rows), output)


def test_an_unknown_class_or_a_box_without_area_is_refused():
    with pytest.raises(ValueError, match='class 3; there are 3, from 0 on'):
        loss()(torch.zeros(SHAPE), target([16.0, 6.0, 24.0, 10.0, 3]))
    with pytest.raises(ValueError, match='no area'):
        loss()(torch.zeros(SHAPE), target([16.0, 6.0, 16.0, 10.0, 1]))
    with pytest.raises(ValueError, match='0 anchors'):
        BoxLoss([], 3, 16)


def test_the_overlap_of_hand_computed_shapes():
    found = shape_overlap(np.array([[2.0, 4.0]]), np.array([[2.0, 4.0], [4.0, 2.0], [1.0, 1.0]]))
    assert found[0].tolist() == pytest.approx([1.0, 4 / 12, 1 / 8])


def test_anchors_recover_the_shapes_of_the_boxes():
    random = np.random.default_rng(0)
    shapes = np.array([[0.02, 0.04], [0.1, 0.05], [0.1, 0.4], [0.6, 0.5]])
    boxes = shapes[random.integers(4, size=400)] * random.uniform(0.9, 1.1, (400, 2))
    anchors = find_anchors(boxes, 4)

    np.testing.assert_allclose(anchors, shapes, rtol=0.03)
    assert find_anchors(boxes, 4) == anchors


def test_anchors_overlap_small_boxes_better_than_euclidean_means_do():
    random = np.random.default_rng(1)
    boxes = np.exp(random.normal(-3.0, 0.8, (500, 2))).clip(0.005, 1.0)
    euclidean = KMeans(5, n_init=5, random_state=0).fit(boxes).cluster_centers_
    ours = np.array(find_anchors(boxes, 5))

    assert (shape_overlap(boxes, ours).max(axis=1).mean()
            > shape_overlap(boxes, euclidean).max(axis=1).mean() + 0.02)


@pytest.mark.parametrize(('sizes', 'count', 'message'), [
    (np.array([[10.0, 20.0]]), 1, 'fractions of the image'),
    (np.array([0.1, 0.2]), 1, r'wanted \(B, 2\)'),
    (np.array([[0.1, 0.2], [0.1, 0.2]]), 2, '2 boxes have 1 different sizes'),
    (np.array([[0.1, 0.2]]), 0, '0 anchors were asked for'),
])
def test_sizes_that_give_no_anchors_are_refused(sizes, count, message):
    with pytest.raises(ValueError, match=message):
        find_anchors(sizes, count)
