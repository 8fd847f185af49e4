# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Depth of a film without labels: its scale, wrong motion, and films that show none."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / 'egomotion'))
import drawn_street as street

from mtl_perception.commands._film import Reel, used_images
from mtl_perception.manifest import Manifest, NetworkSpec
from mtl_perception.media.intrinsics import NO_CALIBRATION
from mtl_perception.training import drive_depth
from mtl_perception.training.drive_depth import (
    Classes,
    Film,
    find_depth,
    height_above_road,
    mean_errors,
    photometric_errors,
)

CLASSES = Classes(movable=(8,), sky=11, road=(street.ROAD,))
STEP_M = 0.5


@pytest.fixture(scope='module')
def frames():
    return [street.draw(STEP_M * number) for number in range(12)]


def film_of(frames, step_s=0.1, **options):
    stamps = [round((1 + number * step_s) * 1e9) for number in range(len(frames))]
    return Film([image for image, _, _ in frames], stamps, street.CAMERA, **options)


def answers(frames, factor=1.0, wall=1.0):
    """Return a network whose depth is wrong by a factor, and at the walls by another one."""
    def answer(number):
        _, depth, semantic = frames[number]
        wrong = np.where(semantic == street.WALL, np.float32(wall), np.float32(1))
        return semantic, (depth * wrong * np.float32(factor)).astype(np.float32)
    return answer


def ratios(found, frames):
    """Return the found depth by the true one where the walls show it, and on the road."""
    wall, road = [], []
    for number, label in found.labels.items():
        _, depth, semantic = frames[number]
        for place, ratio in ((street.WALL, wall), (street.ROAD, road)):
            here = np.isfinite(label) & (semantic == place) & (depth < 15)
            ratio.append(np.median((label / depth)[here]))
    return np.median(wall), np.median(road)


def test_the_shape_of_depth_is_found_from_our_own_ego_motion(frames):
    found = find_depth(film_of(frames), range(12), answers(frames, wall=1.25), CLASSES)
    assert len(found.labels) >= drive_depth.FEWEST_IMAGES
    assert found.why_not == ''
    wall, road = ratios(found, frames)
    assert wall / road == pytest.approx(1, abs=0.06)


def test_the_scale_is_that_of_the_model(frames):
    """Images alone say nothing about scale: it must not change."""
    found = find_depth(film_of(frames), range(12), answers(frames, factor=1.3), CLASSES)
    assert found.scaled_by == 'model'
    assert ratios(found, frames) == pytest.approx((1.3, 1.3), rel=0.05)


def test_the_height_gives_the_scale(frames):
    film = film_of(frames, height_m=street.HEIGHT_M)
    found = find_depth(film, range(12), answers(frames, factor=1.3), CLASSES)
    assert found.scaled_by == 'height'
    assert found.scale == pytest.approx(1 / 1.3, rel=0.05)
    assert ratios(found, frames) == pytest.approx((1, 1), rel=0.06)


def test_a_wrong_shape_explains_the_film_worse_whatever_its_scale(frames):
    film = film_of(frames)

    def errors(**options):
        return photometric_errors(film, [3, 6, 9], answers(frames, **options), CLASSES)

    true, scaled, wrong = errors(), errors(factor=1.4), errors(wall=1.4)
    one, other = mean_errors(true, scaled)
    assert other == pytest.approx(one, rel=0.03)
    one, other = mean_errors(true, wrong)
    assert other > 1.2 * one


def test_errors_are_compared_where_both_are_known():
    nothing = np.float32(np.nan)
    first = [np.array([[0.1, 0.3, nothing]], np.float32), np.array([[nothing]], np.float32)]
    second = [np.array([[0.2, nothing, 0.9]], np.float32), np.array([[0.5]], np.float32)]
    assert mean_errors(first, second) == pytest.approx((0.1, 0.2))
    assert np.isnan(mean_errors(first[1:], second[1:])).all()


def test_labels_are_in_the_metres_of_the_network(frames):
    """Through a lens of twice the length the network sees everything at half its distance."""
    film = film_of(frames, metres=2.0)
    found = find_depth(film, range(12), answers(frames, factor=0.5), CLASSES)
    assert ratios(found, frames) == pytest.approx((0.5, 0.5), rel=0.05)


def test_a_height_that_cannot_be_is_not_believed(frames):
    film = film_of(frames, height_m=8.0)
    assert find_depth(film, range(12), answers(frames), CLASSES).scaled_by == 'model'


def test_the_height_above_the_road_is_measured(frames):
    _, depth, semantic = frames[0]
    film = film_of(frames)
    along = np.array([0, 0, -1.0])
    height = height_above_road(depth, semantic == street.ROAD, along, film)
    assert height == pytest.approx(1.5, rel=0.01)
    assert np.isnan(height_above_road(depth, np.zeros_like(semantic, bool), along, film))


def test_a_wrong_pose_is_not_learned_from(frames, monkeypatch):
    honest = drive_depth.find_views

    def wrong(*arguments):
        views = honest(*arguments)
        for view in views:
            view.pose[0, 3] += 1.5  # sideways
        return views

    monkeypatch.setattr(drive_depth, 'find_views', wrong)
    found = find_depth(film_of(frames), range(12), answers(frames), CLASSES)
    assert found.labels == {}
    assert 'images show their depth' in found.why_not


@pytest.mark.parametrize(('film', 'message'), [
    (lambda frames: film_of(frames, step_s=1.0), 'more than 0.5 s apart'),
    (lambda frames: film_of([frames[0]] * 12), 'stands still'),
])
def test_a_film_without_parallax_shows_no_depth_and_it_says_so(frames, film, message):
    found = find_depth(film(frames), range(12), answers(frames), CLASSES)
    assert found.labels == {}
    assert message in found.why_not


def test_the_rest_keeps_the_depth_of_the_model_in_part(frames):
    found = find_depth(film_of(frames), range(12), answers(frames), CLASSES)
    label = next(iter(found.labels.values()))
    assert 0.2 < np.isfinite(label).mean() < 1


MANIFEST = Manifest(
    'tiny', NetworkSpec(), (), 112, 192, (0, 0, 0), (1, 1, 1), 115.2, 115.2, 1.5, 1.0)


def test_a_reel_knows_the_camera_of_its_images():
    reel = Reel(MANIFEST, 460.8, 3.0)
    for number in range(3):
        reel.add(np.zeros((448, 768, 3), np.uint8), number, NO_CALIBRATION)
    film = reel.film([0, 2])
    assert [grey.shape for grey in film.greys] == [(224, 384)] * 2
    assert film.stamps_ns == [0, 2]
    assert film.camera.fx == pytest.approx(230.4)
    assert film.metres == pytest.approx(2.0)  # the lens of the training, at twice its height
    assert reel.remarks == []


def test_an_unknown_focal_length_is_assumed_and_said():
    reel = Reel(MANIFEST)
    reel.add(np.zeros((448, 768, 3), np.uint8), 0, NO_CALIBRATION)
    assert reel.film([0]).metres == 1.0
    assert 'assumed' in reel.remarks[0]


def test_a_long_drive_is_used_in_groups():
    assert used_images(5, 10, 4) == [0, 1, 2, 3, 4]
    numbers = used_images(1000, 40, 8)
    assert len(numbers) == 40
    assert numbers[:8] == list(range(8))
    assert numbers[-8:] == list(range(992, 1000))
    assert used_images(100, 3) == [0, 49, 99]
