# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl evaluate --bag``: recorded predictions are evaluated as the model is, to the last bit."""

import copy
import json

import cv2
import numpy as np
import pytest
import yaml

pytest.importorskip('rosbags')
pytest.importorskip('torch')

from bag_files import arrays_of, diagnostics, header, image, write_bag
from short_drive import COUNT, START_NS, STEP_NS, evaluate_bag
from test_demo import mtl

from mtl_perception import cli
from mtl_perception.bags.reader import Bag
from mtl_perception.evaluation.bag_evaluation import rerun
from mtl_perception.inference.torch_engine import TorchEngine

EVALUATED = ('semantic', 'depth', 'motion', 'baseline', 'intervals')


def test_the_predictions_of_a_bag_are_those_of_the_model_bit_by_bit(bag, tiny_model):
    engine = TorchEngine.load(tiny_model, 'cpu', threads=1)
    with Bag(bag) as one, Bag(bag) as other:
        pairs = list(zip(one.records(), rerun(other, engine), strict=True))

    assert len(pairs) == COUNT

    for before, after in pairs:
        assert arrays_of(before).keys() == arrays_of(after).keys()
        for role, array in arrays_of(before).items():
            np.testing.assert_array_equal(array, arrays_of(after)[role])


def test_the_metrics_of_a_bag_are_exactly_those_of_the_model(tmp_path, bag, tiny_model):
    as_recorded = evaluate_bag(tmp_path, bag, tiny_model)
    model_again = evaluate_bag(tmp_path, bag, tiny_model, '--rerun')

    assert as_recorded == model_again
    assert all(name in as_recorded for name in EVALUATED)
    assert as_recorded['dropped'] == {'O01_superseded': 1}
    assert as_recorded['accounting']['adds_up']
    assert as_recorded['latency_ms']['max'] == 30.0

    for name in ('report.md', 'report.html'):
        assert 'O01_superseded' in (tmp_path / 'out' / name).read_text()


def test_one_other_pixel_in_the_bag_changes_the_metrics(tmp_path, recorded, bag, tiny_model):
    """The positive control of the test above."""
    changed = list(recorded)
    place = next(number for number, one in enumerate(changed) if one[0] == '/semantic/image')
    topic, message, logged_ns = changed[place]
    truth = next(one[1] for one in changed if one[0] == '/truth/semantic/image')
    data = message.data.copy()
    data[0] = truth.data[0] if data[0] != truth.data[0] else (truth.data[0] + 1) % 12
    changed[place] = topic, type(message)(
        message.header, message.height, message.width, message.encoding, 0, message.step,
        data), logged_ns
    other = evaluate_bag(tmp_path, write_bag(tmp_path / 'changed', changed), tiny_model)

    assert other['semantic']['miou'] != evaluate_bag(tmp_path, bag, tiny_model)['semantic']['miou']


def test_labels_of_a_data_set_by_stamp_give_the_same_metrics_as_those_in_the_bag(
        tmp_path, recorded, tiny_model):
    """The bag has no truth; the data set has it under the stamps, 2 ms late."""
    own = evaluate_bag(tmp_path, write_bag(tmp_path / 'whole', recorded), tiny_model)
    bare = write_bag(tmp_path / 'bare', [one for one in recorded if '/truth' not in one[0]])
    for topic, message, _ in recorded:
        stamp = message.header.stamp
        name = f'{stamp.sec * 10 ** 9 + stamp.nanosec + 2_000_000}.png'
        if topic in ('/image_raw', '/truth/semantic/image'):
            folder = tmp_path / 'labels' / 'all' / ('class' if 'truth' in topic else 'image')
            folder.mkdir(parents=True, exist_ok=True)
            array = message.data.reshape(64, 96, -1)
            cv2.imwrite(str(folder / name), array[..., ::-1] if array.shape[2] == 3 else array)
    from mtl_perception.tasks import STREET_SEMANTIC
    (tmp_path / 'labels' / 'dataset.yaml').write_text(yaml.safe_dump({
        'images': '{split}/image', 'semantic': '{split}/class/{name}.png',
        'classes': {name: list(colour) for name, colour in zip(
            STREET_SEMANTIC.classes, STREET_SEMANTIC.palette)}}, sort_keys=False))
    config = tmp_path / 'mine.yaml'
    config.write_text(yaml.safe_dump(
        {'test': {'dataset': 'folder', 'root': str(tmp_path / 'labels'), 'split': 'all'}}))
    found = evaluate_bag(tmp_path, bare, tiny_model, '--data', str(config), '--slop', '5')

    assert found['semantic'] == own['semantic']
    assert found['intervals']['semantic'] == own['intervals']['semantic']
    assert found['unmatched'] == 0
    assert 'depth' not in found

    words = ['evaluate', str(tiny_model), '--bag', str(bare), '--data', str(config)]
    assert cli.main([*words, '--slop', '1']) == 3  # nothing matches

    # without {split} a training would hold the last fifth out; labels of a recording all count
    description = tmp_path / 'labels' / 'dataset.yaml'
    description.write_text(description.read_text().replace('{split}', 'all'))
    whole = evaluate_bag(
        tmp_path, bare, tiny_model, '--data', str(tmp_path / 'labels'), '--slop', '5')
    assert whole['semantic'] == own['semantic']
    assert whole['streams']['labels'] == {'matched': COUNT, 'unmatched': 0}


def test_a_truncated_bag_is_refused_unless_it_is_allowed(tmp_path, bag, tiny_model, capsys):
    file = next(path for path in bag.iterdir() if path.suffix in ('.mcap', '.db3'))
    cut = tmp_path / f'cut{file.suffix}'
    cut.write_bytes(file.read_bytes()[:file.stat().st_size * 9 // 10])
    words = ['evaluate', str(tiny_model), '--bag', str(cut)]

    assert cli.main(words) == 3
    assert capsys.readouterr().err.count('\n') == 1  # one line, no traceback

    if file.suffix == '.db3':
        return  # the list of topics may be gone too
    report = evaluate_bag(tmp_path, cut, tiny_model, '--allow-truncated')

    assert report['incomplete'] is True
    assert 0 < report['published'] < COUNT - 1
    assert 'INCOMPLETE' in (tmp_path / 'out' / 'report.md').read_text()


def test_a_bag_without_the_topics_lists_those_that_are_there(
        tmp_path, recorded, tiny_model, capsys):
    renamed = [(name.replace('/image_raw', '/front/image_raw'), message, logged)
               for name, message, logged in recorded if 'semantic' not in name]
    renamed += [('/rear/image_raw', *one[1:]) for one in renamed if one[0] == '/front/image_raw']
    path = write_bag(tmp_path / 'bag', renamed)

    assert cli.main(['evaluate', str(tiny_model), '--bag', str(path)]) == 3

    text = capsys.readouterr().err
    assert "did you mean '/front/image_raw' or '/rear/image_raw'?" in text
    assert '/depth/image (11)' in text


def test_streams_that_do_not_belong_together_are_reported_and_refused(
        tmp_path, recorded, tiny_model, capsys):
    """A third of the predictions has stamps that no image has."""
    moved = [(name, type(message)(
        header(START_NS - 1 - number), *[getattr(message, field) for field in (
            'height', 'width', 'encoding', 'is_bigendian', 'step', 'data')]), logged)
        if name == '/motion/image' else (name, message, logged)
        for number, (name, message, logged) in enumerate(recorded)]
    path = write_bag(tmp_path / 'bag', moved)
    code = cli.main(['evaluate', str(tiny_model), '--bag', str(path), '--output',
                     str(tmp_path / 'out')])

    assert code == 3

    said = capsys.readouterr()
    assert '0 of 11 messages of motion have the stamp of an image, wanted 90%' in said.err
    assert 'motion: 11 of 11 have no image' in said.out

    report = json.loads((tmp_path / 'out' / 'report.json').read_text())
    assert (report['matched'], report['unmatched']) == (70, 11)
    assert report['streams']['semantic'] == {'matched': 11, 'unmatched': 0}


def test_answers_to_images_from_before_the_recording_are_counted_apart(
        tmp_path, recorded, tiny_model):
    """The recorder heard three images too late, and all answers."""
    images = [one for one in recorded if one[0] == '/image_raw']
    kept = [one for one in recorded if not any(one is image for image in images[:3])]
    report = evaluate_bag(tmp_path, write_bag(tmp_path / 'bag', kept), tiny_model)

    assert report['unmatched'] == 0
    assert report['early'] > 0
    assert report['streams']['depth'] == {'matched': 8, 'unmatched': 0}
    assert (f'{report["early"]} more belong to images from before the recording.'
            in (tmp_path / 'out' / 'report.md').read_text())


def test_answers_from_before_the_recording_hide_no_dropped_frame(tmp_path, recorded, tiny_model):
    images = [one for one in recorded if one[0] == '/image_raw']
    late = [one for one in recorded if not any(one is image for image in images[:3])]
    silent = [one for one in late if one[0] != '/diagnostics']
    report = evaluate_bag(tmp_path, write_bag(tmp_path / 'bag', silent), tiny_model)
    assert (report['frames_in'], report['published']) == (COUNT - 3, COUNT - 4)
    assert report['dropped'] == {'unknown': 1}


def test_predictions_that_no_image_can_be_shown_for_say_why(
        tmp_path, recorded, tiny_model, capsys):
    """Every stamp has its image; something else is wrong."""
    words = ['evaluate', str(tiny_model), '--bag']
    whole = str(write_bag(tmp_path / 'whole', recorded))
    assert cli.main([*words, whole, '--rerun', '--roi', '5000,50,100,30']) == 3
    assert '11 messages left out: [I25_fit] the roi is 100 x 30' in capsys.readouterr().err

    bare = copy.deepcopy([one for one in recorded if one[0] in ('/image_raw', '/semantic/image')])
    for name, message, _ in bare:
        if name == '/image_raw':
            message.encoding = 'strange'
    assert cli.main([*words, str(write_bag(tmp_path / 'strange', bare))]) == 3
    said = capsys.readouterr().err
    assert 'no prediction can be evaluated: /image_raw: 12 messages left out' in said
    assert 'strange' in said


def test_faint_images_are_counted_once_each(tmp_path, tiny_model):
    random, messages = np.random.default_rng(0), []
    for number in range(10):
        stamp = START_NS + number * STEP_NS
        faint = (8000 + random.integers(0, 3, (64, 96))).astype(np.uint16)
        message = image(faint, stamp)
        message.encoding = 'mono16'
        messages += [('/image_raw', message, stamp),
                     ('/semantic/image', image(np.zeros((64, 96), np.uint8), stamp), stamp)]
    report = evaluate_bag(tmp_path, write_bag(tmp_path / 'bag', messages), tiny_model)
    assert '10 of 10 images of more than 8 bits' in report['low_contrast']


def test_answers_stamped_long_before_the_first_image_are_unmatched(
        tmp_path, recorded, tiny_model, monkeypatch):
    """As those of a clock that is wrong."""
    monkeypatch.setattr('mtl_perception.bags.reader.EARLY_NS', 1)
    images = [one for one in recorded if one[0] == '/image_raw']
    kept = [one for one in recorded if not any(one is image for image in images[:1])]
    report = evaluate_bag(tmp_path, write_bag(tmp_path / 'bag', kept), tiny_model)
    assert report['early'] == 0
    assert report['unmatched'] > 0


@pytest.mark.parametrize(('ran', 'named'), [('roads', 'roads'), ('mine', 'street')])
def test_without_a_model_it_is_the_shipped_one_that_the_node_ran(
        tmp_path, recorded, ran, named, capsys):
    said = ('/diagnostics', diagnostics({'node': {'model': ran, 'sha256': '5' * 64}}), START_NS)
    bag = write_bag(tmp_path / 'bag', [*recorded, said])

    assert cli.main(['evaluate', '--bag', str(bag)]) == 0
    text = capsys.readouterr().out
    assert f'{bag}: {named}, predictions of {ran} as recorded' in text
    assert f'The node ran the model {ran} (sha256 {"5" * 16}), classes and tasks here are ' \
        f'those of {named}' in text


@pytest.mark.parametrize('words', [['--slop', '-1'], ['--slop', 'nan'], ['--slop', 'inf']])
def test_impossible_arguments_are_refused(words, capsys):
    assert cli.main(['evaluate', 'no such model', '--bag', 'nowhere', *words]) == 2


def test_a_path_that_is_not_a_bag_is_exit_code_3(tmp_path, tiny_model):
    (tmp_path / 'text.mcap').write_text('not a bag')
    for path in (tmp_path / 'text.mcap', tmp_path / 'nowhere', tmp_path):
        assert cli.main(['evaluate', str(tiny_model), '--bag', str(path)]) == 3


@pytest.mark.slow
def test_the_predictions_of_a_real_node_are_those_of_the_model(tmp_path, tiny_model):
    """Camera, node and recorder on a ROS graph; then the model on the recorded images."""
    done = mtl('demo', '--model', str(tiny_model), '--output', str(tmp_path / 'demo'),
               '--seconds', '4', '--rate', '5', '--width', '96', '--height', '64', '--seeds', '2',
               '--threads', '1', '--device', 'cpu')

    assert done.returncode == 0, done.stdout + done.stderr

    live = json.loads((tmp_path / 'demo' / 'report.json').read_text())
    bag = tmp_path / 'demo' / 'bag'
    as_recorded = evaluate_bag(tmp_path, bag, tiny_model)

    assert as_recorded == evaluate_bag(tmp_path, bag, tiny_model, '--rerun')

    for name in ('semantic', 'depth', 'baseline', 'frames_in', 'published', 'dropped',
                 'latency_ms', 'fps', 'rate'):
        assert live[name] == as_recorded[name]

    assert live['motion']['iou_moving'] == as_recorded['motion']['iou_moving']

    engine = TorchEngine.load(tiny_model, 'cpu', threads=1)
    with Bag(bag) as one, Bag(bag) as other:
        predicted = 0
        for before, after in zip(one.records(), rerun(other, engine), strict=True):
            predicted += before.prediction is not None
            for role, array in arrays_of(before).items():
                np.testing.assert_array_equal(array, arrays_of(after)[role])

    assert predicted == live['published'] > 0
