# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Depthwise convolutions: the gradients in bfloat16 are those of torch, up to rounding."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mtl_perception.models.depthwise import depthwise

CHANNELS = 6


def _draw(height: int, width: int, kernel: int) -> tuple[Tensor, Tensor]:
    """Return an image and kernels whose values bfloat16 holds exactly."""
    generator = torch.Generator().manual_seed(height * kernel)
    image = torch.randn(2, CHANNELS, height, width, generator=generator)
    weight = torch.randn(CHANNELS, 1, kernel, kernel, generator=generator)
    return tuple(item.bfloat16().float().requires_grad_() for item in (image, weight))


@pytest.mark.parametrize(('height', 'width', 'kernel', 'stride', 'side'), [
    (9, 12, 3, 1, 1), (9, 12, 5, 1, 2), (13, 17, 3, 2, 0), (13, 17, 5, 2, 0), (12, 16, 5, 2, 0)])
def test_gradients_in_bfloat16_are_those_in_float32(
        height: int, width: int, kernel: int, stride: int, side: int) -> None:
    image, weight = _draw(height, width, kernel)
    wanted = functional.conv2d(image, weight, None, stride, side, 1, CHANNELS)
    gradient = torch.randn_like(wanted).bfloat16()
    of_image, of_weight = torch.autograd.grad(wanted, (image, weight), gradient.float())

    with torch.autocast('cpu', torch.bfloat16):
        found = depthwise(image, weight, stride, side)
    mine = torch.autograd.grad(found, (image, weight), gradient)

    assert found.dtype == torch.bfloat16
    for got, right in zip((found, *mine), (wanted, of_image, of_weight)):
        assert got.shape == right.shape
        # 8 bits of mantissa: 0.4 % of a value, here of the largest
        assert (got - right).abs().max() <= 0.008 * right.abs().max()


def test_an_image_without_gradient_gets_none() -> None:
    image, weight = _draw(8, 8, 5)
    with torch.autocast('cpu', torch.bfloat16):
        depthwise(image.detach(), weight, 1, 2).sum().backward()
    assert weight.grad is not None
    assert weight.grad.dtype == torch.float32
    assert image.grad is None


def test_in_float32_it_is_the_convolution_of_torch() -> None:
    image, weight = _draw(8, 8, 5)
    found = depthwise(image, weight, 1, 2)
    assert torch.equal(found, functional.conv2d(image, weight, None, 1, 2, 1, CHANNELS))
