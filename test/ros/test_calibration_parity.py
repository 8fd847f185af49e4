# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The same calibrations through the node, recordings and files: the same focal lengths."""

import numpy as np
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('rosbags')

from bag_files import STORE, header, image, write_bag
from sensor_msgs.msg import CameraInfo, RegionOfInterest

from mtl_perception.bags.reader import Bag
from mtl_perception.evaluation.image_inputs import calibrations_of, open_input
from mtl_perception.inference.stream import CameraStream
from mtl_perception.media.calibration_file import read_calibration
from mtl_perception.media.intrinsics import intrinsics_of
from mtl_perception.ros.calibration import calibrated_info
from mtl_perception.ros.messages import image_message

HEIGHT, WIDTH, COUNT, STEP_NS = 48, 80, 3, 100_000_000
EYE = [1.0, 0, 0, 0, 1, 0, 0, 0, 1]
NOTHING = {'k': [0.0] * 9, 'p': [0.0] * 12}


def k(focal, width=WIDTH, height=HEIGHT):
    return [focal, 0, (width - 1) / 2, 0, focal, (height - 1) / 2, 0, 0, 1.0]


def p(focal, width=WIDTH, height=HEIGHT):
    return [focal, 0, (width - 1) / 2, 0, 0, focal, (height - 1) / 2, 0, 0, 0, 1.0, 0]


INPUTS = {
    'plain': {},
    'k of zeros': {'k': [0.0] * 9, 'p': p(61.0)},
    'k and p contradict': {'p': p(61.0)},
    'not calibrated': NOTHING,
    '0 x 0 pixels': {'height': 0, 'width': 0},
    'another size': {'height': 96, 'width': 160},
    'not a number': {'k': k(float('nan')), 'p': p(float('nan'))},
    'negative': {'k': k(-50.0), 'p': p(-50.0)},
    '24 km': {'k': k(24e6), 'p': p(61.0)},
    'binned, size of the image': {'binning_x': 2, 'binning_y': 2},
    'binned, size of the sensor': {
        'height': 96, 'width': 160, 'k': k(100.0, 160, 96), 'p': p(100.0, 160, 96),
        'binning_x': 2, 'binning_y': 2},
    'window': {'height': 96, 'width': 160, 'k': k(100.0, 160, 96), 'p': p(100.0, 160, 96),
               'roi': (20, 10, HEIGHT, WIDTH)},
    'fisheye': {'distortion_model': 'equidistant', 'd': [0.0] * 4},
    'barrel': {'d': [-0.4, 0.1, 0.0, 0.0, 0.0]},
    'unknown model': {'distortion_model': 'double_sphere', 'd': [0.1, 0.2]},
}


def fields_of(name):
    usual = {'height': HEIGHT, 'width': WIDTH, 'distortion_model': 'plumb_bob', 'd': [0.0] * 5,
             'k': k(50.0), 'r': EYE, 'p': p(50.0), 'binning_x': 0, 'binning_y': 0,
             'roi': (0, 0, 0, 0)}
    return {**usual, **INPUTS[name]}


def recorded(path, name):
    """Write a recording of some pictures with one calibration each."""
    fields = fields_of(name)
    region = STORE.types['sensor_msgs/msg/RegionOfInterest'](
        *fields.pop('roi')[:2], *INPUTS[name].get('roi', (0, 0, 0, 0))[2:], False)
    fields = {one: np.array(value, float) if isinstance(value, list) else value
              for one, value in fields.items()}
    messages = []
    for number in range(1, COUNT + 1):
        stamp = number * STEP_NS
        info = STORE.types['sensor_msgs/msg/CameraInfo'](
            header(stamp), roi=region, **fields)
        messages += [('/image_raw', image(picture(number), stamp), stamp),
                     ('/camera_info', info, stamp)]
    return write_bag(path, messages)


def picture(number):
    return np.full((HEIGHT, WIDTH, 3), 10 * number, np.uint8)


def test_every_door_believes_the_same_of_fifteen_calibrations(bench, tmp_path):
    test = bench(camera_timeout=60.0)
    test.start()
    for name in INPUTS:
        path = recorded(tmp_path / name.replace(' ', '_'), name)
        predicted = list(open_input(path).images)
        with Bag(path) as bag:
            rerun = [calibrations_of(bag).intrinsics(stamp, (HEIGHT, WIDTH))[0]
                     for stamp in bag.stamps_of('image')]
        offline = CameraStream(test.engine)

        fields = fields_of(name)
        x, y, rows, columns = fields.pop('roi')
        message = CameraInfo(**fields, roi=RegionOfInterest(
            x_offset=x, y_offset=y, height=rows, width=columns))
        test.camera._infos.clear()
        for number, shown in enumerate(predicted, 1):
            message.header.stamp.nanosec = number * STEP_NS
            message.header.frame_id = 'camera'
            test.camera._infos.put(message)
            sent = image_message(message.header, 'rgb8', shown.image)
            test.feed(sent)
            offline.process(_frame(shown), ['depth'], intrinsics=shown.intrinsics)

            live = test.camera.intrinsics
            assert shown.stamp_ns == number * STEP_NS, name
            assert (live, live) == (shown.intrinsics, rerun[number - 1]), name
            assert test.camera.focal_px == offline.focal_px, name


def _frame(shown):
    from mtl_perception.frames import Frame
    return Frame('offline', shown.stamp_ns, shown.image)


@pytest.mark.parametrize('size', [(480, 640), (240, 320)])
def test_a_calibration_file_says_the_same_to_camera_source_and_to_predict(tmp_path, size):
    path = tmp_path / 'camera.yaml'
    path.write_text(f'image_width: 640\nimage_height: 480\ncamera_matrix: {k(500.0, 640, 480)}\n'
                    'distortion_coefficients: [-0.3, 0.1, 0, 0, 0]\n')
    scaled = read_calibration(path).at(*size)
    published = intrinsics_of(calibrated_info(scaled), size)

    assert published == intrinsics_of(scaled, size)
    assert published.focal_px == 500.0 * size[1] / 640
