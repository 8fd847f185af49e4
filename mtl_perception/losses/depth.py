# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Loss for metric depth."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class LogDepthLoss(nn.Module):
    """
    Absolute difference of the logarithms of predicted and true depth.

    For small errors it is the relative error, so near and far count alike. Pixels without a
    finite, positive true depth of at most the maximum (sky, unknown, too far) do not count.

    :param maximum: largest true depth that counts, metres.
    :param beta: below this difference the loss is quadratic (smooth L1), 0 for plain L1.
    """

    def __init__(self, maximum: float, beta: float = 0.0) -> None:
        super().__init__()
        if not maximum > 0 or beta < 0:
            raise ValueError(
                f'maximum is {maximum} m and beta {beta}; maximum must be positive, beta not '
                'negative')
        self.maximum = maximum
        self.beta = beta

    def forward(self, output: Tensor, target: Tensor) -> Tensor | None:
        """
        Return the 0-dimensional float32 loss, None if no pixel has a valid depth.

        :param output: (N, 1, H, W) float, natural logarithm of metres.
        :param target: (N, H, W) float, metres; NaN, Inf, 0 and negative are invalid.
        """
        target = target.float()
        valid = torch.isfinite(target) & (target > 0) & (target <= self.maximum)
        if not bool(valid.any()):
            return None
        wanted = target[valid].log()
        found = output[:, 0].float()[valid]
        return functional.smooth_l1_loss(found, wanted, beta=self.beta)
