# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
Units in which depth is learned: metres, inverse metres, or the disparity of a stereo camera.

Depth labels of this package are metres. Papers learn other quantities, under names that hide the
unit; here every unit has a name, and conversions go through metres.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Stereo:
    """
    The camera pair of a disparity: d = f B / Z.

    :param focal_px: focal length f at the width of the image in question, pixels; a disparity in
        pixels shrinks with the image, an inverse depth does not.
    :param baseline_m: distance B of the two cameras, metres.
    :raises ValueError: if one of them is not positive.
    """

    focal_px: float
    baseline_m: float

    def __post_init__(self) -> None:
        if not (self.focal_px > 0 and self.baseline_m > 0):
            raise ValueError(
                f'focal_px is {self.focal_px} and baseline_m {self.baseline_m}; both must be '
                'positive')

    def at_width(self, own: int, wanted: int) -> 'Stereo':
        """
        Return the camera pair for the same image at another width.

        >>> Stereo(focal_px=1000.0, baseline_m=0.5).at_width(own=2048, wanted=512)
        Stereo(focal_px=250.0, baseline_m=0.5)

        :param own: width that ``focal_px`` belongs to, pixels.
        :param wanted: the other width, pixels.
        """
        return Stereo(self.focal_px * wanted / own, self.baseline_m)


CITYSCAPES = Stereo(2262.52, 0.209313)
"""At a width of 2048 pixels. Most drives have these values; each has a file with its own."""

_PER_DISPARITY = {'disparity_px': 1.0, 'disparity_256': 256.0, 'mtan': 1 / 256}
_PLAIN: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    'metres': (torch.clone, torch.clone),
    'log_metres': (torch.log, torch.exp),
    'inverse_metres': (torch.reciprocal, torch.reciprocal),
}

UNITS = (*_PLAIN, *_PER_DISPARITY)
"""
``metres``; ``log_metres``, the natural logarithm, the output of the shipped networks;
``inverse_metres``, 1/m; ``disparity_px``, pixels; ``disparity_256``, 1/256 pixel, the steps of the
16-bit files of KITTI and Cityscapes and the unit of MultiNet++; ``mtan``, 256 pixels at the full
width of Cityscapes, which the code of MTAN and XTasC-Net calls inverse depth.
"""


def from_metres(depth: Tensor, unit: str, stereo: Stereo | None = None) -> Tensor:
    """
    Return depth in a unit, NaN where it is not finite and positive.

    >>> camera = Stereo(focal_px=1000.0, baseline_m=0.5)
    >>> from_metres(torch.tensor([10.0, 0.0]), 'disparity_px', camera)
    tensor([50., nan])

    :param depth: float, metres; Inf, NaN, 0 and negative values are invalid.
    :param unit: one of :data:`UNITS`.
    :param stereo: needed for disparities.
    :raises ValueError: if the unit is unknown, or a disparity without a camera.
    """
    valid = torch.isfinite(depth) & (depth > 0)
    depth = torch.where(valid, depth, torch.full_like(depth, torch.nan))
    if unit in _PLAIN:
        return _PLAIN[unit][0](depth)
    return _numerator(unit, stereo) / depth


def to_metres(values: Tensor, unit: str, stereo: Stereo | None = None) -> Tensor:
    """
    Return the metres of values in a unit; a disparity or an inverse of 0 is infinitely far.

    >>> to_metres(torch.tensor([0.25, 0.0]), 'inverse_metres')
    tensor([4., inf])

    :param values: float, in the unit.
    :param unit: one of :data:`UNITS`.
    :param stereo: needed for disparities.
    :raises ValueError: if the unit is unknown, or a disparity without a camera.
    """
    if unit in _PLAIN:
        return _PLAIN[unit][1](values)
    return _numerator(unit, stereo) / values


def inverse_of(unit: str, stereo: Stereo | None = None) -> float:
    """
    Return the product of a depth in metres and its value in the unit, for inverse units.

    :return: 1 for ``inverse_metres``, focal length times baseline in the unit for a disparity;
        as markers 0 for ``log_metres`` and -1 for ``metres``, which have no constant product.
    :raises ValueError: if the unit is unknown, or a disparity without a camera.
    """
    if unit in _PLAIN:
        return {'inverse_metres': 1.0, 'log_metres': 0.0, 'metres': -1.0}[unit]
    return _numerator(unit, stereo)


def _numerator(unit: str, stereo: Stereo | None) -> float:
    """Return disparity times depth, f B in the unit of a disparity."""
    if unit not in _PER_DISPARITY:
        raise ValueError(f'unknown unit of depth {unit!r}; the units are {list(UNITS)}')
    if stereo is None:
        raise ValueError(f'{unit} is a disparity: it needs the focal length and the baseline')
    return stereo.focal_px * stereo.baseline_m * _PER_DISPARITY[unit]
