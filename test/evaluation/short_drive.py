# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The clock, the size and the calibration of the recorded drive."""

import json

import numpy as np
from bag_files import STORE, header

from mtl_perception import cli

STEP_NS = 100_000_000
START_NS = 1_700_000_000_000_000_000
COUNT = 12
DROPPED = 5
SIZE = {'width': 96, 'height': 64}


def info(focal, stamp_ns):
    kind = STORE.types['sensor_msgs/msg/CameraInfo']
    region = STORE.types['sensor_msgs/msg/RegionOfInterest'](0, 0, 0, 0, False)
    matrix = np.array([focal, 0, 47.5, 0, focal, 31.5, 0, 0, 1], float)
    return kind(header(stamp_ns), 64, 96, 'plumb_bob', np.zeros(5), matrix, np.eye(3).ravel(),
                np.hstack([matrix.reshape(3, 3), np.zeros((3, 1))]).ravel(), 0, 0, region)


def evaluate_bag(tmp_path, bag, model, *words):
    """Run ``mtl evaluate --bag`` and return the report."""
    code = cli.main([
        'evaluate', str(model), '--bag', str(bag), '--threads', '1', '--device', 'cpu',
        '--output', str(tmp_path / 'out'), *words])
    assert code == 0
    return json.loads((tmp_path / 'out' / 'report.json').read_text())
