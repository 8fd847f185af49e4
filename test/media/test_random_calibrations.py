# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Calibrations with random oddities: a right answer, or a refusal with a reason."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from camera_infos import camera_info, matrix, projection, window

pytest.importorskip('hypothesis')

from campaign import campaign
from hypothesis import given
from hypothesis import strategies as some

from mtl_perception.errors import ConfigurationError
from mtl_perception.inference.rectification import Rectifier
from mtl_perception.media.calibration import CalibrationMemory
from mtl_perception.media.calibration_file import read_calibration
from mtl_perception.media.intrinsics import IntrinsicsState, intrinsics_of

NUMBERS = some.floats(width=64) | some.floats(-2000, 2000) | some.integers(-9, 9)
FOCALS = some.sampled_from([0.0, 300.0, 500.0, -1.0, 24e6, math.nan, math.inf]) | some.floats(
    100, 3000)
SIZES = some.sampled_from([0, 1, 120, 240, 480, 640, 1280]) | some.integers(0, 1 << 32)
MODELS = some.sampled_from([
    'plumb_bob', 'rational_polynomial', 'equidistant', 'fisheye', '', 'double_sphere'])


@some.composite
def infos(draw):
    """Return a message of which some fields are odd."""
    def maybe(usual, odd):
        return draw(odd) if draw(some.integers(0, 3)) == 0 else usual

    def numbers(most):
        return some.lists(NUMBERS, max_size=most)

    return camera_info(
        height=maybe(480, SIZES), width=640,
        k=maybe(matrix(500.0), FOCALS.map(matrix) | numbers(10)),
        p=maybe(projection(500.0), FOCALS.map(projection) | numbers(13)),
        r=maybe([1.0, 0, 0, 0, 1, 0, 0, 0, 1], numbers(9)),
        d=maybe([0.0] * 5, some.lists(some.floats(-1, 1), max_size=14) | numbers(20)),
        distortion_model=maybe('plumb_bob', MODELS | some.text(max_size=5)),
        binning_x=maybe(0, SIZES), binning_y=maybe(0, SIZES),
        roi=maybe(window(), some.builds(window, SIZES, SIZES, SIZES, SIZES)),
        header=SimpleNamespace(
            frame_id=maybe('', some.text(max_size=3)),
            stamp=SimpleNamespace(sec=maybe(1, some.integers(0, 99)), nanosec=0)))


@campaign()
@given(info=infos(), shape=some.sampled_from([(480, 640), (240, 320), (120, 640)]),
       rectified=some.booleans())
def test_a_message_is_believed_within_reason_or_says_why_not(info, shape, rectified):
    found = intrinsics_of(info, shape, rectified, 'camera')

    if found.focal_px is None:
        assert found.state in (IntrinsicsState.ASSUMED, IntrinsicsState.UNUSABLE)
        assert found.reason
        assert found.code
    else:
        assert found.state is IntrinsicsState.CALIBRATED
        assert 0.05 * shape[1] < found.focal_px < 100 * shape[1]

    memory = CalibrationMemory(rectified=rectified)
    memory.put(info)
    assert memory.intrinsics(5, shape, 'camera')[0] == found
    if found.lens is not None and found.lens.is_strong(*shape):
        image = Rectifier(found.lens, *shape).image(np.zeros((*shape, 3), np.uint8))
        assert image.shape == (*shape, 3)


VALUES = NUMBERS | some.text(max_size=6) | some.none() | some.booleans()
MATRICES = FOCALS.map(matrix) | some.lists(VALUES, max_size=14) | some.lists(
    some.lists(NUMBERS, max_size=4), max_size=4)
KEYS = some.sampled_from([
    'image_width', 'image_height', 'camera_matrix', 'distortion_model', 'camera_model',
    'distortion_coefficients', 'rectification_matrix', 'projection_matrix', 'K', 'D', 'size'])
GOOD = {'image_width': 640, 'image_height': 480, 'camera_matrix': {'data': matrix(500.0)}}


@campaign()
@given(fields=some.dictionaries(KEYS, VALUES | MATRICES | MATRICES.map(lambda one: {'data': one})),
       first=some.sampled_from(['', '%YAML:1.0\n---\n', '\ufeff', '%YAML 1.2\n---\n', '{']),
       usual=some.booleans())
def test_a_file_is_read_or_refused_by_its_name(tmp_path, fields, first, usual):
    import yaml
    path = tmp_path / 'camera.yaml'
    path.write_text(first + yaml.safe_dump({**GOOD, **fields} if usual else fields),
                    encoding='utf-8')
    try:
        found = read_calibration(path)
    except ConfigurationError as error:
        assert str(path) in str(error)  # noqa: PT017
        return
    known = intrinsics_of(found, (found.height, found.width))
    assert known.focal_px is not None
    assert math.isfinite(known.focal_px)


@campaign()
@given(content=some.binary(max_size=200) | some.text(max_size=200).map(str.encode))
def test_any_bytes_are_refused_by_their_name(tmp_path, content):
    path = tmp_path / 'camera.yaml'
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r'camera\.yaml'):
        read_calibration(path)
