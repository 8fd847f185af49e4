# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Decoding of boxes."""

import math

import pytest
import torch

from mtl_perception.models.boxes import decode_boxes, find_boxes

# two anchors in an image of 64 x 32 pixels with cells of 16: 8 x 8 and 32 x 16 pixels
ANCHORS, STRIDE, CLASSES = [[0.125, 0.25], [0.5, 0.5]], 16, 3


def nothing(images=1):
    """Return the output of a head without any object."""
    output = torch.zeros(images, 2, 5 + CLASSES, 2, 4)
    output[:, :, 4] = -20.0
    return output


def flat(output):
    return output.flatten(1, 2)


def put(output, image, anchor, row, column, one, confidence=20.0, shift=0.0):
    output[image, anchor, 0, row, column] = shift
    output[image, anchor, 4, row, column] = confidence
    output[image, anchor, 5 + one, row, column] = 20.0


def test_an_output_of_zeros_decodes_to_centred_anchors_with_a_probability_of_one_half():
    boxes, scores = decode_boxes(torch.zeros(1, 16, 2, 4), ANCHORS, STRIDE)

    assert boxes.shape == (1, 16, 4)
    assert boxes[0, 0].tolist() == [4, 4, 12, 12]  # anchor 0 in the first cell
    assert boxes[0, 7].tolist() == [52, 20, 60, 28]  # in the last
    assert boxes[0, 8].tolist() == [-8, 0, 24, 16]  # anchor 1 in the first
    torch.testing.assert_close(scores, torch.full((1, 16, 3), 0.5 / 3))


def test_decoding_of_a_hand_computed_box():
    output = torch.zeros(1, 2, 5 + CLASSES, 2, 4)
    output[0, 0, :, 1, 2] = torch.tensor(
        [math.log(3), -math.log(3), math.log(2), math.log(0.5), math.log(4), 0, math.log(2), 0])
    boxes, scores = decode_boxes(flat(output), ANCHORS, STRIDE)

    # centre (2 + 3/4, 1 + 1/4) cells, size 2 x 8 by 8 / 2 pixels
    torch.testing.assert_close(boxes[0, 6], torch.tensor([44.0 - 8, 20 - 2, 44 + 8, 20 + 2]))
    torch.testing.assert_close(scores[0, 6], 0.8 * torch.tensor([0.25, 0.5, 0.25]))


def test_of_overlapping_boxes_of_one_class_the_highest_score_is_kept():
    output = nothing()
    put(output, 0, 1, 0, 1, 0, confidence=3.0)
    put(output, 0, 1, 0, 2, 0, confidence=2.0, shift=-3.0)  # almost the same place
    put(output, 0, 0, 1, 3, 0, confidence=1.0)  # far away
    found, = find_boxes(flat(output), ANCHORS, STRIDE)

    assert found.classes.tolist() == [0, 0]
    torch.testing.assert_close(found.scores, torch.tensor([3.0, 1.0]).sigmoid())
    assert found.corners[0].tolist() == [8, 0, 40, 16]
    assert found.corners[1].tolist() == [52, 20, 60, 28]


def test_boxes_of_different_classes_may_overlap():
    output = nothing()
    put(output, 0, 1, 0, 1, 0)
    put(output, 0, 1, 0, 2, 2, shift=-3.0)
    found, = find_boxes(flat(output), ANCHORS, STRIDE)

    assert sorted(found.classes.tolist()) == [0, 2]


def test_the_boxes_of_each_image_are_separate_and_an_empty_image_has_none():
    output = nothing(3)
    put(output, 1, 0, 0, 0, 1)
    empty, one, also_empty = find_boxes(flat(output), ANCHORS, STRIDE)

    assert len(empty.corners) == len(also_empty.scores) == 0
    assert empty.corners.shape == (0, 4)
    assert one.classes.tolist() == [1]


def test_boxes_are_clipped_to_the_image():
    output = nothing()
    put(output, 0, 1, 0, 0, 1)
    found, = find_boxes(flat(output), ANCHORS, STRIDE)

    assert found.corners.tolist() == [[0, 0, 24, 16]]


def test_minimum_score_and_limit_set_the_number_of_boxes():
    output = nothing()
    for column, confidence in enumerate((2.0, 1.0, 0.0, -1.0)):
        put(output, 0, 0, 0, column, 0, confidence)

    def count(**settings):
        return len(find_boxes(flat(output), ANCHORS, STRIDE, **settings)[0].scores)

    assert count() == 3
    assert count(minimum_score=0.6) == 2
    assert count(minimum_score=0.01) == 4
    assert count(minimum_score=0.01, limit=2) == 2


@pytest.mark.parametrize('size', [1e3, -1e3])
def test_extreme_outputs_give_finite_boxes(size):
    output = nothing()
    put(output, 0, 0, 0, 0, 1)
    output[0, 0, 2:4] = size

    assert all(torch.isfinite(boxes.corners).all() for boxes in find_boxes(
        flat(output), ANCHORS, STRIDE))
