# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
An exact z-buffer in numpy: which face each sample of the image shows.

A key holds the bits of float32 1/z above the number of the face, so ``np.maximum.at`` keeps the
nearest face and breaks ties the same way everywhere. Positions snap to 1/256 px; a sample belongs
to a face by a half-open rule, so neighbours neither overlap nor leave a gap. Nothing here uses
BLAS: results are the same bits on every machine.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtl_perception.synthetic.mesh import Array, Mesh
from mtl_perception.synthetic.textures import LEAF, LEVELS, PAD, TILE, Atlas

Ints = NDArray[np.int64]

NEAR = 0.12
"""Distance of the near plane in metres."""

FACE_BITS = 20


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

    :param x: (K, 4) float64 pixel columns of the corners, snapped to 1/256.
    :param y: (K, 4) float64 pixel rows.
    :param face: (K,) index into the mesh.
    :param plane: (F, 3) float64; 1/z = plane @ (column, row, 1) for every face of the mesh.
    """

    x: Array
    y: Array
    face: Ints
    plane: Array


def project(mesh: Mesh, view: View) -> Projected:
    """Return the faces of ``mesh`` that may be seen from ``view``; y of the world points down."""
    rotation, position = view.rotation, view.position
    normal = mesh.normal
    first = mesh.corners[:, 0] - position
    offset = normal[:, 0] * first[:, 0] + normal[:, 1] * first[:, 1] + normal[:, 2] * first[:, 2]
    double = mesh.texture >= LEAF
    kept = np.flatnonzero((offset < -1e-6) | (double & (offset > 1e-6)))
    corners = mesh.corners[kept] - position
    x, y, z = (rotation[0, axis] * corners[..., 0] + rotation[1, axis] * corners[..., 1]
               + rotation[2, axis] * corners[..., 2] for axis in range(3))
    side, lid = (view.width / 2 + 1) / view.focal, (view.height / 2 + 1) / view.focal
    inside = ((z > NEAR).any(1) & (x < side * z).any(1) & (-x < side * z).any(1)
              & (y < lid * z).any(1) & (-y < lid * z).any(1))
    kept, x, y, z = kept[inside], x[inside], y[inside], z[inside]
    scaled = [(rotation[0, axis] * normal[kept, 0] + rotation[1, axis] * normal[kept, 1]
               + rotation[2, axis] * normal[kept, 2]) / offset[kept] for axis in range(3)]
    plane = np.zeros((len(mesh), 3))
    plane[kept, 0] = scaled[0] / view.focal
    plane[kept, 1] = scaled[1] / view.focal
    plane[kept, 2] = (scaled[2] - (scaled[0] * (view.width - 1) / 2
                                   + scaled[1] * (view.height - 1) / 2) / view.focal)
    crossing = (z < NEAR).any(1)
    if crossing.any():
        pieces = [_clip(int(face), np.stack([x[row], y[row], z[row]], 1)) for row, face in
                  zip(np.flatnonzero(crossing), kept[crossing], strict=True)]
        whole = ~crossing
        clipped = [corner for piece in pieces for corner in piece[1]]
        numbers = [piece[0] for piece in pieces for _ in piece[1]]
        if clipped:
            extra = np.stack(clipped)
            kept = np.concatenate([kept[whole], np.array(numbers, kept.dtype)])
            x, y, z = (np.concatenate([value[whole], extra[..., axis]])
                       for axis, value in enumerate((x, y, z)))
        else:
            kept, x, y, z = kept[whole], x[whole], y[whole], z[whole]
    column = np.rint((view.focal * x / z + (view.width - 1) / 2) * 256) / 256
    row = np.rint((view.focal * y / z + (view.height - 1) / 2) * 256) / 256
    return Projected(column, row, kept.astype(np.int64), plane)


def _clip(face: int, corners: Array) -> tuple[int, list[Array]]:
    """Cut one polygon (4, 3) at the near plane and return quads that cover what is left."""
    kept: list[Array] = []
    for start in range(4):
        a, b = corners[start], corners[(start + 1) % 4]
        if a[2] >= NEAR:
            kept.append(a)
        if (a[2] >= NEAR) != (b[2] >= NEAR):
            kept.append(a + (b - a) * ((NEAR - a[2]) / (b[2] - a[2])))
    if len(kept) < 3:
        return face, []
    quads = [np.stack([kept[0], kept[i], kept[i + 1], kept[min(i + 2, len(kept) - 1)]])
             for i in range(1, len(kept) - 1, 2)]
    return face, quads


def scan(projected: Projected, mesh: Mesh, view: View, atlas: Atlas, keys: Ints,
         shift: float, holed: NDArray[np.bool_]) -> None:
    """
    Draw every face into a z-buffer.

    :param keys: (height * width) int64, changed in place; 0 = nothing, and whatever stands in it
        already (the ground) takes part in the comparison. Face f is stored as f + 1.
    :param shift: the sample of pixel (i, j) is at (i + shift, j + shift).
    :param holed: (F,) faces whose texture has holes.
    """
    size = round(len(keys) / (view.height + (1 if shift else 0)))
    high = len(keys) // size
    x, y = projected.x - shift, projected.y - shift
    top = np.clip(np.ceil(y.min(1)), 0, high).astype(np.int64)
    stop = np.clip(np.ceil(y.max(1)), 0, high).astype(np.int64)
    left = np.clip(np.ceil(x.min(1)), 0, size)
    right = np.clip(np.ceil(x.max(1)), 0, size)
    seen = np.flatnonzero((stop > top) & (right > left))
    x, y, top, count = x[seen], y[seen], top[seen], (stop - top)[seen]
    face = projected.face[seen]
    owner = np.repeat(np.arange(len(seen)), count)
    row = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count - top, count)
    low = np.full(len(owner), np.inf)
    up = np.full(len(owner), -np.inf)
    level = row.astype(np.float64)
    for corner in range(4):
        after = (corner + 1) % 4
        swap = y[:, corner] > y[:, after]
        xa = np.where(swap, x[:, after], x[:, corner])
        ya = np.where(swap, y[:, after], y[:, corner])
        xb = np.where(swap, x[:, corner], x[:, after])
        yb = np.where(swap, y[:, corner], y[:, after])
        slope = (xb - xa) / np.maximum(yb - ya, 1e-9)
        ya_row = ya[owner]
        cross = xa[owner] + (level - ya_row) * slope[owner]
        active = (level >= ya_row) & (level < yb[owner])
        np.minimum(low, cross, out=low, where=active)
        np.maximum(up, cross, out=up, where=active)
    begin = np.clip(np.ceil(low), 0, size)
    end = np.clip(np.ceil(up), 0, size)
    hit = np.flatnonzero(end > begin)
    begin, length = begin[hit].astype(np.int64), (end - begin)[hit].astype(np.int64)
    row, face = row[hit], face[owner[hit]]
    with_holes = holed[face]
    for holes in (False, True):
        part = with_holes == holes
        if part.any():
            _draw(projected.plane, mesh, view, atlas, keys, shift, size, begin[part], length[part],
                  row[part], face[part], holes)


def _draw(plane: Array, mesh: Mesh, view: View, atlas: Atlas, keys: Ints, shift: float,
          size: int, begin: Ints, length: Ints, row: Ints, face: Ints, holes: bool) -> None:
    coefficients = plane[face]
    at_row = coefficients[:, 1] * (row + shift) + coefficients[:, 2] + coefficients[:, 0] * shift
    pick = np.repeat(np.arange(len(face), dtype=np.int32), length)
    column = np.arange(len(pick)) - np.repeat(np.cumsum(length) - length - begin, length)
    inverse = at_row[pick] + coefficients[:, 0][pick] * column
    pixel = (row * size)[pick] + column
    bits = inverse.astype(np.float32).view(np.int32).astype(np.int64)
    key = (bits << FACE_BITS) | (face + 1)[pick]
    if holes:  # look for holes only where nothing stands before the face
        front = np.flatnonzero(key > keys[pixel])
        column, pick, inverse = column[front], pick[front], inverse[front]
        front = front[_solid(mesh, view, atlas, face, row, column, pick, inverse, shift)]
        pixel, key = pixel[front], key[front]
    np.maximum.at(keys, pixel, key)


def _solid(mesh: Mesh, view: View, atlas: Atlas, face: Ints, row: Ints, column: Ints,
           pick: NDArray[np.int32], inverse: Array, shift: float) -> Ints:
    """Return the fragments that do not fall into a hole of their face's texture."""
    rotation, position = view.rotation, view.position
    mapping = mesh.mapping[face]
    size = 1.0 / np.sqrt((mapping[:, 0, :3] ** 2).sum(1))  # metres per tile
    near = np.zeros(len(face))
    near[pick] = inverse  # any fragment of the row will do
    shrink = TILE / np.maximum(view.focal * size * near, 1e-3) * 0.7071
    level = np.clip(np.frexp(shrink * 0.7071)[1], 0, LEVELS - 1).astype(np.int64)
    wide = TILE >> level
    stride = atlas.alpha.shape[1]
    middle_x, middle_y = (view.width - 1) / 2 - shift, (view.height - 1) / 2 - shift
    rows = np.empty((len(face), 6), np.float32)  # texel = c0 + (c1 + c2 * column) * depth
    for axis in range(2):
        gradient = mapping[:, axis]
        cx, cy, cz = (rotation[0, i] * gradient[:, 0] + rotation[1, i] * gradient[:, 1]
                      + rotation[2, i] * gradient[:, 2] for i in range(3))
        start = (gradient[:, 0] * position[0] + gradient[:, 1] * position[1]
                 + gradient[:, 2] * position[2] + gradient[:, 3])
        at_row = cz + (cy * (row - middle_y) - cx * middle_x) / view.focal
        sign = 1 - 2 * axis  # v grows upwards, rows grow downwards
        rows[:, 3 * axis] = (axis + sign * start) * wide
        rows[:, 3 * axis + 1] = sign * at_row * wide
        rows[:, 3 * axis + 2] = sign * cx / view.focal * wide
    base = (atlas.top[level] * stride + PAD
            + mesh.texture[face].astype(np.int64) * (TILE + 2 * PAD))
    part = rows[pick]
    depth = np.float32(1) / inverse.astype(np.float32)
    at = column.astype(np.float32)
    limit = (wide - 1).astype(np.int32)[pick]
    across = (part[:, 0] + (part[:, 1] + part[:, 2] * at) * depth).astype(np.int32)
    down = (part[:, 3] + (part[:, 4] + part[:, 5] * at) * depth).astype(np.int32)
    across = np.minimum(np.maximum(across, 0), limit)
    down = np.minimum(np.maximum(down, 0), limit)
    cover = atlas.alpha.ravel()[base[pick] + down * stride + across]
    return np.flatnonzero(cover >= 128)
