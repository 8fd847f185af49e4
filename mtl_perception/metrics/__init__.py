# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
Metrics of every task: accumulators over frames, image-blind baselines, bootstrap intervals.

An accumulator has ``update`` (count one frame), ``compute`` (the metrics so far as plain numbers,
None without data), ``intervals`` (bootstrap) and mostly ``merge``. Arrays are NumPy's.
"""

from mtl_perception.metrics.baselines import MajorityClass, MeanDepth, points_in_cells
from mtl_perception.metrics.bootstrap import FEWEST_GROUPS, bootstrap_interval
from mtl_perception.metrics.boundary import BoundaryMetrics
from mtl_perception.metrics.delta_m import delta_m
from mtl_perception.metrics.depth import DepthMetrics
from mtl_perception.metrics.detection import DetectionMetrics
from mtl_perception.metrics.error_map import ErrorMap
from mtl_perception.metrics.instance import InstanceMetrics
from mtl_perception.metrics.inverse_depth import InverseDepthMetrics
from mtl_perception.metrics.motion import MotionMetrics
from mtl_perception.metrics.names import (
    COMPARED,
    LOWER_IS_BETTER,
    MAIN_METRICS,
    METRICS,
    Metric,
    main_metrics,
    metric_text,
)
from mtl_perception.metrics.segmentation import SegmentationMetrics

__all__ = [
    'COMPARED', 'FEWEST_GROUPS', 'LOWER_IS_BETTER', 'MAIN_METRICS', 'METRICS', 'BoundaryMetrics',
    'DepthMetrics', 'DetectionMetrics', 'ErrorMap', 'InstanceMetrics', 'InverseDepthMetrics',
    'MajorityClass', 'MeanDepth', 'Metric', 'MotionMetrics', 'SegmentationMetrics',
    'bootstrap_interval', 'delta_m', 'main_metrics', 'metric_text',
    'points_in_cells']
