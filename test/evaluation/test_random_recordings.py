# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
Small recordings with random faults, through the reader, ``mtl predict`` and ``mtl evaluate``.

Each gets a right answer, or a refusal that names it, or a count of what was left out.
"""

import contextlib
import io
import re
import shutil
from dataclasses import dataclass
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

pytest.importorskip('rosbags')
pytest.importorskip('torch')

from bag_files import STORE, image, write_bag
from campaign import campaign
from hypothesis import given
from hypothesis import strategies as st
from rosbags.rosbag2 import CompressionMode, StoragePlugin

from mtl_perception import cli
from mtl_perception.bags.reader import Bag
from mtl_perception.errors import PerceptionError
from mtl_perception.image_codec import LAYOUTS, decode_compressed, decode_image

RAW, PACKED = '/image_raw', '/image_raw/compressed'
ENCODINGS = [*LAYOUTS, '', 'RGB8', '16SC1', '64FC1', 'rgb8 ', 'jpeg', 'bayer_rggb12', 'é' * 9]
FORMATS = ['jpeg', 'png', '', 'rgb8; jpeg compressed bgr8', 'bayer_rggb8; png compressed ',
           '16UC1; compressedDepth png', 'h264', 'mono16; png compressed ']
STAMPS = [0, 1, 5, 10 ** 8, 2 * 10 ** 8, 3 * 10 ** 8, 10 ** 9, 2 * 10 ** 9 - 1,
          2 ** 31 * 10 ** 9 - 1]
BYTES = np.random.default_rng(0).integers(0, 256, 8192, np.uint8)


@dataclass
class Drawn:
    """A recording to write: messages and what is done to its files."""

    messages: list
    storage: object
    compress: object
    damage: tuple


def header_of(stamp_ns):
    types = STORE.types
    return types['std_msgs/msg/Header'](
        types['builtin_interfaces/msg/Time'](*divmod(stamp_ns, 10 ** 9)), 'camera')


@st.composite
def raw_images(draw):
    """Draw the fields of an image; half of them are as they should be."""
    encoding = draw(st.sampled_from(ENCODINGS))
    height, width = draw(st.integers(0, 14)), draw(st.integers(0, 14))
    layout = LAYOUTS.get(encoding)
    row = width * (np.dtype(layout.dtype).itemsize * layout.channels if layout else 3)
    step = row + draw(st.sampled_from([0, 0, 0, 3, -1, 40]))
    rows = height * (layout.planes if layout else 2) // 2
    size = max(0, max(0, step) * rows + draw(st.sampled_from([0, 0, 0, 0, -1, 1, -100, 5000])))
    start = draw(st.integers(0, 64))
    data = BYTES[start:start + size]
    if draw(st.booleans()) and size % 4 == 0 and encoding.startswith('32F'):
        data = np.linspace(0, 1, size // 4, dtype=np.float32).view(np.uint8)
    if draw(st.integers(0, 9)) == 0:  # a covered lens
        data = np.zeros(len(data), np.uint8)
    return SimpleNamespace(
        height=height, width=width, encoding=encoding, is_bigendian=draw(st.integers(0, 1)),
        step=max(0, step), data=np.ascontiguousarray(data))


@st.composite
def compressed_images(draw):
    """Draw a compressed image: of a kind that is read or not, whole or cut."""
    shape = draw(st.sampled_from([(1, 1), (7, 9, 3), (12, 10), (2, 3, 4)]))
    dtype = draw(st.sampled_from([np.uint8, np.uint16]))
    pixels = BYTES[:np.prod(shape)].reshape(shape).astype(dtype)
    suffix = draw(st.sampled_from(['.jpg', '.png', '.bmp', '.webp', '.tiff']))
    if suffix != '.png' and suffix != '.tiff':
        pixels = pixels.astype(np.uint8)
    elif dtype == np.uint16:
        pixels *= 16
    data = bytearray(cv2.imencode(suffix, pixels)[1].tobytes())

    cut = draw(st.sampled_from([None, None, 0, 3, 0.3, 0.95, 'flip', 'junk']))
    if cut == 'flip':
        data[draw(st.integers(0, len(data) - 1))] ^= draw(st.integers(1, 255))
    elif cut == 'junk':
        data = BYTES[:50].tobytes()
    elif cut is not None:
        data = data[:round(cut * len(data)) if isinstance(cut, float) else cut]
    return SimpleNamespace(
        format=draw(st.sampled_from(FORMATS)), data=np.frombuffer(bytes(data), np.uint8))


@st.composite
def recordings(draw):
    """Draw a recording of a few messages on the topics of one camera."""
    packed = draw(st.booleans())
    topic = PACKED if packed else RAW
    messages = []
    for number in range(draw(st.integers(0, 4))):
        stamp_ns = draw(st.sampled_from(STAMPS))
        head = header_of(stamp_ns)
        if draw(st.integers(0, 19)) == 0:
            message = STORE.types['std_msgs/msg/String']('no image')
            if messages:  # a topic has one type
                continue
        elif packed:
            drawn = draw(compressed_images())
            message = STORE.types['sensor_msgs/msg/CompressedImage'](
                head, drawn.format, drawn.data)
        else:
            drawn = draw(raw_images())
            message = STORE.types['sensor_msgs/msg/Image'](
                head, drawn.height, drawn.width, drawn.encoding, drawn.is_bigendian, drawn.step,
                drawn.data)
        if messages and type(messages[0][1]) is not type(message):
            continue
        messages.append((topic, message, 1000 + number))

        if draw(st.booleans()):
            height = draw(st.sampled_from([5, 14]))
            answer = np.full((height, 9), draw(st.integers(0, 255)), np.uint8)
            messages.append(('/semantic/image', image(answer, stamp_ns), 1000 + number))

    storage = draw(st.sampled_from([StoragePlugin.MCAP, StoragePlugin.SQLITE3]))
    modes = [None, None, CompressionMode.MESSAGE, CompressionMode.FILE]
    damage = draw(st.sampled_from(
        [None, None, None, 'cut', 'flip', 'empty', 'metadata', 'nothing']))
    return Drawn(messages, storage, draw(st.sampled_from(modes)),
                 (damage, draw(st.floats(0, 1)), draw(st.integers(1, 255))))


def written(drawn, path):
    """Write a recording and damage it."""
    shutil.rmtree(path, ignore_errors=True)
    path = write_bag(path, drawn.messages, drawn.storage, drawn.compress)
    what, place, mask = drawn.damage
    file = next(one for one in path.iterdir() if one.name != 'metadata.yaml')
    content = bytearray(file.read_bytes())

    if what == 'cut':
        file.write_bytes(content[:int(place * len(content))])
    elif what == 'flip' and content:
        content[int(place * (len(content) - 1))] ^= mask
        file.write_bytes(content)
    elif what == 'empty':
        file.write_bytes(b'')
    elif what == 'metadata':
        (path / 'metadata.yaml').write_bytes(BYTES[:int(200 * place)].tobytes())
    elif what == 'nothing':
        (path / 'metadata.yaml').unlink()
    return path


def run(words):
    """Run ``mtl`` and return its exit code and what it printed."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main([str(word) for word in words])
    return code, out.getvalue(), err.getvalue()


def camera_messages(drawn):
    """Return the messages on the topic of the camera that have its type."""
    return [message for topic, message, _ in drawn.messages
            if topic in (RAW, PACKED) and 'String' not in message.__msgtype__]


def can_be_decoded(message):
    """Return whether a message by itself holds an image."""
    try:
        (decode_compressed if hasattr(message, 'format') else decode_image)(message)
    except PerceptionError:
        return False
    return True


def read(path, strict):
    """Return a recording, its images and why it was refused."""
    try:
        with Bag(path, allow_damaged=not strict, strict=strict) as bag:
            return bag, [one.image for one in bag.records() if one.image is not None], ''
    except PerceptionError as error:
        return None, [], str(error)


@pytest.fixture(scope='module')
def engine(tiny_model):
    from mtl_perception.inference.torch_engine import TorchEngine
    return TorchEngine.load(tiny_model, 'cpu', threads=1)


@pytest.fixture
def workplace(tmp_path, engine, monkeypatch):
    """Return a folder; the verbs take an engine that is loaded already."""
    for verb in ('predict', 'evaluate'):
        monkeypatch.setattr(
            f'mtl_perception.commands.{verb}.load_engine', lambda *words, **more: engine)
    return tmp_path


@campaign()
@given(drawn=recordings(), strict=st.booleans())
def test_the_reader_gives_or_counts_every_image_of_a_random_recording(tmp_path, drawn, strict):
    path = written(drawn, tmp_path / 'bag')
    sent = camera_messages(drawn)
    bag, images, refusal = read(path, strict)
    if refusal:
        whole = drawn.damage[0] in (None, 'nothing') and all(map(can_be_decoded, sent))
        assert str(path) in refusal
        assert (strict and not whole) or drawn.damage[0] is not None or not sent, refusal
        return

    assert all(one.dtype == np.uint8 and one.ndim == 3 for one in images)
    if drawn.damage[0] is None:
        left_out = sum(sum(reasons.values()) for topic, reasons in bag.skipped.items()
                       if topic in (RAW, PACKED))
        doubled = len(sent) - len({str(one.header.stamp) for one in sent})
        assert len(images) + left_out + doubled == len(sent) + sum(
            'String' in one.__msgtype__ for _, one, _ in drawn.messages)


@campaign(0.5)
@given(drawn=recordings(), output=st.sampled_from(['masks', 'new.mcap', 'film.mp4']),
       strict=st.booleans())
def test_predict_answers_counts_or_refuses_a_random_recording(workplace, drawn, output, strict):
    path = written(drawn, workplace / 'bag')
    shutil.rmtree(workplace / 'out', ignore_errors=True)
    code, out, err = run([
        'predict', path, '--output', workplace / 'out' / output, '--model', 'street',
        *(['--strict'] if strict else [])])

    assert code in (0, 3), err
    if code:
        assert 'bag' in err
        assert 'Traceback' not in err
        return

    done = int(re.match(r'(\d+) frame', out)[1])
    sent = camera_messages(drawn)
    assert done >= 1
    if drawn.damage[0] is None:
        found = re.search(r'(\d+) frames? (?:is|are) left out', out)
        doubled = len(sent) - len({str(one.header.stamp) for one in sent})
        assert done + (int(found[1]) if found else 0) + doubled == len(sent), out


@campaign(0.5)
@given(drawn=recordings(), words=st.sampled_from([
    [], ['--rerun'], ['--strict'], ['--allow-truncated'], ['--slop', '5']]))
def test_evaluate_answers_counts_or_refuses_a_random_recording(workplace, drawn, words):
    path = written(drawn, workplace / 'bag')
    code, out, err = run(['evaluate', 'street', '--bag', path, *words])

    assert code in (0, 3), err
    assert 'Traceback' not in err
    assert 'bag' in (err if code else out)
