# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
An exact z-buffer in numpy: the face that each sample of the image shows.

A key holds the bits of float32 1/z above the number of the face, so ``np.maximum.at`` keeps the
nearest face and breaks ties the same way everywhere. Positions snap to 1/256 px; a sample belongs
to a face by a half-open rule, so neighbours neither overlap nor leave a gap. Nothing here uses
BLAS: the results are the same bits on every machine.

World and camera axes are x right, y down, z forward.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtl_perception.synthetic import textures
from mtl_perception.synthetic.mesh import Array, Mesh
from mtl_perception.synthetic.textures import LEVELS, PAD, TILE, Atlas

Ints = NDArray[np.int64]

NEAR = 0.12
"""Distance of the near plane in metres."""

FACE_BITS = 20
"""Low bits of a key that hold the number of the face."""

BLOCK = 32768
"""Samples that are processed at once: few enough for the processor's cache."""


@dataclass(frozen=True, eq=False)
class View:
    """
    A pinhole camera (OpenCV axes: x right, y down, z forward; pixel centres at whole numbers).

    :param width: pixels.
    :param height: pixels.
    :param focal: pixels.
    :param rotation: (3, 3) camera to world.
    :param position: (3,) world metres.
    """

    width: int
    height: int
    focal: float
    rotation: Array
    position: Array


@dataclass(frozen=True, eq=False)
class Projected:
    """
    Faces in front of the camera, ready to be scanned at any offset of the samples.

    :param x: (4, K) float64 pixel columns of the corners, snapped to 1/256.
    :param y: (4, K) float64 pixel rows.
    :param face: (K,) index into the mesh.
    :param plane: (3, F) float64; 1/z = (column, row, 1) @ plane for every face of the mesh.
    """

    x: Array
    y: Array
    face: Ints
    plane: Array


def facing(mesh: Mesh, centre: Array, radius: Array, view: View) -> Ints:
    """
    Return the rows of the faces that may be visible, by their bounding spheres and front sides.

    :param centre: (F, 3) metres.
    :param radius: (F,) metres.
    """
    rotation = view.rotation
    x, y, z = (centre[:, axis] - view.position[axis] for axis in range(3))

    # Into the camera's frame: right and ahead are columns 0 and 2 of R, times (X - C)
    ahead = rotation[0, 2] * x + rotation[1, 2] * y + rotation[2, 2] * z
    right = rotation[0, 0] * x + rotation[1, 0] * y + rotation[2, 0] * z

    # A sphere reaches into the picture if its centre is less than radius * sqrt(1 + slope^2)
    # beyond the plane right = slope * ahead of the picture's edge.
    slope = (view.width / 2 + 1) / view.focal
    seen = (ahead > -radius) & (np.abs(right) < slope * ahead + radius * np.sqrt(1 + slope ** 2))

    # Leaf cards are seen from both sides, everything else from the side of its normal.
    front = mesh.normal[:, 0] * x + mesh.normal[:, 1] * y + mesh.normal[:, 2] * z < 0
    return np.flatnonzero(seen & (front | textures.holed(mesh.texture)))


def project(mesh: Mesh, view: View) -> Projected:
    """Return the faces of ``mesh`` that may be visible from ``view``."""
    rotation, position = view.rotation, view.position
    normal = mesh.normal

    # The camera's signed distance to each face is -offset, offset = n . (P - C) with a corner P:
    # it sees the front if offset < 0.
    first = mesh.corners[:, 0] - position
    offset = normal[:, 0] * first[:, 0] + normal[:, 1] * first[:, 1] + normal[:, 2] * first[:, 2]
    double = textures.holed(mesh.texture)
    kept = np.flatnonzero((offset < -1e-6) | (double & (offset > 1e-6)))

    # Into the camera's frame: R^T (P - C)
    corners = np.ascontiguousarray(mesh.corners[kept].transpose(2, 1, 0))  # (3, 4, K)
    corners -= position[:, None, None]
    x, y, z = (rotation[0, axis] * corners[0] + rotation[1, axis] * corners[1]
               + rotation[2, axis] * corners[2] for axis in range(3))

    # Outside are faces all of whose corners are beyond one plane of the viewing frustum.
    side = (view.width / 2 + 1) / view.focal
    lid = (view.height / 2 + 1) / view.focal
    across = side * z
    up = lid * z
    inside = np.flatnonzero(
        (z > NEAR).any(0) & (x < across).any(0) & (-x < across).any(0)
        & (y < up).any(0) & (-y < up).any(0))
    kept = kept[inside]
    x, y, z = x[:, inside], y[:, inside], z[:, inside]

    # Plane depth: a point z r of the ray r = ((u - cx) / f, (v - cy) / f, 1) lies in the plane if
    # (R^T n) . z r = offset. So 1/z = (R^T n / offset) . r, which is linear in the pixel (u, v).
    scaled = [(rotation[0, axis] * normal[kept, 0] + rotation[1, axis] * normal[kept, 1]
               + rotation[2, axis] * normal[kept, 2]) / offset[kept] for axis in range(3)]

    plane = np.zeros((3, len(mesh)))
    plane[0, kept] = scaled[0] / view.focal
    plane[1, kept] = scaled[1] / view.focal
    plane[2, kept] = (scaled[2] - (scaled[0] * (view.width - 1) / 2
                                   + scaled[1] * (view.height - 1) / 2) / view.focal)

    # Faces that cross the near plane are clipped; the pieces keep the number of their face.
    near = (z < NEAR).any(0)
    if near.any():
        numbers, quads = [], []
        for column in np.flatnonzero(near):
            for quad in _clip(np.stack([x[:, column], y[:, column], z[:, column]], 1)):
                numbers.append(kept[column])
                quads.append(quad)

        kept = np.concatenate([kept[~near], np.array(numbers, kept.dtype)])
        extra = np.array(quads, np.float64).reshape(-1, 4, 3).T  # (3, 4, Q)
        x, y, z = (np.concatenate([value[:, ~near], extra[axis]], 1)
                   for axis, value in enumerate((x, y, z)))

    # Pinhole projection u = f x / z + cx, snapped to 1/256 px
    column = np.rint((view.focal * x / z + (view.width - 1) / 2) * 256) / 256
    row = np.rint((view.focal * y / z + (view.height - 1) / 2) * 256) / 256
    return Projected(column, row, kept.astype(np.int64), plane)


def _clip(corners: Array) -> list[Array]:
    """Clip one polygon (4, 3) at the near plane and return quads that cover the rest."""
    kept: list[Array] = []
    for start in range(4):
        a, b = corners[start], corners[(start + 1) % 4]
        if a[2] >= NEAR:
            kept.append(a)
        if (a[2] >= NEAR) != (b[2] >= NEAR):
            kept.append(a + (b - a) * ((NEAR - a[2]) / (b[2] - a[2])))

    # A fan of quads around the first corner; the last may be a triangle
    if len(kept) < 3:
        return []
    return [np.stack([kept[0], kept[i], kept[i + 1], kept[min(i + 2, len(kept) - 1)]])
            for i in range(1, len(kept) - 1, 2)]


def scan(projected: Projected, mesh: Mesh, view: View, atlas: Atlas, keys: Ints,
         shift: float, holed: NDArray[np.bool_]) -> None:
    """
    Draw every face into a z-buffer.

    :param keys: (height * width) int64, changed in place; 0 = nothing. Keys that are there already
        (the ground) take part in the comparison. Face f is stored as f + 1.
    :param shift: the sample of pixel (i, j) is at (i + shift, j + shift).
    :param holed: (F,) faces whose texture has holes.
    """
    high = view.height + (1 if shift else 0)
    size = len(keys) // high
    x = projected.x - shift
    y = projected.y - shift

    # First row of each face and the first one below it, columns alike
    top = np.clip(np.ceil(y.min(0)), 0, high).astype(np.int64)
    stop = np.clip(np.ceil(y.max(0)), 0, high).astype(np.int64)
    left = np.clip(np.ceil(x.min(0)), 0, size)
    right = np.clip(np.ceil(x.max(0)), 0, size)
    seen = np.flatnonzero((stop > top) & (right > left))
    x, y = x[:, seen], y[:, seen]
    count = (stop - top)[seen]
    top = top[seen]

    # One entry for each row of each face: its span of columns is [low, up)
    row = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count - top, count)
    level = row.astype(np.float64)
    low = np.full(len(row), np.inf)
    up = np.full(len(row), -np.inf)
    for corner in range(4):
        after = (corner + 1) % 4

        # The edge from its upper end a to its lower end b, whichever way the face turns: two
        # neighbours then compute the same bits for the edge that they share.
        swap = y[corner] > y[after]
        xa = np.where(swap, x[after], x[corner])
        ya = np.where(swap, y[after], y[corner])
        xb = np.where(swap, x[corner], x[after])
        yb = np.where(swap, y[corner], y[after])
        slope = (xb - xa) / np.maximum(yb - ya, 1e-9)

        # It crosses a row at x = xa + (row - ya) (xb - xa) / (yb - ya). The row of b is left to
        # the next edge.
        start = np.repeat(ya, count)
        cross = np.repeat(xa, count) + (level - start) * np.repeat(slope, count)
        active = (level >= start) & (level < np.repeat(yb, count))
        low = np.minimum(low, np.where(active, cross, np.inf))
        up = np.maximum(up, np.where(active, cross, -np.inf))

    # Columns from ceil(low) to before ceil(up): a sample on the edge between two faces belongs to
    # the right one alone.
    begin = np.clip(np.ceil(low), 0, size)
    end = np.clip(np.ceil(up), 0, size)
    hit = np.flatnonzero(end > begin)
    length = (end - begin)[hit].astype(np.int64)
    begin = begin[hit].astype(np.int64)
    row = row[hit]
    face = np.repeat(projected.face[seen], count)[hit]

    # Along a row, 1/z = slope * column + at_row.
    slope, grow, constant = (part.take(face) for part in projected.plane)
    at_row = grow * (row + shift) + constant + slope * shift
    runs = _Runs(begin, length, row, face, slope, at_row)

    # Solid faces first: the slow look-up of holes is then left out behind them.
    with_holes = holed.take(face)
    for number in np.flatnonzero(np.bincount(with_holes, minlength=2)):
        pick = np.flatnonzero(with_holes == bool(number))
        if number:  # near leaves first: what they hide needs no look-up either
            pick = pick[np.argsort(-(at_row + slope * begin)[pick], kind='stable')]

        ends = np.cumsum(length[pick])
        cuts = np.searchsorted(ends, np.arange(BLOCK, ends[-1], BLOCK))
        for block in np.split(pick, cuts):
            if len(block):
                _draw(runs.take(block), mesh, view, atlas, keys, shift, size, bool(number))


@dataclass(frozen=True, eq=False)
class _Runs:
    """Runs of samples within a row that one face covers; 1/z = at_row + slope * column."""

    begin: Ints
    length: Ints
    row: Ints
    face: Ints
    slope: Array
    at_row: Array

    def take(self, rows: Ints) -> '_Runs':
        return _Runs(*(getattr(self, name)[rows] for name in _Runs.__dataclass_fields__))


def _draw(runs: _Runs, mesh: Mesh, view: View, atlas: Atlas, keys: Ints, shift: float,
          size: int, holes: bool) -> None:
    """Write the samples of some runs into the z-buffer."""
    length = runs.length
    back = np.cumsum(length) - length - runs.begin
    order = np.arange(int(length.sum()))
    column = order - np.repeat(back, length)

    inverse = np.repeat(runs.slope, length)
    inverse *= column
    inverse += np.repeat(runs.at_row, length)

    pixel = np.repeat(runs.row * size - back, length)
    pixel += order

    # The bits of a positive float32 grow with its value, so keys compare by 1/z, then by face.
    bits = inverse.astype(np.float32).view(np.int32).astype(np.int64)
    bits <<= FACE_BITS
    bits |= np.repeat(runs.face + 1, length)

    if holes:  # a hole matters only where nothing stands in front of the face
        front = np.flatnonzero(bits > keys[pixel])
        pick = np.repeat(np.arange(len(length)), length)[front]
        front = front[_solid(mesh, view, atlas, runs, column[front], pick, inverse[front], shift)]
        pixel = pixel[front]
        bits = bits[front]

    np.maximum.at(keys, pixel, bits)


def _solid(mesh: Mesh, view: View, atlas: Atlas, runs: _Runs, column: Ints,
           pick: Ints, inverse: Array, shift: float) -> Ints:
    """Return the samples that do not fall into a hole of their face's texture."""
    face, row = runs.face, runs.row
    rotation, position = view.rotation, view.position
    mapping = mesh.mapping[face]

    # Mip level of a run: the logarithm of its texels per pixel, TILE / (f * size / z). frexp gives
    # the whole part plus 1, which the two factors of 0.7071 take away.
    size = 1.0 / np.sqrt((mapping[:, 0, :3] ** 2).sum(1))  # metres per tile
    near = runs.at_row + runs.slope * (runs.begin + runs.length // 2)
    shrink = TILE / np.maximum(view.focal * size * near, 1e-3) * 0.7071
    level = np.clip(np.frexp(shrink * 0.7071)[1], 0, LEVELS - 1).astype(np.int64)
    wide = TILE >> level
    stride = atlas.alpha.shape[1]

    # u = g . (C + z R r) + g4 for the mapping (g, g4) and the ray r of the sample, which along a
    # run is c0 + (c1 + c2 * column) * depth.
    middle_x = (view.width - 1) / 2 - shift
    middle_y = (view.height - 1) / 2 - shift
    rows = np.empty((6, len(face)), np.float32)  # c0, c1, c2 of u and of v, in texels
    for axis in range(2):
        gradient = mapping[:, axis]
        cx, cy, cz = (rotation[0, i] * gradient[:, 0] + rotation[1, i] * gradient[:, 1]
                      + rotation[2, i] * gradient[:, 2] for i in range(3))
        start = (gradient[:, 0] * position[0] + gradient[:, 1] * position[1]
                 + gradient[:, 2] * position[2] + gradient[:, 3])

        at_row = cz + (cy * (row - middle_y) - cx * middle_x) / view.focal
        sign = 1 - 2 * axis  # v grows upwards, rows grow downwards
        rows[3 * axis] = (axis + sign * start) * wide
        rows[3 * axis + 1] = sign * at_row * wide
        rows[3 * axis + 2] = sign * cx / view.focal * wide

    # Sample by sample: the place of its texel in the atlas
    base = (atlas.top[level] * stride + PAD
            + mesh.texture[face].astype(np.int64) * (TILE + 2 * PAD))
    limit = (wide - 1).astype(np.int32).take(pick)
    depth = np.float32(1) / inverse.astype(np.float32)
    at = column.astype(np.float32)

    texel = []
    for start in (0, 3):
        constant, slope, grow = (rows[start + i].take(pick) for i in range(3))
        grow *= at
        grow += slope
        grow *= depth
        grow += constant
        texel.append(np.minimum(np.maximum(grow.astype(np.int32), 0), limit))

    cover = atlas.alpha.ravel().take(base.take(pick) + texel[1] * np.int64(stride) + texel[0])
    return np.flatnonzero(cover >= 128)
