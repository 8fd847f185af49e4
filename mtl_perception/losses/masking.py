# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Means over the pixels that have a label."""

import torch
from torch import Tensor


def precise(values: Tensor) -> Tensor:
    """
    Return half precision as float32; float32 and float64 are kept.

    >>> precise(torch.ones(1, dtype=torch.bfloat16)).dtype
    torch.float32
    """
    return values.to(torch.promote_types(values.dtype, torch.float32))


def mean_per_image(values: Tensor, valid: Tensor) -> Tensor | None:
    """
    Return the mean over images of the mean over their valid pixels, None without valid pixels.

    An image without a valid pixel does not count. XTasC-Net averages depth like this.

    >>> values = torch.tensor([[[1.0, 3.0]], [[8.0, 9.0]]])
    >>> float(mean_per_image(values, torch.tensor([[[True, True]], [[True, False]]])))
    5.0

    :param values: (N, H, W) float, finite also where invalid.
    :param valid: (N, H, W) bool.
    """
    count = valid.sum((1, 2))
    if not bool(count.any()):
        return None
    total = torch.where(valid, values, torch.zeros_like(values)).sum((1, 2))
    return (total / count.clamp(min=1)).sum() / (count > 0).sum()
