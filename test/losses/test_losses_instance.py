# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The instance loss."""

import pytest
import torch

from mtl_perception.losses import InstanceL1Loss, centroid_offsets
from mtl_perception.losses.instance import areas


def test_offsets_of_hand_computed_objects():
    ids = torch.tensor([[[7, 7, 7], [0, 9, 9]]])
    found = centroid_offsets(ids)[0]

    assert found[:, 0, 0].tolist() == [1, 0]  # the centroid of 7 is (1, 0), x and y
    assert found[:, 0, 2].tolist() == [-1, 0]
    assert found[:, 1, 1].tolist() == [0.5, 0]  # that of 9 is (1.5, 1)
    assert found[:, 1, 0].isnan().all()


def test_the_same_id_in_another_image_is_another_object():
    ids = torch.zeros(2, 4, 6, dtype=torch.int32)
    ids[0, 0, 0], ids[1, 3, 5] = 5, 5
    found = centroid_offsets(ids)

    assert found[0, :, 0, 0].tolist() == [0, 0]
    assert found[1, :, 3, 5].tolist() == [0, 0]


def test_every_pixel_points_at_the_centroid_of_its_object():
    torch.manual_seed(0)
    ids = torch.randint(0, 4, (2, 8, 9))
    offsets = centroid_offsets(ids)
    rows, columns = torch.meshgrid(torch.arange(8), torch.arange(9), indexing='ij')
    for image, one in ((0, 1), (0, 3), (1, 2)):
        mask = ids[image] == one
        x, y = columns + offsets[image, 0], rows + offsets[image, 1]
        torch.testing.assert_close(x[mask], columns[mask].float().mean().expand(mask.sum()))
        torch.testing.assert_close(y[mask], rows[mask].float().mean().expand(mask.sum()))


def test_the_loss_of_a_hand_computed_case():
    ids = torch.tensor([[[1, 1, 1, 0]]])  # offsets 1, 0, -1 along x
    output = torch.zeros(1, 2, 1, 4)
    output[0, 1, 0, 0] = 0.5

    assert float(InstanceL1Loss()(output, ids)) == pytest.approx((1 + 0.5 + 0 + 1) / 3)

    perfect = torch.nan_to_num(centroid_offsets(ids))

    assert float(InstanceL1Loss()(perfect, ids)) == 0


def test_pixels_without_an_object_have_no_effect_on_loss_and_gradient():
    ids = torch.tensor([[[1, 1, 0, -1]], [[0, 0, 0, 0]]])
    values = []
    for other in (0.0, 1e6):
        output = torch.full((2, 2, 1, 4), other)
        output[0, :, :, :2] = 0.25
        output.requires_grad_()
        loss = InstanceL1Loss()(output, ids)
        loss.backward()
        assert (output.grad[0, :, 0, 2:] == 0).all()
        assert (output.grad[1] == 0).all()
        assert (output.grad[0, :, 0, :2] != 0).all()
        values.append(float(loss))

    assert values[0] == values[1]


def test_without_an_object_the_task_drops_out():
    assert InstanceL1Loss()(torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, dtype=torch.int)) is None


def test_the_gradient_agrees_with_finite_differences():
    torch.manual_seed(0)
    ids = torch.randint(-1, 3, (2, 4, 5))
    output = torch.randn(2, 2, 4, 5, dtype=torch.float64, requires_grad=True)

    assert all(
        torch.autograd.gradcheck(lambda found: InstanceL1Loss(balance)(found, ids), output)  # noqa: B023
        for balance in (0.0, 0.5))


def test_a_balanced_loss_lets_small_objects_count():
    ids = torch.tensor([[[1, 1, 1, 1], [2, 0, 0, 0]]])
    output = centroid_offsets(ids).nan_to_num()
    output[0, 0, 1, 0] += 6  # the object of one pixel is off by 6, the one of four by nothing

    assert float(InstanceL1Loss()(output, ids)) == pytest.approx(6 / 5)
    assert float(InstanceL1Loss(0.5)(output, ids)) == pytest.approx(6 / (4 / 2 + 1))
    assert float(InstanceL1Loss(1.0)(output, ids)) == pytest.approx(6 / 2)
    assert areas(ids).tolist() == [[[4, 4, 4, 4], [1, 3, 3, 3]]]
    with pytest.raises(ValueError, match='balance is 2'):
        InstanceL1Loss(2.0)
