# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the streets of each look are made of."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mtl_perception.synthetic.appearance import Appearance, draw_appearance
from mtl_perception.synthetic.catalogue import Builder
from mtl_perception.synthetic.ground import GroundPainter
from mtl_perception.synthetic.layout import Layout
from mtl_perception.synthetic.lens import Lens
from mtl_perception.synthetic.roads.ground import RoadPainter
from mtl_perception.synthetic.roads.layout import RoadLayout
from mtl_perception.synthetic.roads.light import RoadLens, draw_light
from mtl_perception.synthetic.roads.textures import road_atlas
from mtl_perception.synthetic.roads.town import RoadTown
from mtl_perception.synthetic.roads.traffic import RoadTraffic
from mtl_perception.synthetic.roads.vehicles import road_car
from mtl_perception.synthetic.textures import Atlas
from mtl_perception.synthetic.town import Town
from mtl_perception.synthetic.traffic import Traffic
from mtl_perception.synthetic.vehicles import car


@dataclass(frozen=True)
class Kit:
    """
    The parts of a street, each a class or a function; see :class:`.Street` for their order.

    :param layout: seed -> layout.
    :param light: random numbers -> appearance.
    :param tilt: seed and the drawn pitch -> pitch and roll of the camera, radians.
    """

    layout: Callable[[int], Layout]
    light: Callable[[np.random.Generator], Appearance]
    tilt: Callable[[int, float], tuple[float, float]]
    atlas: Callable[[np.random.Generator], Atlas]
    painter: Callable[[Any, np.random.Generator], GroundPainter]
    lens: Callable[[Appearance, int, int, int], Lens]
    town: Callable[[Any, float], Town]
    traffic: Callable[[Any], Traffic]
    car: Builder


def _level(seed: int, pitch: float) -> tuple[float, float]:
    """Return the drawn pitch and no roll."""
    return pitch, 0.0


def _tilted(seed: int, pitch: float) -> tuple[float, float]:
    """Return pitch and roll of a camera that somebody stuck onto a windscreen."""
    rng = np.random.default_rng([seed, 51])
    drawn = np.clip(rng.normal(0, 1, 2), -2.5, 2.5) * np.radians([2.4, 0.8])
    return float(drawn[0]), float(drawn[1])


KITS = {
    'classic': Kit(Layout, draw_appearance, _level, Atlas, GroundPainter, Lens, Town, Traffic,
                   car),
    'roads': Kit(RoadLayout, draw_light, _tilted, road_atlas, RoadPainter, RoadLens, RoadTown,
                 RoadTraffic, road_car)}
"""Look -> its parts."""
