# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Recordings of damaged images and of images of more than 8 bits, through reader and verbs."""

import av
import cv2
import numpy as np
import pytest

pytest.importorskip('rosbags')
pytest.importorskip('torch')

from bag_files import STORE, diagnostics, header, image, info, write_bag

from mtl_perception import cli
from mtl_perception.bags.reader import Bag
from mtl_perception.media.video import Video

COUNT, STEP_NS = 6, 100_000_000
COMPRESSED = 'sensor_msgs/msg/CompressedImage'


def grey_pictures():
    """Return pictures that use all of their 8 bits, each another one."""
    values = np.linspace(0, 255, 64 * 96).round().astype(np.uint8)
    return [np.random.default_rng(number).permutation(values).reshape(64, 96)
            for number in range(COUNT)]


def stamp_of(number):
    return (number + 1) * STEP_NS


def compressed(data, stamp_ns, form='rgb8; jpeg compressed bgr8'):
    return STORE.types[COMPRESSED](header(stamp_ns), form, np.frombuffer(bytes(data), np.uint8))


def jpeg_bag(path, cut=()):
    """Write a recording of JPEGs, some of them cut."""
    messages = []
    for number, picture in enumerate(grey_pictures()):
        data = cv2.imencode('.jpg', cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR))[1].tobytes()
        data = data[:len(data) // 2] if number in cut else data
        messages.append(('/image_raw/compressed', compressed(data, stamp_of(number)),
                         stamp_of(number)))
    return write_bag(path, messages)


def image_bag(path, pictures, encoding=None, extra=()):
    messages = []
    for number, picture in enumerate(pictures):
        message = image(picture, stamp_of(number))
        message.encoding = encoding or message.encoding
        messages.append(('/image_raw', message, stamp_of(number)))
    return write_bag(path, [*messages, *extra])


def predict(source, output, model, *words):
    return cli.main(['predict', str(source), '--output', str(output), '--model', str(model),
                     '--device', 'cpu', '--threads', '1', *words])


def masks(folder):
    return sorted(int(path.stem) for path in (folder / 'semantic').iterdir())


def read_all(path, **options):
    with Bag(path, **options) as bag:
        return [record.image for record in bag.records()], bag


def test_predict_leaves_out_and_counts_a_cut_jpeg_in_a_recording(tmp_path, tiny_model, capsys):
    bag = jpeg_bag(tmp_path / 'bag', cut=(2,))

    assert predict(bag, tmp_path / 'out', tiny_model) == 0
    out = capsys.readouterr().out
    assert f'{COUNT - 1} frames: ' in out
    assert '1 frame is left out: ' in out
    assert '/image_raw/compressed: 1 x [I17_decode]' in out
    assert masks(tmp_path / 'out') == [stamp_of(number) for number in (0, 1, 3, 4, 5)]


@pytest.mark.parametrize('output', ['out', 'out.mcap', 'out.mp4'])
def test_predict_strict_ends_at_a_cut_jpeg_and_keeps_the_frames_before_it(
        tmp_path, tiny_model, capsys, output):
    bag = jpeg_bag(tmp_path / 'bag', cut=(3,))

    assert predict(bag, tmp_path / output, tiny_model, '--strict') == 3
    said = capsys.readouterr().err
    assert f'/image_raw/compressed at {stamp_of(3)}: the JPEG is truncated' in said
    assert 'the frames before it are kept in' in said

    if output == 'out':
        assert masks(tmp_path / 'out') == [stamp_of(number) for number in range(3)]
    elif output == 'out.mcap':
        assert len(read_all(tmp_path / 'out')[0]) == 3
    else:
        with av.open(str(next(tmp_path.glob('*.mp4')))) as container:
            assert len(list(container.decode(video=0))) == 3


def test_predict_refuses_a_recording_of_which_no_image_can_be_decoded(
        tmp_path, tiny_model, capsys):
    bag = jpeg_bag(tmp_path / 'bag', cut=range(COUNT))

    assert predict(bag, tmp_path / 'out', tiny_model) == 3
    assert 'there is not a single frame that can be used' in capsys.readouterr().err


def test_predict_leaves_out_an_image_of_an_unknown_encoding(tmp_path, tiny_model, capsys):
    strange = image(grey_pictures()[0], 10 * STEP_NS)
    strange.encoding = 'strange'
    bag = image_bag(tmp_path / 'bag', grey_pictures(), extra=[
        ('/image_raw', strange, 10 * STEP_NS)])

    assert predict(bag, tmp_path / 'out', tiny_model) == 0
    assert '1 x [I07_encoding]' in capsys.readouterr().out
    assert predict(bag, tmp_path / 'other', tiny_model, '--strict') == 3


def test_predict_takes_what_is_whole_of_a_cut_recording(tmp_path, tiny_model, capsys):
    bag = jpeg_bag(tmp_path / 'bag')
    file = bag / 'bag.mcap'
    file.write_bytes(file.read_bytes()[:file.stat().st_size * 2 // 3])

    assert predict(bag, tmp_path / 'out', tiny_model) == 0
    assert 'what is whole is taken' in capsys.readouterr().err
    assert 0 < len(masks(tmp_path / 'out')) < COUNT
    assert predict(bag, tmp_path / 'other', tiny_model, '--strict') == 3
    assert '"mtl predict" without --strict' in capsys.readouterr().err


def test_evaluate_counts_a_cut_jpeg_or_refuses_it_when_strict(tmp_path, tiny_model, capsys):
    answers = jpeg_bag(tmp_path / 'answers')
    assert predict(answers, tmp_path / 'new.mcap', tiny_model) == 0
    with Bag(tmp_path / 'new') as new:
        messages = [('/semantic/image', image(record.prediction.semantic, record.stamp_ns),
                     record.stamp_ns) for record in new.records()]
    for number, picture in enumerate(grey_pictures()):
        data = cv2.imencode('.jpg', picture)[1].tobytes()
        data = data[:100] if number == 3 else data
        messages.append(('/image_raw/compressed', compressed(data, stamp_of(number)),
                         stamp_of(number)))
    bag = write_bag(tmp_path / 'both', messages)
    words = ['evaluate', str(tiny_model), '--bag', str(bag), '--device', 'cpu', '--threads', '1']

    assert cli.main(words) == 0
    assert '/image_raw/compressed: 1 messages left out' in capsys.readouterr().out
    assert cli.main([*words, '--strict']) == 3
    assert 'leave --strict away' in capsys.readouterr().err


def test_a_recorded_12_bit_camera_is_read_as_one_of_8_bits(tmp_path):
    pictures = grey_pictures()
    shown, _ = read_all(image_bag(tmp_path / 'eight', pictures))
    for name, factor in (('lower', 16), ('upper', 256)):
        twelve = [picture.astype(np.uint16) * factor for picture in pictures]
        found, bag = read_all(image_bag(tmp_path / name, twelve, 'mono16'))

        assert np.abs(np.int16(found) - np.int16(shown)).max() <= 1
        assert bag.image_range.changes == 0


def test_recorded_png_images_of_16_bits_are_read_as_those_without_compression(tmp_path):
    pictures = [picture.astype(np.uint16) * 6 + 7000 for picture in grey_pictures()]
    bag = write_bag(tmp_path / 'bag', [
        ('/image_raw/compressed', compressed(
            cv2.imencode('.png', picture)[1], stamp_of(number), '16UC1; png compressed '),
         stamp_of(number)) for number, picture in enumerate(pictures)])

    np.testing.assert_array_equal(
        read_all(bag)[0], read_all(image_bag(tmp_path / 'raw', pictures, '16UC1'))[0])


def test_a_recorded_depth_image_in_place_of_the_camera_is_refused_by_name(tmp_path):
    data = bytes(12) + cv2.imencode('.png', np.zeros((8, 8), np.uint16))[1].tobytes()
    bag = write_bag(tmp_path / 'bag', [('/image_raw/compressed', compressed(
        data, stamp_of(0), '16UC1; compressedDepth png'), stamp_of(0))])

    found, read = read_all(bag)
    (reason, count), = read.skipped['/image_raw/compressed'].items()
    assert (found, count) == ([], 1)
    assert reason.startswith('[I19_format]')
    assert 'compressedDepth' in reason


def test_predict_counts_thermal_images_of_a_closed_shutter(tmp_path, tiny_model, capsys):
    pictures = [picture.astype(np.uint16) * 6 + 7000 for picture in grey_pictures()]
    pictures[2] = np.full_like(pictures[2], 7300)
    bag = image_bag(tmp_path / 'bag', pictures, '16UC1')

    assert predict(bag, tmp_path / 'out', tiny_model) == 0
    out = capsys.readouterr().out
    assert f'{COUNT} frames: ' in out
    assert f'[I15_contrast] 1 of {COUNT} images' in out


@pytest.mark.parametrize('wrong', ['some', '9,5', '0,70000'])
def test_a_range_that_is_none_is_refused_before_the_work(tmp_path, tiny_model, capsys, wrong):
    with pytest.raises(SystemExit) as end:
        predict(tmp_path / 'none', tmp_path / 'out', tiny_model, '--image-range', wrong)

    assert end.value.code == 2
    assert 'wanted auto, or the numbers of black and white' in capsys.readouterr().err


def test_predict_takes_the_range_that_is_given(tmp_path, tiny_model):
    pictures = [picture.astype(np.uint16) * 6 + 7000 for picture in grey_pictures()]
    bag = image_bag(tmp_path / 'bag', pictures, '16UC1')

    assert predict(bag, tmp_path / 'new.mcap', tiny_model, '--image-range', '7000,8530') == 0
    shown, _ = read_all(tmp_path / 'new')
    assert np.abs(np.int16(shown)[..., 0] - np.int16(grey_pictures())).max() <= 1


def test_a_model_that_runs_again_takes_the_range_of_the_node(tmp_path, tiny_model, monkeypatch):
    seen = []
    from mtl_perception.evaluation import bag_evaluation
    original = bag_evaluation.rerun
    monkeypatch.setattr(bag_evaluation, 'rerun', lambda bag, *words: (
        seen.append(bag.image_range.limits), original(bag, *words))[1])
    pictures = [picture.astype(np.uint16) * 6 + 7000 for picture in grey_pictures()]
    counters = {'received': COUNT, 'published': COUNT, 'in_flight': 0, 'image.range': '6000,9000'}
    bag = image_bag(tmp_path / 'bag', pictures, '16UC1', [
        *[('/semantic/image', image(np.zeros((64, 96), np.uint8), stamp_of(number)),
           stamp_of(number)) for number in range(COUNT)],
        *[('/camera_info', info(80.0, stamp_of(number)), stamp_of(number))
          for number in range(COUNT)],
        ('/diagnostics', diagnostics({'camera': counters}), stamp_of(COUNT))])
    words = ['evaluate', str(tiny_model), '--bag', str(bag), '--rerun', '--device', 'cpu',
             '--threads', '1']

    assert cli.main(words) == 0
    assert cli.main([*words, '--image-range', '7000,8530']) == 0
    assert seen == [(6000, 9000), (7000, 8530)]


def test_a_video_of_16_bits_that_uses_12_is_read_as_one_of_8_bits(tmp_path):
    path = tmp_path / 'thermal.mkv'
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('ffv1', rate=10)
        stream.height, stream.width, stream.pix_fmt = 64, 96, 'gray16le'
        for picture in grey_pictures():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(
                picture.astype(np.uint16) * 16, format='gray16le')))
        container.mux(stream.encode(None))

    found = [frame.read()[..., 0] for frame in Video(path).frames()]

    assert np.abs(np.int16(found) - np.int16(grey_pictures())).max() <= 1
