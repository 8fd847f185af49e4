# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A depthwise convolution whose gradient in bfloat16 is fast on CPUs."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional


def depthwise(image: Tensor, weight: Tensor, stride: int, side: int) -> Tensor:
    """
    Convolve every channel with its own kernel.

    Under bfloat16 autocast on a CPU, the gradients of torch 2.14 take 10 to 40 times as long as
    the convolution (kernels of 5x5, strides of two). There they are computed from convolutions
    and products instead, with the same result up to rounding.

    :param image: (N, C, H, W).
    :param weight: (C, 1, k, k).
    :param stride: 1 or 2.
    :param side: rows and columns of zeros on each side.
    :return: (N, C, h, w).
    """
    slow = (image.device.type == 'cpu' and torch.is_grad_enabled()
            and torch.is_autocast_enabled('cpu')
            and torch.get_autocast_dtype('cpu') == torch.bfloat16)
    if not slow or torch.compiler.is_compiling():
        return functional.conv2d(image, weight, None, stride, side, 1, len(weight))
    result: Tensor = _Depthwise.apply(image.bfloat16(), weight.bfloat16(), stride, side)
    return result


class _Depthwise(torch.autograd.Function):
    """Depthwise convolution in bfloat16 with gradients of its own."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, weight: Tensor, stride: int, side: int) -> Tensor:
        ctx.save_for_backward(image, weight)
        ctx.stride, ctx.side = stride, side
        return functional.conv2d(image, weight, None, stride, side, 1, len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        image, weight = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        of_image = of_weight = None
        if ctx.needs_input_grad[0]:
            of_image = _of_image(gradient, image, weight, ctx.stride, ctx.side)
        if ctx.needs_input_grad[1]:
            of_weight = _of_weight(gradient, image, weight, ctx.stride, ctx.side)
        return of_image, of_weight, None, None


def _of_image(gradient: Tensor, image: Tensor, weight: Tensor, stride: int, side: int) -> Tensor:
    """Return the gradient of the image: that of the output, convolved with the turned kernel."""
    count, channels, height, width = image.shape
    kernel = weight.shape[-1]
    rows, columns = gradient.shape[-2:]

    # With a stride, zeros between the outputs bring them back to the places of their windows.
    if stride > 1 or (rows, columns) != (height, width):
        spread = torch.zeros(
            count, height + 2 * side - kernel + 1, width + 2 * side - kernel + 1, channels,
            dtype=gradient.dtype).permute(0, 3, 1, 2)
        spread[:, :, :rows * stride:stride, :columns * stride:stride] = gradient
        gradient = spread
    return functional.conv2d(
        gradient, weight.flip(2, 3), None, 1, kernel - 1 - side, 1, channels)


def _of_weight(gradient: Tensor, image: Tensor, weight: Tensor, stride: int, side: int) -> Tensor:
    """Return the gradient of the kernels: dw[c, i, j] = sum of x[n, c, s y + i, s x + j] * dy."""
    channels, kernel = len(weight), weight.shape[-1]
    if kernel == 3:  # torch is fast here
        result: Tensor = torch.ops.aten.convolution_backward(
            gradient, image, weight, None, [stride] * 2, [side] * 2, [1, 1], False, [0, 0],
            channels, [False, True, False])[1]
        return result

    padded = functional.pad(image, [side] * 4).permute(0, 2, 3, 1)
    outputs = gradient.permute(0, 2, 3, 1)
    rows, columns = outputs.shape[1:3]
    sums = [
        (padded[:, i:i + stride * (rows - 1) + 1:stride,
                j:j + stride * (columns - 1) + 1:stride] * outputs).sum((0, 1, 2))
        for i in range(kernel) for j in range(kernel)]
    return torch.stack(sums, 1).view_as(weight)
