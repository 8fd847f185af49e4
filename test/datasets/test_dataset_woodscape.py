# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""WoodScape."""

import numpy as np
import pytest
from dataset_trees import constant, write_image, write_map, write_text

from mtl_perception.datasets.geometry import FisheyeCamera
from mtl_perception.datasets.woodscape import WoodScape, read_fisheye
from mtl_perception.errors import ConfigurationError, DataError

CALIBRATION = """{"extrinsic": {"quaternion": [0, 0, 0, 1], "translation": [1, 2, 0.7]},
"intrinsic": {"aspect_ratio": 1.0, "cx_offset": 4.0, "cy_offset": -3.0, "height": 966.0,
"k1": 300.0, "k2": -30.0, "k3": 40.0, "k4": -5.0, "model": "radial_poly", "poly_order": 4,
"width": 1280.0}}"""


@pytest.fixture
def root(tmp_path):
    """Write images 3 and 4 of two cameras."""
    for number, camera in ((3, 'FV'), (4, 'MVL')):
        name = f'{number:05d}_{camera}'
        write_image(tmp_path / f'rgb_images/{name}.png', number)
        write_image(tmp_path / f'previous_images/{name}_prev.png', 10 + number)
        labels, motion = constant(1), constant(0)
        labels[0, :4], motion[2, 2] = (0, 2, 6, 9), 5
        write_map(tmp_path / f'semantic_annotations/gtLabels/{name}.png', labels)
        write_map(tmp_path / f'motion_annotations/gtLabels/{name}.png', motion)
        write_text(tmp_path / f'box_2d_annotations/{name}.txt', 'vehicles,0,5,4,1,2\n')
        write_text(tmp_path / f'calibration_data/calibration/{name}.json', CALIBRATION)
    return tmp_path


def test_semantics_motion_boxes_and_the_previous_frame(root):
    sample = WoodScape(str(root), frames=2)[0]
    assert sample.image[:, 0, 0, 0].tolist() == [13, 3]
    assert (sample.semantic[0] == 255).all()
    assert sample.semantic[1, 0, :5].tolist() == [0, 2, 6, 9, 1]
    assert sample.motion[1].sum() == sample.motion[1, 2, 2] == 1
    assert sample.detection[1].tolist() == [[1, 2, 5, 4, 0]]  # corners in either order
    assert sample.detection[0, :, 4].tolist() == [-2]


def test_four_classes_are_those_of_the_road(root):
    data = WoodScape(str(root), classes=4)
    assert data[0].semantic[0, 0, :5].tolist() == [0, 2, 0, 0, 1]
    assert data.tasks[0].classes == ('void', 'road', 'lane marking', 'curb')


def test_cameras_and_splits(root):
    def names(**settings):
        return [path.stem for path, in WoodScape(str(root), **settings).clips]

    assert names(cameras=['MVL']) == ['00004_MVL']
    assert names(split='validation') == ['00004_MVL']
    assert names(split='train') == ['00003_FV']
    for settings, message in (
            ({'cameras': ['XX']}, "no camera 'XX'"), ({'split': 'test'}, "no split 'test'"),
            ({'classes': 5}, 'classes is 5'), ({'frames': 3}, 'frames is 3')):
        with pytest.raises(ConfigurationError, match=message):
            names(**settings)


@pytest.mark.parametrize('line', ['vehicles,7,1,2,3,4', 'vehicles,0,1,2', 'vehicles;0;1;2;3;4'])
def test_a_faulty_box_is_refused_with_its_line(root, line):
    write_text(root / 'box_2d_annotations/00003_FV.txt', f'\n{line}\n')
    with pytest.raises(DataError, match=r'00003_FV.txt: line 2 is .* unpack'):
        WoodScape(str(root))[0]


def test_a_fisheye_lens_sees_by_its_polynomial(root):
    data = WoodScape(str(root))
    lens = data.fisheye(data.clips[0][0])
    middle = [1279 / 2 + 4, 965 / 2 - 3]
    angle = np.pi / 4
    radius = 300 * angle - 30 * angle ** 2 + 40 * angle ** 3 - 5 * angle ** 4
    seen = lens.project(np.array([[0, 0, 5.0], [2, 0, 2], [0, 3, 3], [0, 0, 0]]))

    np.testing.assert_allclose(seen[:3], [
        middle, [middle[0] + radius, middle[1]], [middle[0], middle[1] + radius]])
    assert np.isnan(seen[3]).all()
    assert data.focal_length(data.clips[0][0]) == 300
    np.testing.assert_allclose(lens.from_vehicle(np.array([[1, 2, 0.7]])), 0)

    # a turn by 90 degrees about z takes the camera's x to the vehicle's y
    half = np.sqrt(0.5)
    turned = FisheyeCamera((1.0,), (2, 2), quaternion=(0, 0, half, half))

    np.testing.assert_allclose(turned.from_vehicle(np.array([[0, 1, 0]])), [[1, 0, 0]], atol=1e-9)


def test_a_calibration_of_another_model_is_refused(root):
    path = root / 'calibration_data/calibration/00003_FV.json'
    write_text(path, CALIBRATION.replace('radial_poly', 'pinhole'))
    with pytest.raises(DataError, match=r"00003_FV.json: is not a calibration .*'pinhole'"):
        read_fisheye(path)


@pytest.mark.real_data
def test_recorded_calibration_of_woodscape(real_data):
    lens = read_fisheye(real_data('woodscape_calib') / 'calibration_data/front.json')
    assert lens.coefficients[0] == 339.749

    # The front camera looks ahead and a little down from 0.66 m, 3.7 m before the rear axle: a
    # point on the ground ahead is below the middle of the image, one at the left is left of it.
    ahead, left, far = lens.project(lens.from_vehicle(
        np.array([[8.0, 0, 0], [8.0, 3, 0], [1e6, 0, 0.66]])))
    middle = (np.array(lens.size) - 1) / 2 + lens.offset

    assert ahead[0] == pytest.approx(middle[0], abs=20)
    assert ahead[1] > far[1]
    assert left[0] < ahead[0] - 100
    assert 0 < far[1] < lens.size[1]
