# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""People and cyclists made of tubes, with a cycle of poses in which their legs move."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mtl_perception.synthetic.mesh import Array, Mesh, faces, join, tube
from mtl_perception.tasks import STREET_SEMANTIC

PERSON = STREET_SEMANTIC.classes.index('person')
CYCLIST = STREET_SEMANTIC.classes.index('cyclist')
POSES = 12
"""Number of poses in one full stride or one turn of the pedals."""

SKIN = ((0.55, 0.34, 0.24), (0.45, 0.27, 0.18), (0.25, 0.13, 0.08), (0.10, 0.055, 0.035))
HAIR = ((0.02, 0.015, 0.01), (0.06, 0.03, 0.015), (0.30, 0.20, 0.08), (0.35, 0.34, 0.33))


def _cloth(rng: np.random.Generator) -> Array:
    """Return a colour of clothes: often grey, else more or less strong."""
    if rng.random() < 0.55:
        grey = rng.choice([0.01, 0.02, 0.05, 0.12, 0.35, 0.7])
        return np.full(3, grey) * rng.uniform(0.8, 1.2, 3)
    colour = rng.uniform(0.03, 0.14, 3)
    strong = rng.choice(3, p=[0.45, 0.15, 0.40])
    colour[strong] = rng.uniform(0.12, 0.45)
    if rng.random() < 0.25:
        colour[(strong + 1) % 3] = colour[strong] * rng.uniform(0.5, 0.95)
    return np.asarray(colour)


def _head(
        x: float, y: float, z: float, skin: ArrayLike, hair: ArrayLike,
        label: int) -> list[Mesh]:
    """Return a head whose centre is (x, y, z); y grows downwards."""
    face = tube([(x, y + 0.15, z), (x, y + 0.06, z + 0.01), (x, y - 0.02, z + 0.01)],
                [0.05, 0.075, 0.088], skin, label, sides=6)
    scalp = tube([(x, y - 0.02, z), (x, y - 0.09, z - 0.01), (x, y - 0.13, z - 0.01)],
                 [0.095, 0.085, 0.03], hair, label, sides=6, cap=True)
    return [face, scalp]


def person(rng: np.random.Generator) -> list[Mesh]:
    """
    Return the poses of one person over a full stride, walking along +z; y points down.

    :return: POSES meshes with the same number of faces.
    """
    tall = rng.uniform(1.25, 1.92) if rng.random() < 0.9 else rng.uniform(1.0, 1.3)
    wide = rng.uniform(0.88, 1.25)
    skin = SKIN[int(rng.integers(4))]
    hair = HAIR[int(rng.integers(4))]
    top = _cloth(rng)
    bottom = _cloth(rng) * 0.6
    coat = rng.random() < 0.35
    bag = rng.random() < 0.35
    bag_side = rng.choice([-1, 1])
    bag_colour = _cloth(rng)
    swing = rng.uniform(0.30, 0.48)
    turn = 2 * np.pi * np.arange(POSES) / POSES

    # The body is built 1 m tall and then scaled; the head is not, as heads differ little in size.
    still = [_torso(wide, coat, top)]
    if bag:
        x, y, z = (0.0, -0.68, -0.12) if bag_side > 0 else (0.15 * wide, -0.45, 0.0)
        still.append(tube([(x, y - 0.1, z), (x, y + 0.1, z)], [0.075, 0.085], bag_colour, PERSON,
                          sides=4, flat=0.6, cap=True))

    limbs = []
    for side in (-1, 1):
        # Left and right are half a stride apart, and arms swing against the legs. The knee bends
        # while its leg swings forwards.
        angle = turn + (0 if side > 0 else np.pi)
        leg = swing * np.sin(angle)
        hip = np.broadcast_to([side * 0.09 * wide, -0.50, 0], (POSES, 3))
        knee = hip + 0.245 * _hanging(leg)
        foot = knee + 0.235 * _hanging(leg - 0.5 * np.clip(np.cos(angle), 0, None))
        foot[:, 1] = np.minimum(foot[:, 1], -0.015)

        shoulder = np.broadcast_to([side * 0.115 * wide, -0.80, 0], (POSES, 3))
        elbow = shoulder + 0.17 * _hanging(-0.8 * leg) + [side * 0.02, 0, 0]
        hand = elbow + 0.16 * _hanging(0.35 - 0.8 * leg)

        limbs += [
            tube(np.stack([hip, knee, foot], 1), [0.062 * wide, 0.045, 0.033], bottom, PERSON,
                 sides=4),
            tube(np.stack([foot, foot + [0, 0.01, 0.11]], 1), [0.035, 0.028],
                 (0.02, 0.018, 0.016), PERSON, sides=4),
            tube(np.stack([shoulder, elbow], 1), [0.036 * wide, 0.030], top, PERSON, sides=4),
            tube(np.stack([elbow, hand], 1), [0.029, 0.024], top if coat else skin, PERSON,
                 sides=4)]

    head = _head(0, -0.885 * tall - 0.045, 0.01, skin, hair, PERSON)
    poses = []
    for pose in range(POSES):
        body = join([*still, *(limb.part(pose, POSES) for limb in limbs)])
        poses.append(join([replace(body, corners=body.corners * tall), *head]))
    return poses


def _torso(wide: float, coat: bool, colour: Array) -> Mesh:
    """Return the trunk of a person 1 m tall, with a coat or without."""
    low = -0.33 if coat else -0.47
    return tube([(0, low, 0), (0, -0.62, 0), (0, -0.78, 0), (0, -0.84, 0)],
                [0.105 * wide, 0.10 * wide, 0.125 * wide, 0.05], colour, PERSON, sides=6,
                flat=0.62)


def _hanging(angle: Array) -> Array:
    """Return (N, 3) unit vectors that hang down, swung forwards by ``angle`` (radians)."""
    return np.stack([np.zeros_like(angle), np.cos(angle), np.sin(angle)], 1)


def _ring(x: float, z: float, radius: float, thick: float) -> Mesh:
    """Return a wheel: two flat rings and the tread between them."""
    angle = np.arange(10) * (2 * np.pi / 10)
    after = angle + 2 * np.pi / 10

    def points(a: Any, r: float, side: float) -> Array:
        """Return points at angles ``a`` and radius ``r`` on one side of the wheel."""
        return np.stack([np.full(10, x + side), -radius + r * np.sin(a), z + r * np.cos(a)], 1)

    inner = radius - thick
    parts = []
    for side in (-0.022, 0.022):
        quads = np.stack([points(angle, radius, side), points(after, radius, side),
                          points(after, inner, side), points(angle, inner, side)], 1)
        parts.append(faces(quads, (0.015, 0.015, 0.015), CYCLIST, centre=(x - side * 100, 0, z)))

    tread = np.stack([points(angle, radius, -0.022), points(after, radius, -0.022),
                      points(after, radius, 0.022), points(angle, radius, 0.022)], 1)
    parts.append(faces(tread, (0.015, 0.015, 0.015), CYCLIST, centre=(x, -radius, z)))
    return join(parts)


def cyclist(rng: np.random.Generator) -> list[Mesh]:
    """
    Return the poses of a bicycle and its rider over a turn of the pedals, riding along +z.

    :return: POSES meshes with the same number of faces.
    """
    scale = rng.uniform(0.92, 1.08)
    lean = rng.uniform(0.15, 0.7)
    skin = SKIN[int(rng.integers(4))]
    hair = np.array(HAIR[int(rng.integers(4))])
    if rng.random() < 0.6:  # a helmet
        hair = rng.choice([0.02, 0.1, 0.6, 0.8], 3)
    top = _cloth(rng)
    bottom = _cloth(rng) * 0.6
    frame = _cloth(rng)

    # The bicycle: wheels, frame, handlebar, saddle
    seat = np.array([0, -0.93, -0.22])
    crank = np.array([0, -0.30, -0.02])
    bar = np.array([0, -1.0, 0.42])
    bike = [_ring(0, 0.53, 0.34, 0.055), _ring(0, -0.53, 0.34, 0.055)]
    rods = [(seat, crank), (crank, (0, -0.34, -0.53)), (seat + [0, 0.12, 0], (0, -0.34, -0.53)),
            (seat + [0, 0.12, 0], bar + [0, 0.1, -0.06]), (crank, bar + [0, 0.15, -0.05]),
            (bar, (0, -0.34, 0.53))]
    bike += [tube(np.array([a, b]), [0.024, 0.024], frame, CYCLIST, sides=4) for a, b in rods]
    bike.append(tube([bar + [-0.27, 0, 0], bar + [0.27, 0, 0]], [0.02, 0.02], (0.02, 0.02, 0.02),
                     CYCLIST, sides=4))
    bike.append(tube([seat + [0, 0, -0.12], seat + [0, -0.02, 0.12]], [0.07, 0.035],
                     (0.02, 0.02, 0.02), CYCLIST, sides=4))

    # The rider's trunk leans forwards by ``lean``; hands are on the handlebar.
    hips = seat + [0, -0.05, 0]
    neck = hips + 0.56 * np.array([0, -np.cos(lean), np.sin(lean)])
    rider = [tube([hips, (hips + neck) / 2, neck], [0.15, 0.16, 0.11], top, CYCLIST, sides=6,
                  flat=0.7, cap=True)]
    rider += _head(0, neck[1] - 0.17, neck[2] + 0.06, skin, hair, CYCLIST)
    for side in (-1, 1):
        shoulder = neck + [side * 0.17, 0.05, 0]
        hand = bar + [side * 0.24, -0.02, 0]
        elbow = (shoulder + hand) / 2 + [side * 0.05, 0.06, -0.03]
        rider.append(tube([shoulder, elbow, hand], [0.055, 0.045, 0.032], top, CYCLIST, sides=4))

    # Legs: feet follow the pedals, and the knee is where two bones of 0.44 m meet, in front of
    # the middle m of hip and pedal by sqrt(0.44^2 - |hip - m|^2).
    turn = 2 * np.pi * np.arange(POSES) / POSES
    legs = []
    for side in (-1, 1):
        angle = turn + (0 if side > 0 else np.pi)
        hip = np.broadcast_to(hips + [side * 0.10, 0.02, 0.03], (POSES, 3))
        pedal = crank + np.stack([np.full(POSES, side * 0.13), 0.17 * np.sin(angle),
                                  0.17 * np.cos(angle)], 1)

        reach = pedal - hip
        span = np.sqrt((reach ** 2).sum(1, keepdims=True))
        bend = np.sqrt(np.maximum(0.44 ** 2 - (span / 2) ** 2, 0.0004))
        ahead = np.stack([np.zeros(POSES), reach[:, 2], -reach[:, 1]], 1) / span
        ahead *= np.where(ahead[:, 2:] > 0, 1, -1)
        knee = hip + reach / 2 + ahead * bend

        legs += [tube(np.stack([hip, knee, pedal], 1), [0.082, 0.06, 0.04], bottom, CYCLIST,
                      sides=4),
                 tube(np.stack([pedal + [0, 0, -0.06], pedal + [0, 0.02, 0.14]], 1),
                      [0.04, 0.03], (0.02, 0.02, 0.02), CYCLIST, sides=4)]

    still = join([*bike, *rider])
    poses = [join([still, *(leg.part(pose, POSES) for leg in legs)]) for pose in range(POSES)]
    return [replace(pose, corners=pose.corners * scale) for pose in poses]
