# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
A perception node with a network that only pretends.

HANG=1 in the environment: it does not return from the first frame. LOAD_S: loading takes so long.
"""

import os
import time

from node_bench import FakeEngine

from mtl_perception.ros.perception_node import PerceptionNode
from mtl_perception.ros.process import run_node


def load(settings):
    engine = FakeEngine()
    if os.environ.get('HANG'):
        engine.hold.clear()
    print('loading', flush=True)
    time.sleep(float(os.environ.get('LOAD_S', '0')))
    return engine


if __name__ == '__main__':
    raise SystemExit(run_node(
        lambda stopped: PerceptionNode(load_engine=load, stopped=stopped)))
