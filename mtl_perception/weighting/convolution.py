# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
r"""
The norm of the gradient of a convolution's weight, without computing that gradient.

Let :math:`g_p` be the gradient of a loss with respect to the output at position p of any image,
and :math:`u_p` the patch of the input that this output is computed from. The gradient with respect
to the weight is :math:`\sum_p g_p u_p^T`, and the square of its Frobenius norm is :math:`\sum_{p,
q} (g_p^T g_q) (u_p^T u_q)`. The second factor is the same for all losses, and the product of two
patches is a sum of products of pixels. At a 3x3 convolution with few positions the norms therefore
cost a small part of what the gradients cost.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge
from torch.nn import functional

from mtl_perception.weighting.shared import Shared, TaskGradient, gradient_at, nodes_before

CAST = 'ToCopyBackward0'
"""The node that mixed precision inserts between a weight and its layer."""

SUM_COST = 50
"""On a CPU a term of a sum takes about as long as this many multiply-adds of a matrix product."""

MARGIN = 2.0
"""Norms are computed without the gradients only if the gradients cost this many times as much."""


@dataclass(frozen=True)
class Convolution:
    """
    The last shared layer in the graph of one batch.

    :param shared: the shared features and layer.
    :param output: edge of its output in the graph.
    :param products: (P, P), inner product of every two patches of its input; the output at one of
        the P = N * h * w positions is computed from one patch.
    """

    shared: Shared
    output: GradientEdge
    products: Tensor

    def gradient_norm(self, gradient: TaskGradient) -> float | Tensor:
        """
        Return the 0-dimensional norm of a loss's gradient with respect to the weight.

        :return: NaN if the loss does not depend on it.
        """
        found = gradient_at(self.output, gradient, self.shared.taps)
        if found is None:
            return math.nan

        # sqrt(sum over p, q of (g_p^T g_q) (u_p^T u_q)); rounding may leave a sum just below zero
        rows = found.permute(0, 2, 3, 1).flatten(0, 2).to(self.products)
        with torch.autocast(rows.device.type, enabled=False):
            return ((self.products @ rows) * rows).sum().clamp(min=0).sqrt()


def last_convolution(shared: Shared, losses: int) -> Convolution | None:
    """
    Find the last shared layer in the graph of a batch.

    :param shared: the shared features and layer, before a backward pass frees the graph.
    :param losses: number of norms to be computed.
    :return: None if the layer is not a single plain 2D convolution, or if its output has too many
        positions for the norms to cost much less than the gradients.
    """
    node = _only_user(shared)
    if node is None or node._saved_transposed or node._saved_groups != 1 or shared.layer.ndim != 4:
        return None

    kept: Tensor = node._saved_input
    count, channels, *size = kept.shape
    axes = [_Axis(*each) for each in zip(
        size, shared.layer.shape[2:], *(
            values if len(values) == 2 else values * 2 for values in (
                node._saved_stride, node._saved_padding, node._saved_dilation)))]
    positions = count * math.prod(axis.positions for axis in axes)

    # multiply-adds: products of pixels, products of patches with the gradients, sums over patches
    cost = (
        (count * math.prod(size)) ** 2 * channels + losses * positions ** 2 * len(shared.layer)
        + SUM_COST * _terms(count, axes))
    if MARGIN * cost > losses * positions * shared.layer.numel():
        return None

    # u_p^T u_q: the products of all pixels, summed over the pixels of a patch along each axis
    pixels = kept.detach().permute(0, 2, 3, 1).flatten(0, 2)
    pixels = pixels.to(torch.promote_types(shared.layer.dtype, torch.float32))
    with torch.autocast(pixels.device.type, enabled=False):
        products = (pixels @ pixels.T).view(count, *size, count, *size)
    for dimension, axis in enumerate(axes, 1):
        products = axis.summed(products, dimension)
    return Convolution(shared, GradientEdge(node, 0), products.reshape(positions, positions))


def _only_user(shared: Shared) -> Any:
    """Return the convolution node whose weight is the layer; None unless there is exactly one."""
    users = []
    for node in nodes_before([tap.grad_fn for tap in shared.taps]):
        if node.name() == CAST:  # the user is the node that takes its output
            continue
        for number, (behind, _) in enumerate(node.next_functions):
            while behind is not None and behind.name() == CAST:
                behind = behind.next_functions[0][0]
            if getattr(behind, 'variable', None) is shared.layer:
                users.append((node.name(), number, node))
    if [user[:2] for user in users] != [('ConvolutionBackward0', 1)]:
        return None
    return users[0][2]


def _terms(count: int, axes: Sequence['_Axis']) -> int:
    """Return how many numbers :meth:`_Axis.summed` adds up for all axes, one after the other."""
    terms = 0
    size = [axis.pixels for axis in axes]
    for number, axis in enumerate(axes):
        size[number] += 2 * axis.padding
        terms += (count * math.prod(size)) ** 2
        size[number] = axis.positions
        terms += axis.kernel * (count * math.prod(size)) ** 2
    return terms


@dataclass(frozen=True)
class _Axis:
    """Height or width of a convolution."""

    pixels: int
    kernel: int
    stride: int
    padding: int
    dilation: int

    @property
    def positions(self) -> int:
        """Return the size of the output."""
        reach = self.dilation * (self.kernel - 1) + 1
        return (self.pixels + 2 * self.padding - reach) // self.stride + 1

    def summed(self, products: Tensor, dimension: int) -> Tensor:
        """
        Sum the products of pixels over the pixels of a patch along this axis.

        :param products: 6-dimensional: image, row and column of one pixel, then of the other.
        :param dimension: of this axis in the first half.
        """
        padding = [0, 0] * 6
        for place in (5 - dimension, 2 - dimension):  # functional.pad begins with the last axis
            padding[2 * place:2 * place + 2] = [self.padding] * 2
        padded = functional.pad(products, padding)

        # both pixels of a product lie at the same offset of their patches
        last = (self.positions - 1) * self.stride + 1
        total: Tensor | None = None
        for offset in range(0, self.kernel * self.dilation, self.dilation):
            index = [slice(None)] * 6
            index[dimension] = index[dimension + 3] = slice(offset, offset + last, self.stride)
            part = padded[tuple(index)]
            total = part if total is None else total + part
        assert total is not None
        return total
