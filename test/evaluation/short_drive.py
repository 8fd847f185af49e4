# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The clock, the size and the calibration of the recorded drive."""

import json

from mtl_perception import cli

STEP_NS = 100_000_000
START_NS = 1_700_000_000_000_000_000
COUNT = 12
DROPPED = 5
SIZE = {'width': 96, 'height': 64}


def evaluate_bag(tmp_path, bag, model, *words):
    """Run ``mtl evaluate --bag`` and return the report."""
    code = cli.main([
        'evaluate', str(model), '--bag', str(bag), '--threads', '1', '--device', 'cpu',
        '--output', str(tmp_path / 'out'), *words])
    assert code == 0
    return json.loads((tmp_path / 'out' / 'report.json').read_text())
