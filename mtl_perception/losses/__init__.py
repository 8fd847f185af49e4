# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
One loss per task: ``loss(output, target)`` gives a 0-dimensional tensor.

The result is None if nothing is labelled: the task then drops out of the batch, where a loss of
zero would count as a perfect prediction. ``loss.amount(target)`` tells how much the loss is a mean
over, so that ranks with different amounts of labels can average theirs.
"""

from mtl_perception.losses.anchors import find_anchors
from mtl_perception.losses.consistency import CrossTaskLoss
from mtl_perception.losses.depth import DepthInUnit, DepthL1Loss, HuberLoss, LogDepthLoss
from mtl_perception.losses.depth_units import Stereo, from_metres, to_metres
from mtl_perception.losses.detection import BoxLoss
from mtl_perception.losses.feature_distance import FeatureDistance
from mtl_perception.losses.instance import InstanceL1Loss, centroid_offsets
from mtl_perception.losses.motion import MotionCrossEntropy
from mtl_perception.losses.segmentation import PixelCrossEntropy, median_frequency_weights

__all__ = [
    'BoxLoss', 'CrossTaskLoss', 'DepthInUnit', 'DepthL1Loss', 'FeatureDistance', 'HuberLoss',
    'InstanceL1Loss', 'LogDepthLoss', 'MotionCrossEntropy', 'PixelCrossEntropy', 'Stereo',
    'centroid_offsets', 'find_anchors', 'from_metres', 'median_frequency_weights', 'to_metres']
