# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
Faces as arrays: the form in which every object of the street is built, moved and drawn.

World axes: x to the right, y down (the ground is y = 0, up is negative), z along the street.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Mesh:
    """
    F planar convex faces of four corners each (a triangle repeats its last corner).

    :param corners: (F, 4, 3) float64 metres.
    :param normal: (F, 3) float64 unit normals that point outwards.
    :param colour: (F, 3) float32 linear reflectance, 0 to 1.
    :param label: (F,) uint8 class ids of :data:`mtl_perception.tasks.STREET_SEMANTIC`.
    :param texture: (F,) int16 tile of the texture atlas, -1 for a plain colour.
    :param mapping: (F, 2, 4) float64; u and v in tiles are ``mapping @ (x, y, z, 1)``.
    :param glow: (F,) float32 light that the face emits.
    :param gloss: (F,) float32 share of mirrored sky, 0 to 1.
    """

    corners: Array
    normal: Array
    colour: NDArray[np.float32]
    label: NDArray[np.uint8]
    texture: NDArray[np.int16]
    mapping: Array
    glow: NDArray[np.float32]
    gloss: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.corners)

    def take(self, rows: NDArray[np.int64] | slice) -> 'Mesh':
        """Return the faces of some rows, in their order."""
        return Mesh(*(getattr(self, name)[rows] for name in Mesh.__dataclass_fields__))

    def part(self, number: int, count: int) -> 'Mesh':
        """Return the faces of part ``number`` of ``count`` parts of equal size."""
        size = len(self) // count
        return self.take(slice(number * size, (number + 1) * size))


def join(meshes: Sequence[Mesh]) -> Mesh:
    """Return one mesh with the faces of all ``meshes`` in their order."""
    if not meshes:
        meshes = [panel((0, 0, 0), (0, 0, 0), (0, 0, 0), (0, 0, 0), 0)]
    return Mesh(*(np.concatenate([getattr(mesh, name) for mesh in meshes])
                  for name in Mesh.__dataclass_fields__))


def faces(corners: ArrayLike, colour: ArrayLike, label: int, *, centre: ArrayLike | None = None,
          glow: float = 0.0, gloss: float = 0.0) -> Mesh:
    """
    Return faces of one colour.

    :param corners: (F, 4, 3) metres; a face that is not planar is split into two triangles.
    :param colour: (3,) or (F, 3) linear reflectance.
    :param label: class id.
    :param centre: (3,) or (F, 3) point from which the normals point away; None derives them from
        the order of the corners (normal = second diagonal x first diagonal).
    """
    quads = np.asarray(corners, np.float64).reshape(-1, 4, 3)
    shade = np.broadcast_to(np.asarray(colour, np.float32), (len(quads), 3))
    normal = _normals(quads)

    # A face is bent if its corners are at different heights along its normal.
    bend = np.abs(((quads[:, 3] - quads[:, 0]) * normal).sum(1)
                  - ((quads[:, 1] - quads[:, 0]) * normal).sum(1))
    bend = np.maximum(bend, np.abs(((quads[:, 1] - quads[:, 0]) * normal).sum(1)
                                   - ((quads[:, 2] - quads[:, 0]) * normal).sum(1)))
    bent = bend > 1e-6

    if bent.any():
        first = quads[bent][:, [0, 1, 2, 2]]
        second = quads[bent][:, [0, 2, 3, 3]]
        quads = np.concatenate([quads[~bent], first, second])
        shade = np.concatenate([shade[~bent], shade[bent], shade[bent]])
        normal = _normals(quads)

    if centre is not None:
        inwards = ((quads.mean(1) - np.asarray(centre)) * normal).sum(1) < 0
        normal[inwards] *= -1

    count = len(quads)
    return Mesh(quads, normal, np.array(shade, np.float32), np.full(count, label, np.uint8),
                np.full(count, -1, np.int16), np.zeros((count, 2, 4)),
                np.full(count, glow, np.float32), np.full(count, gloss, np.float32))


def _normals(quads: Array) -> Array:
    """Return the unit normals (F, 3) of quads (F, 4, 3): second diagonal x first diagonal."""
    ax, ay, az = (quads[:, 3] - quads[:, 1]).T
    bx, by, bz = (quads[:, 2] - quads[:, 0]).T
    normal = np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], 1)
    length = np.sqrt((normal ** 2).sum(1, keepdims=True))
    return np.asarray(normal / np.maximum(length, 1e-12))


def panel(corner: ArrayLike, right: ArrayLike, up: ArrayLike, colour: ArrayLike, label: int, *,
          outward: ArrayLike | None = None, texture: int = -1, tiles: tuple[float, float] = (1, 1),
          offset: tuple[float, float] = (0, 0), glow: float = 0.0, gloss: float = 0.0) -> Mesh:
    """
    Return one parallelogram with a texture.

    :param corner: (3,) lower left corner as seen from outside.
    :param right: (3,) edge to the lower right corner.
    :param up: (3,) edge to the upper left corner.
    :param outward: (3,) any vector on the outer side; None: the front is the side from which the
        texture's x runs to the right.
    :param tiles: number of tiles of the texture along ``right`` and ``up``.
    :param offset: u and v of the lower left corner, in tiles; v grows upwards.
    """
    start, along, rise = (np.asarray(value, np.float64) for value in (corner, right, up))
    quad = np.stack([start, start + along, start + along + rise, start + rise])
    mesh = faces(quad[None], colour, label, glow=glow, gloss=gloss)
    if outward is not None and (mesh.normal[0] * np.asarray(outward)).sum() < 0:
        mesh = replace(mesh, normal=-mesh.normal)
    if texture < 0:
        return mesh

    # u = gradient . X + constant, where the gradient is the dual vector of its edge within the
    # panel's plane: u grows by the tiles along that edge and is constant along the other one.
    mapping = np.zeros((1, 2, 4))
    for row, (axis, other) in enumerate([(along, rise), (rise, along)]):
        dual = axis * (other @ other) - other * (axis @ other)
        gradient = dual / max(float(dual @ axis), 1e-12) * tiles[row]
        mapping[0, row] = [*gradient, offset[row] - gradient @ start]
    return replace(mesh, texture=np.full(1, texture, np.int16), mapping=mapping)


def box(centre: ArrayLike, size: ArrayLike, colour: ArrayLike, label: int, *,
        bottom: bool = False, glow: float = 0.0, gloss: float = 0.0) -> Mesh:
    """Return an upright box; ``centre`` and ``size`` are (x, y, z) in metres."""
    middle = np.asarray(centre, np.float64)
    half = np.asarray(size, np.float64) / 2
    ring = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float64)
    quads = []
    for axis in range(3):
        others = [other for other in range(3) if other != axis]
        for side in (-1.0, 1.0):
            if axis == 1 and side > 0 and not bottom:
                continue
            quad = np.zeros((4, 3))
            quad[:, axis] = side
            quad[:, others] = ring
            quads.append(middle + quad * half)
    return faces(np.stack(quads), colour, label, centre=middle, glow=glow, gloss=gloss)


def tube(points: ArrayLike, radii: Sequence[float], colour: ArrayLike, label: int, *,
         sides: int = 5, flat: float = 1.0, cap: bool = False) -> Mesh:
    """
    Return a bent tube through ``points`` with one radius (metres) at each point.

    :param points: (P, 3) metres, or (N, P, 3) for N tubes whose faces follow one another.
    :param flat: depth of the cross-section as a share of its width.
    :param cap: close the ends (of a single tube).
    """
    # Two unit vectors across the line from the first point to the last: all cross-sections are
    # parallel, so a bent tube has no gaps at its joints.
    path = np.asarray(points, np.float64)
    path = path.reshape(-1, *path.shape[-2:])
    axis = path[:, -1] - path[:, 0]
    axis = axis / np.maximum(np.sqrt((axis ** 2).sum(-1, keepdims=True)), 1e-9)
    across = np.where(np.abs(axis[:, :1]) < 0.9, [1.0, 0, 0], [0, 0, 1.0])
    across = across - axis * (axis * across).sum(-1, keepdims=True)
    across /= np.sqrt((across ** 2).sum(-1, keepdims=True))
    other = np.cross(axis, across)

    # (N, P, sides, 3) corners of the cross-sections, and the quads between them
    angle = (np.arange(sides) + 0.5) * (2 * np.pi / sides)
    circle = (np.cos(angle)[:, None] * across[:, None]
              + np.sin(angle)[:, None] * other[:, None] * flat)
    rings = path[:, :, None] + circle[:, None] * np.asarray(radii, np.float64)[:, None, None]
    after = np.roll(rings, -1, axis=2)
    quads = np.stack([rings[:, :-1], after[:, :-1], after[:, 1:], rings[:, 1:]], 3)
    middle = np.broadcast_to(((path[:, :-1] + path[:, 1:]) / 2)[:, :, None],
                             (*quads.shape[:3], 3))

    mesh = faces(quads, colour, label, centre=middle.reshape(-1, 3))
    if not cap:
        return mesh

    # A fan of quads over each end
    parts = [mesh]
    for ring, tip in ((rings[0, 0], -axis[0]), (rings[0, -1], axis[0])):
        fan = [ring[[0, i, i + 1, min(i + 2, sides - 1)]] for i in range(1, sides - 1, 2)]
        parts.append(faces(np.stack(fan), colour, label, centre=ring.mean(0) - tip))
    return join(parts)


def placed(mesh: Mesh, position: ArrayLike, yaw: float) -> Mesh:
    """Return the mesh turned by ``yaw`` (radians, z towards x) and moved to ``position`` (3,)."""
    cosine, sine = np.cos(yaw), np.sin(yaw)

    def turn(vector: Array) -> Array:
        x, y, z = vector[..., 0], vector[..., 1], vector[..., 2]
        return np.stack([cosine * x + sine * z, y, cosine * z - sine * x], -1)

    # u = g . X + g4 stays the same at X' = R X + p, so g' = R g and g4' = g4 - g' . p.
    offset = np.asarray(position, np.float64)
    mapping = mesh.mapping.copy()
    mapping[..., :3] = turn(mesh.mapping[..., :3])
    mapping[..., 3] -= (mapping[..., :3] * offset).sum(-1)
    return replace(mesh, corners=turn(mesh.corners) + offset, normal=turn(mesh.normal),
                   mapping=mapping)
