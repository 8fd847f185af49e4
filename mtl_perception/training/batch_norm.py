# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Batch normalisation over the batches of all ranks."""

from typing import Any, TypeVar, cast

import torch
from torch import Tensor, distributed, nn

from mtl_perception.errors import ConfigurationError
from mtl_perception.training.distributed import Ranks

Network = TypeVar('Network', bound=nn.Module)


def synchronise(network: Network, ranks: Ranks) -> Network:
    """
    Return a network whose batch normalisations see the batches of all ranks.

    :param network: may be changed in place; its parameters and the names of its state are kept.
    :param ranks: with a single one nothing is changed. On CUDA torch's own class is used; it
        does not support the CPU.
    :raises ConfigurationError: if there are subclasses, such as timm's with an activation inside,
        which a replacement would drop.
    """
    if ranks.count == 1:
        return network

    unknown = {
        type(module).__name__ for module in network.modules()
        if isinstance(module, nn.BatchNorm2d) and type(module) is not nn.BatchNorm2d}
    if unknown:
        raise ConfigurationError(
            f'run.sync_batch_norm works with BatchNorm2d, but the network has {sorted(unknown)}; '
            'set run.sync_batch_norm to false')

    if ranks.device.type == 'cuda':
        own: Any = nn.SyncBatchNorm
        return cast(Network, own.convert_sync_batchnorm(network))
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = _SynchronisedBatchNorm
    return network


class _SynchronisedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation of (N, C, H, W) over all ranks, of which each has one part of N."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalised input, of its shape and dtype."""
        if not self.training:
            return super().forward(input)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None

        # mean_c = sum x / n and var_c = sum (x - mean_c)^2 / n over the pixels of all ranks; two
        # passes, since E[x^2] - E[x]^2 loses digits in float32
        values = input.float()
        count = values.new_tensor(values.numel() / values.shape[1])
        sums = _Sum.apply(torch.cat((values.sum((0, 2, 3)), count[None])))
        mean = sums[:-1] / sums[-1]
        count = sums[-1].detach()
        centred = values - mean[:, None, None]
        variance = _Sum.apply((centred ** 2).sum((0, 2, 3))) / count

        # y = weight (x - mean) / sqrt(var + eps) + bias
        scale = torch.rsqrt(variance + self.eps)
        if self.weight is not None:
            scale = scale * self.weight
        result = centred * scale[:, None, None]
        if self.bias is not None:
            result = result + self.bias[:, None, None]

        # running statistics, with the unbiased variance as in torch
        with torch.no_grad():
            self.num_batches_tracked += 1
            factor = (1 / float(self.num_batches_tracked) if self.momentum is None
                      else self.momentum)
            self.running_mean.lerp_(mean.detach(), factor)
            self.running_var.lerp_(
                variance.detach() * count / (count - 1).clamp(min=1), factor)
        normalised: Tensor = result.to(input.dtype)
        return normalised


class _Sum(torch.autograd.Function):
    """The sum over all ranks, for a total that is the sum of those of all ranks."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        distributed.all_reduce(total)
        return total
