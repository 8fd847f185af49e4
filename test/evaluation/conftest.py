# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A short drive as a node would leave it in a recording."""

import pytest

pytest.importorskip('rosbags')

from bag_files import diagnostics, image, info, write_bag
from rosbags.rosbag2 import StoragePlugin
from short_drive import COUNT, DROPPED, SIZE, START_NS, STEP_NS

from mtl_perception.frames import Frame
from mtl_perception.inference.stream import CameraStream
from mtl_perception.synthetic import Street


@pytest.fixture(scope='module')
def recorded(tiny_model):
    """Return the messages of a drive with the predictions of a node, one frame dropped."""
    pytest.importorskip('torch')
    from mtl_perception.inference.torch_engine import TorchEngine
    street = Street(20003, rate=10.0, **SIZE)
    stream = CameraStream(TorchEngine.load(tiny_model, 'cpu', threads=1))
    messages = []
    for number in range(COUNT):
        stamp = START_NS + number * STEP_NS
        frame = street.render(number)
        found = [
            ('image_raw', frame.image), ('truth/semantic/image', frame.semantic),
            ('truth/depth/image', frame.depth), ('truth/motion/image', frame.motion),
            ('truth/instances/image', frame.instance)]
        if number != DROPPED:
            said = stream.process(Frame('c', stamp, frame.image), focal_px=80.0)
            found += [('semantic/image', said.semantic), ('depth/image', said.depth),
                      ('motion/image', said.motion)]
        messages += [(f'/{name}', image(array, stamp), stamp + 30_000_000)
                     for name, array in found]
        messages.append(('/camera_info', info(80.0, stamp), stamp))
    messages.append(('/diagnostics', diagnostics({
        'camera': {'received': COUNT, 'published': COUNT - 1, 'in_flight': 0,
                   'dropped.O01_superseded': 1}}), START_NS))
    return messages


@pytest.fixture(scope='module', params=[StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def bag(request, recorded, tmp_path_factory):
    return write_bag(tmp_path_factory.mktemp('drive') / 'bag', recorded, request.param)
