# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Loss of motion masks."""

from mtl_perception.losses.segmentation import PixelCrossEntropy


class MotionCrossEntropy(PixelCrossEntropy):
    """
    Cross-entropy of static against moving pixels; 255 = unknown does not count.

    Few pixels move, so the moving class can be given a larger weight.

    >>> import torch
    >>> loss = MotionCrossEntropy(moving_weight=3.0)
    >>> target = torch.tensor([[[0, 1, 255]]], dtype=torch.uint8)
    >>> logits = torch.tensor([0.0, 100.0])[None, :, None, None].expand(1, 2, 1, 3)
    >>> float(loss(logits, target))  # (1 * 100 + 3 * 0) / (1 + 3)
    25.0

    :param moving_weight: weight of a moving pixel, a static one has 1.
    :raises ValueError: if it is not positive.
    """

    def __init__(self, moving_weight: float = 1.0) -> None:
        if not moving_weight > 0:
            raise ValueError(f'moving_weight is {moving_weight}; it must be positive')
        super().__init__([1.0, moving_weight])
