# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Traffic of the look ``roads``: fast on highways, without people where there is no sidewalk."""

import numpy as np

from mtl_perception.synthetic.roads.layout import RoadLayout
from mtl_perception.synthetic.traffic import Pace, Traffic


class RoadTraffic(Traffic):
    """
    Everything that can move on one street, see :class:`~mtl_perception.synthetic.traffic.Traffic`.

    :param layout: the street.
    """

    def __init__(self, layout: RoadLayout) -> None:
        super().__init__(layout)
        rng = np.random.default_rng([layout.seed, 53])
        if layout.scene == 'highway':
            # All flow; a queue that stands on a motorway has the camera in it, which is rare.
            self.drive = Pace(rng, (14.0, float(rng.uniform(16, 27))), (0.1, 0.2), (20.0, 40.0))
            self.flows = []
            self._leaders = 0
            for lane in layout.lanes:
                pace = Pace(rng, (13.0, float(rng.uniform(16, 28))), (0.1, 0.3), (12.0, 25.0))
                self._add('car', (lane.d, 0.25), lane.direction, pace,
                          float(rng.uniform(20, 50)) + pace.spread, int(rng.integers(2, 5)),
                          float(rng.uniform(0.4, 0.9)), float(rng.uniform(14, 35)))

        elif layout.scene == 'country':
            self.flows = [flow for flow in self.flows if flow.kind != 'person']
