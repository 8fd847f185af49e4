# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl view`` on a real graph: what its server gives to a viewer is decoded and compared."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip('rclpy')

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header, String
from visualization_msgs.msg import ImageMarker

from mtl_perception.frames import Detections, Objects
from mtl_perception.ros.box_messages import markers_message
from mtl_perception.ros.messages import image_message, labels_message
from mtl_perception.ros.object_messages import state_message
from mtl_perception.tasks import STREET_DETECTION, STREET_SEMANTIC

LATCHED = QoSProfile(
    depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
BEST_EFFORT = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
STAMP_S, STAMP_NS = 100, 7
HEIGHT, WIDTH = 6, 8
DEPTH = np.arange(HEIGHT * WIDTH, dtype=np.float32).reshape(HEIGHT, WIDTH) / 4
DEPTH[0] = np.nan, np.inf, *DEPTH[0, 2:]
MASK = (np.arange(HEIGHT * WIDTH, dtype=np.uint8) % 12).reshape(HEIGHT, WIDTH)
RGB = np.random.default_rng(2).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


@pytest.fixture
def view(graph, tmp_path):
    """Return a function that starts ``mtl view`` on free ports, and what it serves."""
    pytest.importorskip('rerun')
    readers = []

    def start(*arguments):
        port, web_port = free_port(), free_port()
        process = graph.start(
            'mtl_perception.cli', 'view', '--port', str(port), '--web-port', str(web_port),
            *arguments)
        said = process.stdout.readline()
        assert f'http://127.0.0.1:{web_port}?url=' in said, process.stderr.read()

        # a viewer without a window, that writes what it gets
        path = tmp_path / f'{port}.rrd'
        readers.append(subprocess.Popen(
            [rerun_program(), f'rerun+http://127.0.0.1:{port}/proxy', '--save', str(path),
             '--bind', '127.0.0.1', '--port', str(free_port())],
            env={**os.environ, 'XDG_CONFIG_HOME': str(tmp_path)},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        return SimpleNamespace(process=process, path=path, port=port, web_port=web_port)

    yield start
    for reader in readers:
        reader.kill()
        reader.wait()


def rerun_program():
    import rerun_cli
    return str(Path(rerun_cli.__file__).with_name('rerun'))


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def shown(path):
    """Return (entity, component) -> the values that came, and the stamps that came with them."""
    from rerun.chunk import RrdReader
    found = {}
    try:
        chunks = list(RrdReader(path).stream())
    except Exception:  # noqa: BLE001  (nothing is in the file yet)
        return found
    for chunk in chunks:
        batch = chunk.to_record_batch()
        stamps = (batch.column('stamp').cast('int64').to_pylist()
                  if 'stamp' in batch.schema.names else [None] * batch.num_rows)
        for name in batch.schema.names:
            if ':' in name:
                values = batch.column(name).to_pylist()
                found.setdefault((chunk.entity_path, name), []).extend(zip(stamps, values))
    return found


def pixels(found, entity, kind, dtype):
    """Return the stamps and arrays of an image, a mask or a depth image."""
    buffers = found.get((entity, f'{kind}:buffer'), [])
    return [(stamp, np.frombuffer(np.array(value[0], np.uint8).tobytes(), dtype))
            for stamp, value in buffers]


def publish(graph, publishers, condition, timeout_s=40.0):
    """Publish each message again and again until the condition holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        for publisher, message in publishers:
            publisher.publish(message)
        graph.executor.spin_once(timeout_sec=0.3)


def header(camera='front'):
    one = Header(frame_id=camera)
    one.stamp.sec, one.stamp.nanosec = STAMP_S, STAMP_NS
    return one


def publisher(graph, kind, name, message, qos=5):
    return graph.node.create_publisher(kind, name, qos), message


def drive(graph, camera):
    """Return publishers of a camera with their messages."""
    boxes = Detections(
        np.array([[1, 2, 5, 4]], np.float32), np.array([0.9], np.float32), np.array([0]))
    objects = Objects(
        ids=np.array([31]), classes=np.array([8]), scores=np.array([0.75], np.float32),
        moving=np.array([1]), positions=np.array([[1, 2, 10]], np.float32),
        velocities=np.array([[0, 0, -3]], np.float32), mask=np.zeros((2, 2), np.uint32))
    info = CameraInfo(header=header(), width=WIDTH, height=HEIGHT,
                      k=[5.0, 0.0, 4.0, 0.0, 5.0, 3.0, 0.0, 0.0, 1.0])
    return [
        publisher(graph, String, f'{camera}/semantic/labels', labels_message(STREET_SEMANTIC),
                  LATCHED),
        publisher(graph, CameraInfo, f'{camera}/camera_info', info),
        publisher(graph, Image, f'{camera}/image_raw', image_message(header(), 'rgb8', RGB),
                  BEST_EFFORT),
        publisher(graph, Image, f'{camera}/semantic/image',
                  image_message(header(), 'mono8', MASK)),
        publisher(graph, Image, f'{camera}/depth/image',
                  image_message(header(), '32FC1', DEPTH)),
        publisher(graph, ImageMarker, f'{camera}/detections/markers',
                  markers_message(header(), boxes, STREET_DETECTION)),
        publisher(graph, PointCloud2, f'{camera}/objects/state',
                  state_message(header(), objects))]


def test_a_viewer_gets_what_the_topics_carry(graph, view):
    status = DiagnosticStatus(name='front', level=DiagnosticStatus.WARN, message='age 2 s')
    publishers = [*drive(graph, '/front'), publisher(
        graph, DiagnosticArray, '/diagnostics', DiagnosticArray(header=header(), status=[status]))]
    server = view()

    wanted = {
        ('/front/image', 'Image:buffer'), ('/front/image/semantic', 'SegmentationImage:buffer'),
        ('/front/image/depth', 'DepthImage:buffer'), ('/diagnostics', 'TextLog:text'),
        ('/front/image/semantic', 'AnnotationContext:context'),
        ('/front/image/detection', 'LineStrips2D:strips'),
        ('/front/objects', 'Points3D:positions'), ('/front/velocities', 'Arrows3D:vectors'),
        ('/front/image', 'Pinhole:image_from_camera')}
    def repeated():
        found = shown(server.path)
        return wanted <= found.keys() and len(found['/front/image', 'Image:buffer']) > 3

    publish(graph, publishers, repeated)
    found = shown(server.path)

    stamp = STAMP_S * 10**9 + STAMP_NS
    for entity, kind, dtype, truth in (
            ('/front/image', 'Image', np.uint8, RGB),
            ('/front/image/semantic', 'SegmentationImage', np.uint8, MASK),
            ('/front/image/depth', 'DepthImage', np.float32,
             np.where(np.isfinite(DEPTH), DEPTH, 0))):
        at, values = pixels(found, entity, kind, dtype)[0]
        assert at == stamp
        np.testing.assert_array_equal(values, truth.ravel())

    # names and colours of the classes, as RGBA
    # sent once, however often the node repeats them
    (_, context), = found['/front/image/semantic', 'AnnotationContext:context']
    infos = {one['class_id']: one['class_description']['info'] for one in context[0]}
    assert infos[8]['label'] == 'car'
    assert infos[8]['color'] == (0 << 24) + (0 << 16) + (142 << 8) + 255
    assert infos[255]['color'] & 255 == 0

    # a box has four sides, the first one from its upper left corner to the right
    strips = found['/front/image/detection', 'LineStrips2D:strips'][0][1]
    assert len(strips) == 4
    assert strips[0] == [[1, 2], [5, 2]]
    assert found['/front/objects', 'Points3D:positions'][0][1] == [[1, 2, 10]]
    assert found['/front/velocities', 'Arrows3D:vectors'][0][1] == [[0, 0, -3]]
    assert found['/front/objects', 'Points3D:labels'][-1][1] == ['car 31']

    # Rerun's matrices are stored column by column
    matrix = found['/front/image', 'Pinhole:image_from_camera'][0][1]
    assert matrix == [[5, 0, 0, 0, 5, 0, 4, 3, 1]]
    assert found['/diagnostics', 'TextLog:text'][0][1] == ['front: age 2 s']
    assert found['/diagnostics', 'TextLog:level'][0][1] == ['WARN']
    assert len(found['/diagnostics', 'TextLog:text']) == 1  # only changes are told


def test_cameras_and_publishers_come_and_go_whatever_they_offer(graph, view):
    server = view('--rate', '100')

    def masks(camera):
        return [values[0] for _, values in pixels(
            shown(server.path), f'/{camera}/image/semantic', 'SegmentationImage', np.uint8)]

    def mask(camera, value, qos):
        return publisher(graph, Image, f'/{camera}/semantic/image', image_message(
            header(), 'mono8', np.full((2, 2), value, np.uint8)), qos)

    first = mask('front', 1, 5)
    publish(graph, [first], lambda: 1 in masks('front'))
    graph.node.destroy_publisher(first[0])

    # the next one offers less, and more cameras appear; broken images of one disturb nobody
    second, rear, left = mask('front', 2, BEST_EFFORT), mask('rear', 3, 5), mask('left', 0, 5)
    broken = image_message(header(), 'mono8', np.zeros((2, 2), np.uint8))
    broken.encoding = 'no such encoding'
    cameras = [second, (left[0], broken), rear]
    publish(graph, cameras, lambda: 2 in masks('front') and 3 in masks('rear'))
    end = time.monotonic() + 3
    publish(graph, cameras, lambda: time.monotonic() > end)

    code, errors = graph.finish(server.process, signal.SIGINT)
    assert code == 0, errors
    assert '/left/semantic/image cannot be shown' in errors


def listeners(port):
    """Return the addresses on which somebody listens on a port, as the kernel writes them."""
    rows = [line.split() for name in ('tcp', 'tcp6')
            for line in Path('/proc/net', name).read_text().splitlines()[1:]]
    return [row[1].split(':')[0] for row in rows
            if row[3] == '0A' and int(row[1].split(':')[1], 16) == port]


def test_page_and_data_are_served_to_this_host_alone_and_end_with_the_program(graph, view):
    server = view()
    assert listeners(server.port) == listeners(server.web_port) == ['0100007F']

    page = f'http://127.0.0.1:{server.web_port}'
    assert b'Rerun Viewer' in urllib.request.urlopen(page).read()
    program = urllib.request.urlopen(f'{page}/re_viewer_bg.wasm').read()  # no other host is asked
    assert program[:4] == b'\0asm'

    code, errors = graph.finish(server.process, signal.SIGTERM)
    assert code == 0, errors
    assert listeners(server.port) == listeners(server.web_port) == []


def test_a_port_that_is_taken_is_refused_with_the_option(graph):
    pytest.importorskip('rerun')
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        process = graph.start(
            'mtl_perception.cli', 'view', '--web-port', str(taken.getsockname()[1]))
        code, errors = graph.finish(process, None)
    assert code == 2
    assert 'choose another with --web-port' in errors


def test_a_missing_library_is_named_with_the_command_that_brings_it():
    code = ("import sys, importlib.util as util; find = util.find_spec\n"
            "util.find_spec = lambda name, *_: None if name == 'rerun' else find(name)\n"
            "from mtl_perception.cli import main; sys.exit(main(['view']))")
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 2
    assert "pip install 'mtl_perception[view]'" in done.stderr


def test_the_foxglove_layout_shows_topics_of_the_list():
    from mtl_perception.topics import EVERY
    path = Path(__file__).parents[2] / 'config' / 'foxglove_layout.json'
    layout = json.loads(path.read_text())

    def panels(tree):
        return [tree] if isinstance(tree, str) else panels(tree['first']) + panels(tree['second'])

    assert sorted(panels(layout['layout'])) == sorted(layout['configById'])
    names = set()
    for config in layout['configById'].values():
        names |= set(config.get('topics', {}))
        mode = config.get('imageMode', {})
        names |= {mode[key] for key in ('imageTopic', 'calibrationTopic') if key in mode}
        names |= set(mode.get('annotations', {})) | {config.get('topicToRender')}
    names -= {None}

    assert names == {one.below('') for one in EVERY} & names
    assert names >= {'/image_raw', '/semantic/overlay', '/depth/color', '/points',
                     '/objects/markers', '/diagnostics'}
