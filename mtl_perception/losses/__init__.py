# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
One loss per task: ``loss(output, target)`` gives a 0-dimensional float32 tensor.

A loss without a single labelled pixel is None: the task drops out of the batch, it is not zero.
"""

from mtl_perception.losses.depth import LogDepthLoss
from mtl_perception.losses.motion import MotionCrossEntropy
from mtl_perception.losses.segmentation import PixelCrossEntropy, median_frequency_weights

__all__ = [
    'LogDepthLoss', 'MotionCrossEntropy', 'PixelCrossEntropy', 'median_frequency_weights']
