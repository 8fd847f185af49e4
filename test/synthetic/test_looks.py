# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The looks of the street: the classic one stays as it is, roads have fences and exact labels."""

import hashlib
from functools import lru_cache

import numpy as np
import pytest

from mtl_perception.datasets import camvid
from mtl_perception.datasets.class_table import map_classes
from mtl_perception.synthetic import Street
from mtl_perception.synthetic.roads.fences import FENCE, KINDS, fence
from mtl_perception.synthetic.roads.layout import SCENES, RoadLayout
from mtl_perception.synthetic.roads.woods import STRETCH, far_belt, near_belt
from mtl_perception.tasks import ROADS_SEMANTIC, STREET_SEMANTIC

WIDTH, HEIGHT = 192, 112
SEEDS = (0, 1, 3, 4, 9)  # a country road, a town, two suburbs, a highway
CLASSIC = {
    (0, 40): ['38cf9f0b15c631af', '3ae4a4c86a398731', '6dfdd4a9a6bdd795', '59d5d4ada9b4d2cc',
              '8328db5dbd568b64'],
    (7, 0): ['aa614667a384b1bf', '3e6250c2c297bf89', 'c869e46d6991d05f', 'f2b2f2e887606091',
             'd40a2c7ae9953800'],
    (10003, 90): ['7e3aa5a6b1711ecc', '6c3d6cd7c344ae51', '74f3a7e6d74740f9',
                  'cfe4e12274ed3f02', 'a7b60e685fe43616'],
    (20011, 300): ['70d4c0b1dd95c9bf', '87a2b157c9637e16', 'f5b1f5c29cec1520',
                   '5ace921c9cd73632', 'b52fa5f433a9b356']}
"""Digests of label, instance, depth, motion and colour, of the street before there were looks."""


def digests(frame):
    return [hashlib.sha256(np.ascontiguousarray(part).tobytes()).hexdigest()[:16]
            for part in (frame.semantic, frame.instance, frame.depth, frame.motion, frame.image)]


@lru_cache(maxsize=32)
def drive(seed):
    return Street(seed, width=WIDTH, height=HEIGHT, antialias=False, look='roads')


@lru_cache(maxsize=1)
def frames():
    return [drive(seed).render(11 * seed) for seed in SEEDS]


@pytest.mark.parametrize(('seed', 'index'), list(CLASSIC))
def test_the_classic_look_is_the_street_as_it_always_was(seed, index):
    assert digests(Street(seed, width=WIDTH, height=HEIGHT).render(index)) == CLASSIC[seed, index]


def test_a_look_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match='look of a street must be one of'):
        Street(0, look='cartoon')


def test_roads_keep_the_ids_of_the_classic_classes():
    assert ROADS_SEMANTIC.classes[:-1] == STREET_SEMANTIC.classes
    assert ROADS_SEMANTIC.classes[-1] == 'fence'
    assert ROADS_SEMANTIC.sky == STREET_SEMANTIC.sky
    assert map_classes(ROADS_SEMANTIC, camvid.SEMANTIC).parts['fence'] == ['fence']


def test_roads_depend_on_seed_and_index_only():
    again = Street(3, width=WIDTH, height=HEIGHT, antialias=False, look='roads')
    again.render(170)
    assert digests(again.render(33)) == digests(drive(3).render(33))


def test_roads_show_every_class_and_every_scene():
    found = np.zeros(13, np.int64)
    for frame in frames():
        found += np.bincount(frame.semantic.ravel(), minlength=13)
    print({name: f'{share:.2%}' for name, share in zip(
        ROADS_SEMANTIC.classes, found / found.sum(), strict=True)})
    assert (found > 20).all(), dict(zip(ROADS_SEMANTIC.classes, found.tolist(), strict=True))
    assert {RoadLayout(seed).scene for seed in SEEDS} == set(SCENES)


def points(frame):
    """Return (H, W, 3) world points of a frame's pixels."""
    k = frame.intrinsics
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    ray = np.stack([(x - k[0, 2]) / k[0, 0], (y - k[1, 2]) / k[1, 1], np.ones(x.shape)], -1)
    return frame.pose[:3, 3] + (ray @ frame.pose[:3, :3].T) * frame.depth[..., None]


def test_fences_are_where_their_panels_are():
    """Depth of each pixel by hand: its ray meets the plane of a fence's panel there."""
    checked = 0
    for seed, frame in zip(SEEDS, frames(), strict=True):
        seen = (frame.semantic == FENCE) & (frame.depth < 40)
        rows = np.argwhere(seen)[::17]
        if not len(rows):
            continue
        chunk = int(frame.pose[2, 3] // 40)
        sites = [drive(seed)._town.site(number).mesh for number in range(chunk - 1, chunk + 3)]
        corners = np.concatenate([site.corners[site.label == FENCE] for site in sites])
        normal = np.concatenate([site.normal[site.label == FENCE] for site in sites])

        centre = frame.pose[:3, 3]
        where = points(frame)
        for row, column in rows:
            ray = (where[row, column] - centre) / frame.depth[row, column]
            with np.errstate(divide='ignore', invalid='ignore'):
                depth = ((corners[:, 0] - centre) * normal).sum(1) / (normal @ ray)
            assert np.nanmin(np.abs(depth / frame.depth[row, column] - 1)) < 1e-4
            checked += 1
    assert checked > 50


@pytest.mark.parametrize('kind', KINDS)
def test_a_fence_stands_on_the_ground_and_has_its_length(kind):
    mesh = fence(kind, 7.5, 1.2, np.random.default_rng(1))
    assert (mesh.label == FENCE).all()
    assert mesh.corners[..., 1].max() == pytest.approx(0, abs=1e-9)
    assert -2 < mesh.corners[..., 1].min() < -0.6
    assert np.ptp(mesh.corners[..., 2]) == pytest.approx(7.5, abs=0.5)


def test_people_and_vehicles_stand_on_the_ground():
    street = drive(1)
    for actor in street._traffic.at(3.0, 14, 110):
        assert street._catalogue.poses(actor)[0].corners[..., 1].max() == pytest.approx(
            0, abs=0.06)


def test_only_finite_depth_outside_of_the_sky():
    for frame in frames():
        np.testing.assert_array_equal(
            np.isposinf(frame.depth), frame.semantic == ROADS_SEMANTIC.sky)
        assert not np.isnan(frame.depth).any()


@pytest.mark.parametrize(('belt', 'share', 'nearest'), [
    (near_belt, 'wooded', 1.0), (far_belt, 'far_wood', 22.0)])
def test_a_wood_stands_beyond_the_road_on_its_own_side(belt, share, nearest):
    layout = RoadLayout(9)
    setattr(layout, share, 1.0)
    edge = layout.half_road + layout.sidewalk
    for side in (-1, 1):
        found = belt(layout, 5, side)
        assert len(found.trunks) > 5
        assert all(trunk.d * side > edge + nearest for trunk in found.trunks)
        assert found.edge * side >= edge + nearest
        assert all(200 <= trunk.z < 260 for trunk in found.trunks)

    setattr(layout, share, 0.0)
    assert belt(layout, 5, 1) is None


def test_neighbouring_chunks_are_wooded_alike():
    for seed in range(20):
        layout = RoadLayout(seed)
        layout.wooded = 0.5
        first = [near_belt(layout, number, 1) for number in range(6 * STRETCH)]
        there = np.array([belt is not None for belt in first]).reshape(-1, STRETCH)
        assert (there.all(1) | ~there.any(1)).all()


@pytest.mark.parametrize('scene', ['suburb', 'country'])
def test_no_plant_stands_in_a_side_street(scene):
    checked = 0
    for seed in range(60):
        layout = RoadLayout(seed)
        if layout.scene != scene or (scene == 'suburb' and not layout.wooded):
            continue
        town = drive(seed)._town
        for chunk in range(12):
            street = layout.side_street(chunk)
            wood = scene == 'country' or near_belt(layout, chunk, 1) is not None
            if street is None or not wood or 1 not in street[2]:
                continue
            mesh = town.site(chunk).mesh
            trunks = mesh.corners[(mesh.label == STREET_SEMANTIC.classes.index('vegetation'))]
            low = trunks[trunks[..., 1].max(1) > -0.01]  # faces that touch the ground
            d = low[..., 0].mean(1) - layout.bend(low[..., 2].mean(1))
            beyond = d - layout.half_road - layout.sidewalk
            beside = (beyond > 0) & (beyond < 12)
            inside = np.abs(low[..., 2].mean(1) - street[0]) < street[1] - 1.5
            assert not (beside & inside).any(), (seed, chunk)
            checked += 1
    assert checked > 2


def test_junctions_are_as_wide_as_roads_and_lie_within_their_chunk():
    wide = 0
    for seed in range(40):
        layout = RoadLayout(seed)
        for chunk in range(10):
            street = layout.side_street(chunk)
            if street is not None and street[1] > 4.5:
                assert street[2] == (-1, 1)
                assert 40 * chunk < street[0] - street[1] < street[0] + street[1] < 40 * chunk + 40
                wide += 1
    assert wide > 10
