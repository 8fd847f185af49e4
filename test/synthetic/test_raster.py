# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The z-buffer against a brute-force ray caster, and its rules at edges."""

import numpy as np
import pytest

from mtl_perception.synthetic import textures
from mtl_perception.synthetic.mesh import box, faces, join, panel, placed, tube
from mtl_perception.synthetic.raster import FACE_BITS, View, facing, project, scan

WIDTH, HEIGHT, FOCAL = 64, 40, 40.0


def camera(yaw=0.0, position=(0.0, -1.5, 0.0)):
    c, s = np.cos(yaw), np.sin(yaw)
    return View(WIDTH, HEIGHT, FOCAL, np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]),
                np.array(position))


@pytest.fixture(scope='module')
def atlas():
    return textures.Atlas(np.random.default_rng(0))


def draw(mesh, view, atlas, shift=0.0):
    extra = 1 if shift else 0
    keys = np.zeros((HEIGHT + extra) * (WIDTH + extra), np.int64)
    projected = project(mesh, view)
    scan(projected, mesh, view, atlas, keys, shift, mesh.texture >= textures.LEAF)
    face = (keys & ((1 << FACE_BITS) - 1)) - 1
    return face.reshape(HEIGHT + extra, WIDTH + extra), projected.plane


def cast(mesh, view):
    """Return nearest face and depth of every pixel, by casting rays at each face."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    rays = np.stack([(x - (WIDTH - 1) / 2) / FOCAL, (y - (HEIGHT - 1) / 2) / FOCAL,
                     np.ones(x.shape)], -1) @ view.rotation.T
    best = np.full(x.shape, np.inf)
    nearest = np.full(x.shape, -1)

    for number, (corners, normal) in enumerate(zip(mesh.corners, mesh.normal, strict=True)):
        facing_us = (corners[0] - view.position) @ normal
        if facing_us >= 0:
            continue
        with np.errstate(divide='ignore', invalid='ignore'):
            depth = facing_us / (rays @ normal)
        point = view.position + rays * np.where(np.isfinite(depth), depth, 0)[..., None]

        # in front of the near plane and on the inner side of all four edges
        inside = depth > 0.12
        turn = np.sign(np.cross(corners[2] - corners[0], corners[3] - corners[1]) @ normal)
        for a, b in zip(corners, np.roll(corners, -1, 0), strict=True):
            inside &= turn * (np.cross(b - a, point - a) @ normal) >= 0

        closer = inside & (depth < best)
        best[closer] = depth[closer]
        nearest[closer] = number
    return nearest, best


def scene(rng):
    parts = []
    for _ in range(25):
        where = (rng.uniform(-6, 6), 0.0, rng.uniform(1.0, 25))
        thing = box((0, -rng.uniform(0.5, 3), 0), rng.uniform(0.3, 3, 3), (1, 1, 1), 3,
                    bottom=True)
        parts.append(placed(thing, where, rng.uniform(0, 6)))
        post = tube([(0, 0, 0), (0.2, -2.5, 0)], [0.3, 0.1], (1, 1, 1), 6)
        parts.append(placed(post, where, 1.0))
    return join(parts)


@pytest.mark.parametrize('seed', range(4))
def test_the_z_buffer_agrees_with_a_ray_caster(atlas, seed):
    rng = np.random.default_rng(seed)
    mesh, view = scene(rng), camera(rng.uniform(-0.4, 0.4))
    face, plane = draw(mesh, view, atlas)
    expected, depth = cast(mesh, view)

    assert (face >= 0).mean() > 0.1
    assert (face != expected).mean() < 0.004  # corners are snapped to 1/256 px

    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    same = (face == expected) & (face >= 0)
    shown = face[same]
    inverse = plane[0][shown] * x[same] + plane[1][shown] * y[same] + plane[2][shown]
    np.testing.assert_allclose(1 / inverse, depth[same], rtol=1e-9)


def test_neighbouring_faces_leave_no_gap_and_do_not_overlap(atlas):
    rng = np.random.default_rng(3)
    grid = np.stack(np.meshgrid(np.linspace(-4, 4, 9), np.linspace(-4, 2, 8)), -1)
    grid[1:-1, 1:-1] += rng.uniform(-0.2, 0.2, grid[1:-1, 1:-1].shape)
    points = np.concatenate([grid, np.full((8, 9, 1), 5.0)], -1)
    quads = np.stack([points[:-1, :-1], points[:-1, 1:], points[1:, 1:], points[1:, :-1]], 2)
    mesh = faces(quads.reshape(-1, 4, 3), (1, 1, 1), 0, centre=(0, 0, 100))

    total = np.zeros((HEIGHT, WIDTH), int)
    view = camera()
    for number in range(len(mesh)):
        total += draw(mesh.take(slice(number, number + 1)), view, atlas)[0] >= 0

    assert total.max() == 1
    assert (total[2:HEIGHT // 2, 4:-4] == 1).all()


def test_samples_at_pixel_corners_lie_half_a_pixel_up_and_left(atlas):
    # a panel that covers columns up to x = 31.5 px exactly: the middle of the image
    mesh = panel((-2, 0, 4.0), (2, 0, 0), (0, -3, 0), (1, 1, 1), 0, outward=(0, 0, -1))
    centres = draw(mesh, camera(), atlas)[0]
    corners = draw(mesh, camera(), atlas, -0.5)[0]

    assert np.nonzero((centres >= 0).any(0))[0].max() == 31
    assert np.nonzero((corners >= 0).any(0))[0].max() == 31  # sample 31 is at 30.5, 32 at 31.5
    assert corners.shape == (HEIGHT + 1, WIDTH + 1)


def test_a_face_across_the_near_plane_is_clipped_and_not_dropped(atlas):
    wall = panel((0.5, 0, -5), (0, 0, 20), (0, -3, 0), (1, 1, 1), 0, outward=(-1, 0, 0))
    face, _ = draw(wall, camera(), atlas)
    assert (face[HEIGHT // 2, -10:] == 0).all()
    assert (face[:, :WIDTH // 2] == -1).all()


def test_the_holes_of_a_leaf_card_show_the_wall_behind_it(atlas):
    card = panel((-2, 0.5, 4), (4, 0, 0), (0, -4, 0), (1, 1, 1), 4, texture=textures.LEAF)
    wall = panel((-9, 3, 8), (18, 0, 0), (0, -12, 0), (1, 1, 1), 3, outward=(0, 0, -1))

    face, _ = draw(join([card, wall]), camera(), atlas)
    shown = face[4:36, 14:50]
    assert set(np.unique(shown)) == {0, 1}
    assert 0.3 < (shown == 0).mean() < 0.95


def test_culling_drops_no_visible_face(atlas):
    mesh, view = scene(np.random.default_rng(9)), camera(0.3)
    centre = mesh.corners.mean(1)
    radius = np.sqrt(((mesh.corners - centre[:, None]) ** 2).sum(-1).max(1))

    rows = facing(mesh, centre, radius, view)
    all_faces = draw(mesh, view, atlas)[0]
    few = draw(mesh.take(rows), view, atlas)[0]

    assert len(rows) < len(mesh)
    np.testing.assert_array_equal(np.where(few >= 0, rows[few], -1), all_faces)
