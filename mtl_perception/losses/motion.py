# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Loss for motion masks."""

from mtl_perception.losses.segmentation import PixelCrossEntropy


class MotionCrossEntropy(PixelCrossEntropy):
    """
    Cross-entropy of static against moving pixels; 255 = unknown does not count.

    Few pixels move, so the moving class may weigh more.

    :param moving_weight: weight of a moving pixel, a static one has 1.
    """

    def __init__(self, moving_weight: float = 1.0) -> None:
        if not moving_weight > 0:
            raise ValueError(f'moving_weight is {moving_weight}; it must be positive')
        super().__init__([1.0, moving_weight])
