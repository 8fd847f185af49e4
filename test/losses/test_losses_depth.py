# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The depth losses of the papers and their units."""

import math

import pytest
import torch

from mtl_perception.losses import DepthL1Loss, HuberLoss, LogDepthLoss
from mtl_perception.losses.depth_units import CITYSCAPES, UNITS, Stereo, from_metres, to_metres


def pixels(*values):
    return torch.tensor([[values]], dtype=torch.float32)


def test_huber_loss_of_a_hand_computed_case_in_both_units():
    # 100 steps are below the delta of 250, 1000 are above
    wanted = (100 ** 2 / 2 + 250 * (1000 - 125)) / 2
    loss = HuberLoss('disparity_256')(pixels(100, -1000)[:, None], pixels(0, 0))

    assert float(loss) == pytest.approx(wanted)

    loss = HuberLoss('disparity_px')(pixels(100, -1000)[:, None] / 256, pixels(0, 0))

    assert float(loss) == pytest.approx(wanted / 256 ** 2)


def test_the_huber_loss_has_a_slope_of_delta_for_large_errors():
    output = pixels(5000)[:, None].requires_grad_()
    HuberLoss('disparity_256')(output, pixels(0)).backward()

    assert float(output.grad) == 250
    assert HuberLoss('disparity_px').delta == pytest.approx(0.9765625)


@pytest.mark.parametrize('unit', ['metres', 'pixel', ''])
def test_the_huber_loss_needs_a_disparity_unit(unit):
    with pytest.raises(ValueError, match=r"units are .'disparity_256', 'disparity_px'"):
        HuberLoss(unit)
    with pytest.raises(ValueError, match='delta must be positive'):
        HuberLoss('disparity_px', -1.0)


def test_l1_is_averaged_per_image_and_then_over_images():
    output = torch.zeros(3, 1, 1, 4)
    target = torch.full((3, 1, 4), math.nan)
    target[0, 0, 0] = 6.0  # one valid pixel
    target[1, 0, :] = 2.0  # four

    assert float(DepthL1Loss()(output, target)) == pytest.approx((6 + 2) / 2)


@pytest.mark.parametrize('loss', [DepthL1Loss(), HuberLoss('disparity_px'), LogDepthLoss(80.0)])
def test_invalid_pixels_have_no_effect_on_loss_and_gradient(loss):
    target = torch.tensor([[[1.0, math.nan, math.inf, 3.0]], [[math.nan] * 4]])
    gradients = []
    for other in (0.0, 1e6):
        output = torch.full((2, 1, 1, 4), other)
        output[0, 0, 0, 0], output[0, 0, 0, 3] = 0.5, 2.0
        output.requires_grad_()
        value = loss(output, target)
        value.backward()
        assert torch.isfinite(output.grad).all()
        assert torch.equal(output.grad != 0, torch.isfinite(target)[:, None])
        gradients.append((float(value), output.grad))

    assert gradients[0][0] == gradients[1][0]
    assert torch.equal(gradients[0][1], gradients[1][1])


@pytest.mark.parametrize('loss', [DepthL1Loss(), HuberLoss('disparity_px'), LogDepthLoss(80.0)])
def test_without_a_valid_pixel_the_task_drops_out(loss):
    assert loss(torch.zeros(2, 1, 1, 3), torch.full((2, 1, 3), math.nan)) is None


@pytest.mark.parametrize('loss', [
    DepthL1Loss(), HuberLoss('disparity_px'), LogDepthLoss(80.0), LogDepthLoss(80.0, beta=0.5)])
def test_the_gradient_agrees_with_finite_differences(loss):
    torch.manual_seed(0)
    output = torch.randn(2, 1, 3, 4, dtype=torch.float64, requires_grad=True)
    target = torch.rand(2, 3, 4, dtype=torch.float64) + 0.2
    target[0, 0, :2] = math.nan

    assert torch.autograd.gradcheck(lambda found: loss(found, target), output)


def test_a_perfect_prediction_has_a_loss_of_zero():
    target = pixels(1.0, 2.0, math.nan)
    for loss in (DepthL1Loss(), HuberLoss('disparity_px')):
        assert float(loss(torch.nan_to_num(target)[:, None], target)) == 0


def test_units_of_a_hand_computed_depth():
    camera = Stereo(focal_px=1000.0, baseline_m=0.5)
    depth = torch.tensor([10.0])
    found = {unit: float(from_metres(depth, unit, camera)) for unit in UNITS}

    assert found == pytest.approx({
        'metres': 10, 'log_metres': math.log(10), 'inverse_metres': 0.1, 'disparity_px': 50,
        'disparity_256': 12800, 'mtan': 50 / 256})


def test_the_limit_of_mtan_follows_from_its_16_bit_files():
    # the files hold 256 d + 1; the code clips at 0.4922 = (32257 - 1 + 1) / 65536
    depth = to_metres(torch.tensor([32256 / 256]), 'disparity_px', CITYSCAPES)
    assert float(from_metres(depth, 'mtan', CITYSCAPES)) == pytest.approx(32256 / 65536)


@pytest.mark.parametrize('unit', UNITS)
def test_units_survive_a_round_trip_and_invalid_depth_is_nan(unit):
    depth = torch.tensor([0.5, 3.0, 80.0, math.inf, math.nan, 0.0, -2.0], dtype=torch.float64)
    values = from_metres(depth, unit, CITYSCAPES)

    torch.testing.assert_close(to_metres(values, unit, CITYSCAPES)[:3], depth[:3])
    assert values[3:].isnan().all()
    assert values.dtype == torch.float64


def test_disparity_shrinks_with_the_image_and_inverse_depth_does_not():
    small = CITYSCAPES.at_width(2048, 256)
    depth = torch.tensor([20.0])

    assert float(from_metres(depth, 'disparity_px', CITYSCAPES)) == pytest.approx(
        8 * float(from_metres(depth, 'disparity_px', small)))
    assert torch.equal(from_metres(depth, 'inverse_metres', CITYSCAPES),
                       from_metres(depth, 'inverse_metres', small))


def test_an_unknown_unit_or_a_disparity_without_a_camera_is_refused():
    with pytest.raises(ValueError, match='unknown unit of depth'):
        from_metres(torch.ones(1), 'disparity')
    with pytest.raises(ValueError, match='needs the focal length and the baseline'):
        to_metres(torch.ones(1), 'disparity_px')
    with pytest.raises(ValueError, match='must be positive'):
        Stereo(0.0, 0.5)
