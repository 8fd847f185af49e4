# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From a lens with distortion to a pinhole and back."""

import cv2
import numpy as np
import pytest

from mtl_perception.frames import Detections, Frame, Perception
from mtl_perception.inference.rectification import Rectifier, rectified_focal_length
from mtl_perception.inference.stream import CameraStream, StreamSettings
from mtl_perception.media.intrinsics import Intrinsics, IntrinsicsState
from mtl_perception.media.lens import EQUIDISTANT, POLYNOMIAL, Lens
from mtl_perception.synthetic import Street

HEIGHT, WIDTH = 240, 320
SHAPE = HEIGHT, WIDTH


def fisheye(degrees=100, width=WIDTH, height=HEIGHT):
    focal = width / np.radians(degrees)
    return Lens(EQUIDISTANT, focal, focal, (width - 1) / 2, (height - 1) / 2)


def pinhole(focal, width=WIDTH, height=HEIGHT):
    return Lens(POLYNOMIAL, focal, focal, (width - 1) / 2, (height - 1) / 2)


def known(lens):
    return Intrinsics(IntrinsicsState.CALIBRATED, lens.fx, lens.fy, lens=lens)


def through(lens, seen, width=WIDTH, height=HEIGHT):
    """
    Return what a lens sees of a picture of a pinhole.

    :param seen: the pinhole's lens, and its picture or map.
    """
    camera, values = seen
    row, column = np.mgrid[0:height, 0:width].astype(np.float64)
    u, v = camera.project(*lens.unproject(column, row))
    there = np.isfinite(u) & np.isfinite(v)
    u, v = (np.where(there, one, -1e4).astype(np.float32) for one in (u, v))
    method = cv2.INTER_NEAREST if values.ndim == 2 else cv2.INTER_LINEAR
    return cv2.remap(values, u, v, method, borderMode=cv2.BORDER_CONSTANT, borderValue=np.nan
                     if values.dtype == np.float32 else 0)


def test_the_pinhole_shows_all_of_a_barrel_lens_and_90_degrees_of_a_fisheye():
    barrel = Lens(POLYNOMIAL, 224.0, 224.0, 159.5, 119.5, (-0.3, 0.1))
    assert Rectifier(barrel, *SHAPE).unseen < 0.05  # the corners
    assert rectified_focal_length(barrel, WIDTH) < 224

    assert rectified_focal_length(fisheye(100), WIDTH) == 0.5 * WIDTH
    assert rectified_focal_length(fisheye(190), WIDTH) == 0.5 * WIDTH


def test_answers_come_back_to_the_pixels_they_are_of():
    lens = fisheye(110)
    rectifier = Rectifier(lens, *SHAPE)
    column = np.mgrid[0:HEIGHT, 0:WIDTH][1]
    stripes = (column // 8 % 11).astype(np.uint8)
    picture = np.repeat((stripes * 20)[..., None], 3, 2)

    ids = np.rint(rectifier.image(picture)[..., 0] / 20).astype(np.uint8)
    found = rectifier.restore(Perception(semantic=ids, depth=ids.astype(np.float32)), *SHAPE)

    inside = found.semantic != 255
    assert 0.6 < inside.mean() < 0.95
    assert (found.semantic == stripes)[inside].mean() > 0.9
    np.testing.assert_array_equal(np.isnan(found.depth), ~inside)

    outside = rectifier.restore(
        Perception(motion=ids * 0, instance=ids.astype(np.uint16)), *SHAPE)
    np.testing.assert_array_equal(outside.motion, np.where(inside, 0, 255))
    assert not outside.instance[~inside].any()


def test_answers_of_the_networks_size_come_back_at_that_size():
    rectifier = Rectifier(fisheye(110), *SHAPE)
    whole = rectifier.restore(Perception(depth=np.ones(SHAPE, np.float32)), *SHAPE).depth
    small = rectifier.restore(Perception(depth=np.ones((120, 160), np.float32)), 120, 160).depth
    assert small.shape == (120, 160)
    assert (np.isnan(small) == np.isnan(whole[::2, ::2])).mean() > 0.98


def test_boxes_come_back_around_the_same_pixels():
    rectifier = Rectifier(fisheye(100), *SHAPE)
    boxes = Detections(np.float32([[150, 110, 170, 130], [10, 20, 60, 90]]),
                       np.float32([0.9, 0.5]), np.uint8([1, 2]))
    mask = np.zeros(SHAPE, np.uint8)
    mask[20:90, 10:60] = 1
    found = rectifier.restore(Perception(semantic=mask, detection=boxes), *SHAPE)
    rows, columns = np.nonzero(found.semantic == 1)

    np.testing.assert_allclose(found.detection.corners[0], [148.9, 108.9, 171.1, 131.1], atol=2)
    np.testing.assert_allclose(
        found.detection.corners[1],
        [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], atol=1.5)
    empty = Detections(np.zeros((0, 4), np.float32), np.float32([]), np.uint8([]))
    assert len(rectifier.restore(Perception(detection=empty), *SHAPE).detection.corners) == 0


class Depths:
    """A network that returns the red channel in metres."""

    motion_head = None

    def __init__(self):
        from dataclasses import replace

        from mtl_perception.manifest import Manifest, NetworkSpec
        from mtl_perception.tasks import STREET_DEPTH
        self.manifest = Manifest(
            'depths', NetworkSpec(frames=1, channels={'depth': 1}),
            (replace(STREET_DEPTH, maximum=1000.0),), HEIGHT, WIDTH, (0, 0, 0), (1, 1, 1),
            0.5 * WIDTH)

    def step(self, image, state=None, tasks=None):
        from mtl_perception.frames import Outputs
        self.seen = image
        return Outputs(depth=image[..., 0].astype(np.float32) + 1), None


def test_without_strong_distortion_nothing_changes_bit_for_bit():
    image = np.random.default_rng(0).integers(0, 255, (*SHAPE, 3), dtype=np.uint8)
    weak = Lens(POLYNOMIAL, 160.0, 160.0, 159.5, 119.5, (-0.01, 0.001))
    for rectify, lens, same in (('auto', weak, True), ('off', fisheye(), True),
                                ('auto', fisheye(), False)):
        engine = Depths()
        stream = CameraStream(engine, StreamSettings(rectify=rectify))
        found = stream.process(Frame('c', 1, image), intrinsics=known(lens)).depth
        plain = CameraStream(Depths()).process(Frame('c', 1, image), focal_px=lens.fx).depth

        assert np.array_equal(engine.seen, image) == same
        assert np.array_equal(found, plain) == same
        assert (stream.rectifier is None) == same


def test_a_calibration_that_changes_the_lens_resets_the_stream_once():
    image = np.zeros((*SHAPE, 3), np.uint8)
    stream = CameraStream(Depths())
    for number, lens in enumerate((None, fisheye(), fisheye(), fisheye(110)), 1):
        stream.process(Frame('c', number, image + number),
                       intrinsics=None if lens is None else known(lens))
    assert stream.resets['camera'] == 2


@pytest.mark.slow
def test_depth_through_a_lens_of_100_degrees_is_that_of_a_pinhole():
    pytest.importorskip('torch')
    from mtl_perception.inference.torch_engine import TorchEngine
    engine = TorchEngine.load('street', 'cpu', threads=1)
    width, height = 640, 480
    lens = fisheye(100, width, height)
    view = pinhole(rectified_focal_length(lens, width), width, height)
    column, row = (one.astype(np.float64) for one in np.mgrid[0:height, 0:width][::-1])
    back = view.project(*lens.unproject(column, row))

    errors = {'lens': [], 'pinhole': [], 'not rectified': []}
    for seed in (20000, 20002):
        street = Street(seed, 1280, 1100, camera_height=1.5)
        street.focal_px = 1280 / 2 / np.tan(np.radians(51))  # a little more than the lens sees
        frame = street.render(20)
        camera = pinhole(street.focal_px, 1280, 1100)
        picture = cv2.GaussianBlur(frame.image, (0, 0), 0.7)

        def depth(rectify, one, camera=camera, picture=picture):
            stream = CameraStream(engine, StreamSettings(rectify=rectify, camera_height=1.5))
            image = through(one, (camera, picture), width, height)
            return stream.process(Frame('c', 1, image), ['depth'], intrinsics=known(one)).depth

        maps = {'lens': depth('auto', lens), 'not rectified': depth('off', lens),
                'pinhole': cv2.remap(
                    depth('auto', view), *(one.astype(np.float32) for one in back),
                    cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=np.nan)}
        truth = through(lens, (camera, frame.depth), width, height)
        pixels = np.isfinite(truth) & (truth < 80)
        for values in maps.values():
            pixels &= np.isfinite(values)
        for name, values in maps.items():
            errors[name].append(np.mean(np.abs(values - truth)[pixels] / truth[pixels]))

    means = {name: np.mean(values) for name, values in errors.items()}
    assert abs(means['lens'] - means['pinhole']) < 0.02, means
    assert means['not rectified'] > means['lens'] + 0.01, means
