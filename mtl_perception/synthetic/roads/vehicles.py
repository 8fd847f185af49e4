# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Cars of the look ``roads``: everyday paint, dark glass, lamps, plates and mirrors."""

from dataclasses import replace

import numpy as np

from mtl_perception.synthetic.mesh import Array, Mesh, box, faces, join
from mtl_perception.synthetic.vehicles import CAR, DARK, GLASS, SHAPES, car

PAINTS = ((0.75, 0.75, 0.75), (0.50, 0.51, 0.52), (0.32, 0.33, 0.34), (0.12, 0.125, 0.13),
          (0.022, 0.022, 0.025), (0.010, 0.010, 0.011), (0.015, 0.03, 0.10), (0.03, 0.09, 0.28),
          (0.32, 0.015, 0.02), (0.14, 0.01, 0.015), (0.02, 0.06, 0.04), (0.30, 0.26, 0.18),
          (0.45, 0.18, 0.02), (0.60, 0.46, 0.05), (0.08, 0.16, 0.20))
SHARES = (0.16, 0.16, 0.11, 0.11, 0.10, 0.08, 0.05, 0.07, 0.06, 0.02, 0.02, 0.02, 0.01, 0.02, 0.01)


def road_car(shape: str, rng: np.random.Generator, lights: float) -> Mesh:
    """
    Return one car, see :func:`mtl_perception.synthetic.vehicles.car`.

    :param shape: one of ``SHAPE_NAMES``.
    :param rng: decides paint and proportions.
    :param lights: brightness of its lamps, 0 = off.
    """
    plain = car(shape, rng, lights)
    paint = np.array(PAINTS[int(rng.choice(len(PAINTS), p=SHARES))]) * rng.uniform(0.8, 1.2)
    if shape in ('van', 'lorry') and rng.random() < 0.5:
        paint = np.array(PAINTS[0]) * rng.uniform(0.8, 1.15)

    # The glossy parts are paint, except for the glossier ones, which are glass.
    glass = plain.gloss > 0.25
    painted = (plain.gloss > 0) & ~glass
    colour = plain.colour.copy()
    colour[painted] = paint
    gloss = plain.gloss.copy()
    gloss[painted] = float(rng.uniform(0.02, 0.12))
    gloss[glass] = float(rng.uniform(0.02, 0.22))
    if shape in SHAPES:  # lower parts are in the shade, or of dark plastic
        low = painted & (plain.corners[..., 1].max(1) > -0.35)
        colour[low] *= float(rng.choice([0.25, 0.6, 0.8]))
    parts = [replace(plain, colour=colour, gloss=gloss)]

    size = plain.corners.max((0, 1)) - plain.corners.min((0, 1))
    return join(parts + _details(shape, size, paint, rng))


def _details(shape: str, size: Array, paint: Array, rng: np.random.Generator) -> list[Mesh]:
    """Return mirrors, door lines, bumpers, wheel arches and a rail on the roof."""
    if shape not in SHAPES:
        return []
    length, width = SHAPES[shape][0], size[0]
    belt = SHAPES[shape][3]
    half = width / 2 + 0.004
    parts = []
    for side in (-1, 1):
        parts.append(box((side * (half + 0.06), -belt - 0.05, length * SHAPES[shape][5] - 0.15),
                         (0.16, 0.13, 0.10), paint if rng.random() < 0.7 else np.array(DARK),
                         CAR, bottom=True))

        lines = [[(side * half, -0.34, z - 0.012), (side * half, -0.34, z + 0.012),
                  (side * half, -belt, z + 0.012), (side * half, -belt, z - 0.012)]
                 for z in (0.17 * length, -0.05 * length, -0.22 * length)]
        arches = [[(side * half, -0.22, z - 0.40), (side * half, -0.22, z + 0.40),
                   (side * half, -0.70, z + 0.24), (side * half, -0.70, z - 0.24)]
                  for z in (0.31 * length, -0.29 * length)]
        parts.append(faces(lines + arches, DARK, CAR, centre=(0, -0.5, 0)))

    # Bumpers of dark plastic, or a dark opening below the grille
    for end in (-1, 1):
        z = end * (length * 0.5 + 0.05)
        tone = paint * 0.9 if rng.random() < 0.6 else np.array(DARK)
        parts.append(box((0, -0.42, z - end * 0.06), (width * 0.88, 0.18, 0.14), tone, CAR))
        parts.append(faces([[(-width * 0.3, -0.24, z), (width * 0.3, -0.24, z),
                             (width * 0.3, -0.32, z), (-width * 0.3, -0.32, z)]], GLASS, CAR,
                           centre=(0, -0.3, 0)))
    return parts
