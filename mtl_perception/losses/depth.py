# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Depth losses; each takes depth in a unit that it names."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtl_perception.losses.depth_units import Stereo, from_metres
from mtl_perception.losses.masking import mean_per_image, precise


class LogDepthLoss(nn.Module):
    """
    Absolute difference of the logarithms of predicted and true depth.

    For small errors it is the relative error, so near and far count alike. Pixels without a
    finite, positive true depth of at most the maximum (sky, unknown, too far) do not count.

    >>> loss = LogDepthLoss(maximum=80.0)
    >>> round(float(loss(torch.zeros(1, 1, 1, 1), torch.full((1, 1, 1), 2.0))), 4)  # |ln 1 - ln 2|
    0.6931

    :param maximum: largest true depth that counts, metres; inf for no limit.
    :param beta: below this difference the loss is quadratic (smooth L1), 0 for plain L1.
    :raises ValueError: if the maximum is not positive or beta is negative.
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
        target = precise(target)
        valid = self.valid(target)
        if not bool(valid.any()):
            return None
        true = target[valid].log()
        predicted = precise(output[:, 0])[valid]
        return functional.smooth_l1_loss(predicted, true.to(predicted.dtype), beta=self.beta)

    def valid(self, target: Tensor) -> Tensor:
        """Return (N, H, W) bool, which pixels count."""
        return torch.isfinite(target) & (target > 0) & (target <= self.maximum)

    def amount(self, target: Tensor) -> Tensor:
        """Return the 0-dimensional float64 count of pixels that the loss is a mean over."""
        return self.valid(target).sum().double()


class DepthL1Loss(nn.Module):
    """
    Absolute difference to the target, averaged per image and then over the images.

    The depth loss of XTasC-Net (Nakano et al., equation 14) and of Kendall et al., on inverse
    depth or disparity: output and target are in the same unit, see
    :func:`mtl_perception.losses.depth_units.from_metres`. An image without a valid pixel does not
    count.

    >>> loss = DepthL1Loss()
    >>> target = torch.tensor([[[4.0, torch.nan]], [[1.0, 3.0]]])
    >>> float(loss(torch.zeros(2, 1, 1, 2), target))  # image means 4 and 2
    3.0
    """

    def forward(self, output: Tensor, target: Tensor) -> Tensor | None:
        """
        Return the 0-dimensional loss in the unit of the target, None if no pixel is valid.

        :param output: (N, 1, H, W) float.
        :param target: (N, H, W) float in the unit of the output; NaN and Inf are invalid.
        """
        valid = self.valid(target)
        true = torch.where(valid, precise(target), torch.zeros_like(precise(target)))
        return mean_per_image((precise(output[:, 0]) - true).abs(), valid)

    def valid(self, target: Tensor) -> Tensor:
        """Return (N, H, W) bool, which pixels count."""
        return torch.isfinite(target)

    def amount(self, target: Tensor) -> Tensor:
        """Return the 0-dimensional float64 count of images that the loss is a mean over."""
        return self.valid(target).flatten(1).any(1).sum().double()


STEPS = {'disparity_256': 1.0, 'disparity_px': 256.0}
"""Unit of :class:`HuberLoss` -> steps of a 16-bit disparity file in one of it."""


class HuberLoss(nn.Module):
    """
    Huber loss on disparity: ``e^2 / 2`` up to delta, ``delta (|e| - delta / 2)`` beyond.

    The depth loss of MultiNet++ (Chennupati et al., CVPRW 2019), with a delta of 250. Its targets
    are 16-bit integers in steps of 1/256 pixel, where 250 is 0.98 pixel; a target in pixels needs
    a delta of 250 / 256.

    >>> loss = HuberLoss('disparity_256', delta=2.0)
    >>> float(loss(torch.tensor([[[[1.0, 4.0]]]]), torch.zeros(1, 1, 2)))  # (1/2 + 2 (4 - 1)) / 2
    3.25

    :param unit: of output and target, ``disparity_256`` or ``disparity_px``.
    :param delta: in 1/256 pixel, whatever the unit.
    :raises ValueError: if the unit is unknown or the delta is not positive.
    """

    def __init__(self, unit: str, delta: float = 250.0) -> None:
        super().__init__()
        if unit not in STEPS or not delta > 0:
            raise ValueError(
                f'unit is {unit!r} and delta {delta}; the units are {list(STEPS)}, delta '
                'must be positive')
        self.delta = delta / STEPS[unit]  # in the unit of output and target

    def forward(self, output: Tensor, target: Tensor) -> Tensor | None:
        """
        Return the 0-dimensional loss in the square of the unit, None if no pixel is valid.

        :param output: (N, 1, H, W) float.
        :param target: (N, H, W) float in the unit; NaN and Inf are invalid.
        """
        valid = self.valid(target)
        if not bool(valid.any()):
            return None
        predicted = precise(output[:, 0])[valid]
        true = target[valid].to(predicted.dtype)
        return functional.huber_loss(predicted, true, delta=self.delta)

    def valid(self, target: Tensor) -> Tensor:
        """Return (N, H, W) bool, which pixels count."""
        return torch.isfinite(target)

    def amount(self, target: Tensor) -> Tensor:
        """Return the 0-dimensional float64 count of pixels that the loss is a mean over."""
        return self.valid(target).sum().double()


class DepthInUnit(nn.Module):
    """
    A depth loss in another unit, for labels in metres.

    >>> loss = DepthInUnit(DepthL1Loss(), 'inverse_metres', maximum=80.0)
    >>> target = torch.tensor([[[4.0, 100.0]]])
    >>> float(loss(torch.full((1, 1, 1, 2), 0.5), target))  # |0.5 - 1 / 4|; 100 m is too far
    0.25

    :param loss: takes output and target in the unit.
    :param unit: one of :data:`mtl_perception.losses.depth_units.UNITS`.
    :param maximum: largest true depth that counts, metres; inf for no limit.
    :param stereo: camera pair, needed for a disparity. The disparity is in pixels of the image
        that its ``focal_px`` belongs to, even if the network's image has another size.
    :raises ValueError: if the maximum is not positive, or the unit needs a camera and has none.
    """

    def __init__(
        self, loss: nn.Module, unit: str, maximum: float, stereo: Stereo | None = None,
    ) -> None:
        super().__init__()
        if not maximum > 0:
            raise ValueError(f'maximum is {maximum} m; it must be positive')
        from_metres(torch.ones(1), unit, stereo)  # raises for an unknown unit
        self.loss = loss
        self.unit = unit
        self.maximum = maximum
        self.stereo = stereo

    def forward(self, output: Tensor, target: Tensor) -> Tensor | None:
        """
        Return the 0-dimensional loss, None if no pixel has a valid depth.

        :param output: (N, 1, H, W) float in the unit.
        :param target: (N, H, W) float, metres; NaN, Inf, 0 and negative are invalid.
        """
        loss: Tensor | None = self.loss(output, self._in_unit(target))
        return loss

    def amount(self, target: Tensor) -> Tensor:
        """Return the 0-dimensional float64 amount that the loss is a mean over."""
        amount: Tensor = self.loss.amount(self._in_unit(target))  # type: ignore[operator]
        return amount

    def _in_unit(self, target: Tensor) -> Tensor:
        """Return (N, H, W) in the unit, NaN where it does not count."""
        target = precise(target)
        metres = torch.where(self.valid(target), target, torch.full_like(target, torch.nan))
        return from_metres(metres, self.unit, self.stereo)

    def valid(self, target: Tensor) -> Tensor:
        """Return (N, H, W) bool, which pixels count."""
        return torch.isfinite(target) & (target > 0) & (target <= self.maximum)
