# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
One loss per task: ``loss(output, target)`` gives a 0-dimensional tensor.

A loss without a single labelled pixel is None: the task drops out of the batch, it is not zero.
"""

from mtl_perception.losses.anchors import find_anchors
from mtl_perception.losses.consistency import CrossTaskLoss
from mtl_perception.losses.depth import DepthInUnit, DepthL1Loss, HuberLoss, LogDepthLoss
from mtl_perception.losses.detection import BoxLoss
from mtl_perception.losses.instance import InstanceL1Loss, centroid_offsets
from mtl_perception.losses.motion import MotionCrossEntropy
from mtl_perception.losses.segmentation import PixelCrossEntropy, median_frequency_weights

__all__ = [
    'BoxLoss', 'CrossTaskLoss', 'DepthInUnit', 'DepthL1Loss', 'HuberLoss', 'InstanceL1Loss',
    'LogDepthLoss', 'MotionCrossEntropy', 'PixelCrossEntropy', 'centroid_offsets',
    'find_anchors', 'median_frequency_weights']
