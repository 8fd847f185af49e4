# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl evaluate --data`` with an engine that reads the answer from the colours."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from pydantic import TypeAdapter

from mtl_perception import cli
from mtl_perception.datasets.build import DESCRIPTION as DESCRIPTION_TYPE
from mtl_perception.datasets.build import build_dataset, read_descriptions
from mtl_perception.errors import ConfigurationError, DataError, FrameError
from mtl_perception.evaluation.dataset_evaluation import (
    described_fit,
    evaluate,
    notes_of,
    open_data,
    title_of,
)
from mtl_perception.evaluation.report import Report, as_markdown
from mtl_perception.frames import Outputs
from mtl_perception.inference import engines
from mtl_perception.inference.engine import Setup
from mtl_perception.inference.fit import Fit
from mtl_perception.manifest import Manifest, NetworkSpec
from mtl_perception.reason_codes import ReasonCode
from mtl_perception.tasks import STREET_DEPTH, Task

DESCRIPTION = """
images: '{split}/image'
semantic: '{split}/class/{name}.png'
classes: {floor: [0, 0, 0], wall: [255, 0, 0]}
depth: '{split}/depth/{name}.png'
depth_m: 0.01
"""
SEMANTIC = Task('semantic', 'classes', ('floor', 'wall'), ((0, 0, 0), (255, 0, 0)))


class ColourEngine:
    """Red above 100 is wall at 5 m, everything else floor at 2 m."""

    def __init__(self, height, width, classes=SEMANTIC.classes):
        semantic = Task('semantic', 'classes', classes, SEMANTIC.palette)
        self.manifest = Manifest(
            'colours', NetworkSpec(frames=1, channels={'semantic': 2, 'depth': 1}),
            (semantic, STREET_DEPTH), height, width, (0, 0, 0), (1, 1, 1), 0.6 * width)
        self.motion_head = None
        self.setup = Setup('fake', '1', 'cpu', 'fp32', 1)

    def step(self, image, state=None, tasks=None):
        wall = image[..., 0] > 100
        return Outputs(wall.astype(np.uint8), np.where(wall, np.float32(5), np.float32(2))), None


@pytest.fixture
def root(tmp_path):
    """Write four images, upper half wall; one pixel of the last is labelled wrongly."""
    for folder in ('image', 'class', 'depth'):
        (tmp_path / 'all' / folder).mkdir(parents=True)
    for number in range(4):
        image = np.zeros((32, 64, 3), np.uint8)
        image[:16, :, 2] = 200  # BGR
        labels = np.zeros((32, 64), np.uint8)
        labels[:16] = 1
        labels[16 + number, 0] = 255
        depth = np.where(labels == 1, 500, 200).astype(np.uint16)
        depth[20:] = 0
        if number == 3:
            labels[31, 63] = 1
        for folder, values in (('image', image), ('class', labels), ('depth', depth)):
            cv2.imwrite(str(tmp_path / 'all' / folder / f'{number}.png'), values)
    (tmp_path / 'dataset.yaml').write_text(DESCRIPTION)
    return tmp_path


def data_of(root):
    return build_dataset({'dataset': 'folder', 'root': str(root), 'split': 'all'})


def test_a_model_is_evaluated_at_the_size_of_the_labels(root):
    metrics, _ = evaluate(ColourEngine(32, 64), data_of(root))

    # of 64 x 32 x 4 pixels four are unlabelled and one is wrong
    assert metrics['semantic']['pixel_accuracy'] == pytest.approx(1 - 1 / (4 * 2048 - 4))
    assert metrics['depth']['abs_rel'] == pytest.approx(0, abs=1e-6)
    assert metrics['frames'] == 4

    half, _ = evaluate(ColourEngine(16, 32), data_of(root))
    assert half['semantic']['pixel_accuracy'] > 0.99

    baseline = metrics['baseline']['semantic']
    assert baseline['pixel_accuracy'] == metrics['semantic']['pixel_accuracy']  # all images alike

    metrics |= {'model': 'colours', 'data': 'folder all'}
    assert title_of(metrics) == '4 clips of 1 image(s), folder all, model colours'

    text = as_markdown(Report('', metrics))
    assert '| IoU wall |' in text
    assert 'target' not in text


def test_depth_is_scaled_by_the_camera_of_the_data(root):
    data = data_of(root)
    data.focal_length = lambda image: 2 * 0.6 * 64  # twice the focal length of the model's
    metrics, _ = evaluate(ColourEngine(32, 64), data)
    assert metrics['depth']['abs_rel'] == pytest.approx(1.0)


def test_a_wide_data_set_in_tiles_or_cropped_says_so_with_its_cost(root):
    data = data_of(root)
    squeezed, _ = evaluate(ColourEngine(32, 32), data)
    tiles, _ = evaluate(ColourEngine(32, 32), data, fit=Fit('tiles'))
    crop, _ = evaluate(ColourEngine(32, 32), data, fit=Fit('crop'))

    assert squeezed['fit'] == {}
    assert tiles['semantic'] == squeezed['semantic']
    assert 'Images of 64 x 32 pixels: 4 tiles of 37 x 32, so 4 runs' in ' '.join(notes_of(tiles))
    # Half of the image is unknown, and that counts as wrong.
    assert crop['semantic']['pixel_accuracy'] == pytest.approx(0.5, abs=0.001)
    assert '32 x 32 at (16, 0); outside of it all is unknown' in ' '.join(notes_of(crop))


def test_a_description_may_say_the_fit_and_the_option_takes_precedence(root, capsys, monkeypatch):
    path = root / 'one.yaml'
    path.write_text('a: {dataset: folder, root: ., split: all, fit: tiles, roi: [0, 0, 64, 16]}\n')
    assert described_fit(path, 'a') == Fit('tiles', (0, 0, 64, 16))
    data, _ = open_data(path, 'a', None, 1)
    assert len(data) == 4

    monkeypatch.setattr(engines, 'load_engine', lambda *_, **__: ColourEngine(32, 64))
    assert cli.main(['evaluate', '--data', str(path)]) == 0
    assert '3 tiles of 37 x 16' in capsys.readouterr().out
    assert cli.main(['evaluate', '--data', str(path), '--fit', 'crop', '--roi', '0,0,32,16']) == 0
    assert '32 x 16 at (0, 0); outside' in capsys.readouterr().out
    assert cli.main(['data', 'check', str(path), '--mosaic', str(root / 'm.png')]) == 0

    path.write_text('a: {dataset: folder, root: ., split: all, fit: cut}\n')
    assert cli.main(['evaluate', '--data', str(path)]) == 2
    assert "one.yaml: a: fit is 'cut'; it must be one of" in capsys.readouterr().err


def test_a_fit_without_images_of_another_shape_is_refused(capsys):
    for given in ([], ['--suite', 'x.yaml'], ['--bag', 'x']):
        assert cli.main(['evaluate', *given, '--fit', 'tiles']) == 2
        assert '--fit and --roi' in capsys.readouterr().err


def test_a_data_set_without_a_focal_length_is_said_in_the_report(root):
    metrics, _ = evaluate(ColourEngine(32, 64), data_of(root))

    assert metrics['intrinsics'] == {'assumed': 4}
    assert 'The focal length of 4 of 4 images is unknown' in ' '.join(notes_of(metrics))

    (root / 'dataset.yaml').write_text(f'{DESCRIPTION}focal_px: 50\n')
    metrics, _ = evaluate(ColourEngine(32, 64), data_of(root))
    assert metrics['intrinsics'] == {'calibrated': 4}
    assert 'focal length' not in ' '.join(notes_of(metrics))


def test_the_focal_px_of_a_folder_with_depth_counts(root):
    known = evaluate(ColourEngine(32, 64), data_of(root))[0]['depth']['abs_rel']
    (root / 'dataset.yaml').write_text(f'{DESCRIPTION}focal_px: {2 * 0.6 * 64}\n')

    metrics, _ = evaluate(ColourEngine(32, 64), data_of(root))

    assert known == pytest.approx(0, abs=1e-6)
    assert metrics['depth']['abs_rel'] == pytest.approx(1.0)


@pytest.mark.parametrize('text', ['focal_px: -3', 'focal_px: .inf', 'baseline_m: 0.5'])
def test_a_focal_px_that_cannot_be_one_is_refused(root, text):
    (root / 'dataset.yaml').write_text(f'{DESCRIPTION}{text}\n')
    with pytest.raises(ConfigurationError, match='focal_px is'):
        data_of(root)


def test_depth_is_scaled_by_the_height_of_the_camera_if_it_is_told(root):
    engine = ColourEngine(32, 64)
    engine.manifest = replace(engine.manifest, camera_height=1.5, height_exponent=1.0)

    figures, _ = evaluate(engine, data_of(root), camera_height=4.5)

    assert figures['depth']['abs_rel'] == pytest.approx(2.0)


def test_other_classes_are_mapped_and_what_the_model_lacks_counts_as_not_found(root):
    metrics, _ = evaluate(ColourEngine(32, 64, ('floor', 'door')), data_of(root))
    found = metrics['semantic']

    # The lower half is floor, called so; the upper half is wall, called door.
    assert found['iou'] == {'floor': pytest.approx(1, abs=1e-3), 'wall': 0.0}
    assert found['pixel_accuracy'] == pytest.approx(0.5, abs=1e-3)
    assert metrics['baseline']['semantic']['pixel_accuracy'] > 0.99
    assert metrics['class_map']['semantic'] == {
        'classes': {'floor': ['floor'], 'wall': []}, 'lacking': ['wall'], 'unmatched': ['door']}

    notes = ' '.join(notes_of(metrics))
    assert 'The model lacks wall' in notes
    assert 'The data has no door' in notes

    mapped, _ = evaluate(
        ColourEngine(32, 64, ('floor', 'door')), data_of(root), class_map={'door': ['wall']})
    assert mapped['semantic']['pixel_accuracy'] > 0.99


def test_a_model_without_a_common_class_is_refused_and_the_message_names_the_option(root):
    engine = ColourEngine(32, 64, ('door', 'window'))
    with pytest.raises(ConfigurationError, match=r'no class of the model.*--tasks'):
        evaluate(engine, data_of(root))
    metrics, _ = evaluate(engine, data_of(root).narrowed_to(['depth']))
    assert metrics['depth']['abs_rel'] == pytest.approx(0, abs=1e-6)

    with pytest.raises(ConfigurationError, match="class of the model 'dor' does not exist"):
        evaluate(engine, data_of(root), class_map={'dor': ['wall']})
    with pytest.raises(ConfigurationError, match='they have no task in common'):
        evaluate(ColourEngine(32, 64), data_of(root).narrowed_to([]))


def test_the_command_names_a_part_that_does_not_exist(root, tiny_model, capsys):
    parts = {name: {'dataset': 'folder', 'root': str(root), 'split': 'all'}
             for name in ('train', 'validation')}
    config = root / 'mine.yaml'
    config.write_text(yaml.safe_dump(parts))
    assert cli.main(['evaluate', str(tiny_model), '--data', str(config), '--part', 'test']) == 2
    assert "data set 'test' does not exist" in capsys.readouterr().err


def test_labels_that_are_not_there_are_said_and_the_others_evaluated(tmp_path):
    for folder, value in (('image_2', 0), ('disp_occ_0', 256 * 10)):
        write = np.full((16, 32, 3) if folder == 'image_2' else (16, 32), value, np.uint16)
        (tmp_path / 'training' / folder).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / f'training/{folder}/000000_10.png'),
                    write.astype(np.uint8) if folder == 'image_2' else write)
    data = build_dataset({'dataset': 'kitti2015', 'root': str(tmp_path), 'focal_px': 38.4,
                          'baseline_m': 0.5208})

    # The network has no class of Cityscapes, and there are no semantics to compare it with.
    metrics, _ = evaluate(ColourEngine(32, 64), data)

    assert metrics['depth']['abs_rel'] == pytest.approx(1.0, abs=0.1)
    assert 'semantic' not in metrics

    # Depth is at 38.4 px x 0.5208 m / 10 px = 2 m; the lens is twice as long as in training.
    there, _ = evaluate(ColourEngine(32, 64, ('road', 'car')), data)
    assert there['unlabelled'] == ['semantic']
    assert 'Not evaluated, since no image has such a label: semantic' in ' '.join(notes_of(there))


def test_a_drive_is_one_stream_and_one_group(root):
    """Frames of a folder follow one another: the engine gets the state of the one before."""
    class Counting(ColourEngine):
        fresh = 0

        def step(self, image, state=None, tasks=None):
            self.fresh += state is None
            return super().step(image, state, tasks)[0], 'state'

    engine = Counting(32, 64)
    metrics, _ = evaluate(engine, data_of(root))

    assert engine.fresh == 1
    assert metrics['intervals']['groups'] == 1
    assert metrics['intervals']['depth']['abs_rel'] is None


@pytest.mark.parametrize(('words', 'message'), [
    (['--tasks', 'depht'], "did you mean 'depth'"), (['--tasks', 'motion'], "'motion' does not")])
def test_the_command_names_a_task_that_the_data_does_not_label(root, command, words, message,
                                                               capsys):
    assert command(*words) == 2
    assert message in capsys.readouterr().err


def test_the_command_takes_tasks_and_a_class_map(root, command, capsys):
    (root / 'map.yaml').write_text('wall: []')
    assert command('--tasks', 'semantic', '--class-map', str(root / 'map.yaml')) == 0
    shown = capsys.readouterr().out
    assert '| IoU wall | 0.000 |' in shown
    assert 'AbsRel' not in shown
    assert cli.main(['evaluate', '--tasks', 'depth']) == 2
    assert 'they need --data' in capsys.readouterr().err


def test_the_command_takes_a_folder(root, command, capsys):
    (root / 'dataset.yaml').write_text(DESCRIPTION.replace('{split}', 'all'))
    assert cli.main(['evaluate', 'any', '--data', str(root)]) == 0
    assert '1 clips of 1 image(s), folder validation' in capsys.readouterr().out


@pytest.mark.parametrize('name', ['camvid', 'kitti2015', 'cityscapes', 'pandaset'])
def test_descriptions_of_evaluations_are_valid(name):
    path = Path(__file__).parents[2] / f'config/evaluate/{name}.yaml'
    described = read_descriptions(path)
    assert [*described][:2] == ['validation', 'train']
    for description in described.values():
        assert description['dataset'] == name
        TypeAdapter(DESCRIPTION_TYPE).validate_python(description)


@pytest.mark.real_data
@pytest.mark.parametrize(('name', 'folder', 'camera_height', 'metric', 'low', 'high'), [
    ('camvid', 'camvid/CamVid', 0.0, ('semantic', 'pixel_accuracy'), 0.5, 0.95),
    ('cityscapes', 'cityscapes', 0.0, ('semantic', 'pixel_accuracy'), 0.5, 0.95),
    ('kitti2015', 'kitti2015', 0.0, ('depth', 'abs_rel'), 0.05, 0.35),
    ('pandaset', 'pandaset', 2.08, ('depth', 'delta1'), 0.35, 0.8)])
def test_three_recorded_frames_give_plausible_figures(
        real_data, name, folder, camera_height, metric, low, high):
    pytest.importorskip('torch')
    from mtl_perception.inference.torch_engine import TorchEngine
    path = Path(__file__).parents[2] / f'config/evaluate/{name}.yaml'
    data, _ = open_data(path, 'train', real_data(folder), 2)

    engine = TorchEngine.load('street', 'cpu', threads=1)
    figures, _ = evaluate(engine, data.selected(stop=3), camera_height=camera_height)

    task, key = metric
    assert low < figures[task][key] < high
    assert figures['baseline'][task][key] is not None
    assert figures['unlabelled'] == []


@pytest.fixture
def command(root, monkeypatch):
    """Return what runs ``mtl evaluate --data`` with the engine of colours."""
    engine = ColourEngine(32, 64)
    monkeypatch.setattr(engines, 'load_engine', lambda *arguments, **keywords: engine)
    config = root / 'mine.yaml'
    config.write_text(yaml.safe_dump(
        {'test': {'dataset': 'folder', 'root': str(root), 'split': 'all'}}))
    return lambda *words: cli.main(['evaluate', 'any', '--data', str(config), *words])


def breakage(kind, root):
    """Break one file of the data set; return its path."""
    image, label = root / 'all/image/2.png', root / 'all/class/2.png'
    if kind == 'an image that is cut':
        image.write_bytes(image.read_bytes()[:100])
    elif kind == 'an image that is text':
        image.write_text('no image')
    elif kind == 'a missing label':
        label.unlink()
    else:
        values = np.zeros((32, 64) if kind != 'another size' else (30, 64), np.uint8)
        values[3, 7] = 77 if kind == 'a wrong label id' else 0
        cv2.imwrite(str(label), values)
    return image if 'image' in kind else label


@pytest.mark.parametrize('kind', [
    'an image that is cut', 'an image that is text', 'a wrong label id', 'another size',
    'a missing label'])
def test_a_broken_file_is_named_and_the_exit_code_is_3(root, command, kind, capsys):
    """A missing label is never taken for zeros."""
    assert command() == 0

    path = breakage(kind, root)
    capsys.readouterr()

    assert command() == 3

    text = capsys.readouterr().err
    assert str(path) in text
    assert text.strip().count('\n') == 0

    if kind == 'a wrong label id':
        assert 'label 77 at row 3, column 7' in text

    assert command('--on-bad-sample', 'skip') == 3  # one of four is far too many
    assert '1 of 4 clips cannot be used, at most 0.1% may be left out' in capsys.readouterr().err


class RefusingEngine(ColourEngine):
    """Has no memory for blue; ``fresh`` counts the images that nothing came before."""

    fresh = 0

    def step(self, image, state=None, tasks=None):
        if image[..., 2].any():
            raise FrameError('out of memory', ReasonCode.MEMORY)
        self.fresh += state is None
        return super().step(image, state, tasks)[0], 'state'


def test_few_clips_that_the_stream_refuses_can_be_left_out_and_are_counted(root):
    """One of 1200."""
    path = root / 'all/image/2.png'
    cv2.imwrite(str(path), np.full((32, 64, 3), (255, 0, 0), np.uint8))  # BGR
    data = data_of(root)
    good = [clip for clip in data.clips if clip[-1] != path]
    data.clips = [*(good[:1] * 1197), *data.clips[1:]]
    engine = RefusingEngine(8, 16)
    metrics, _ = evaluate(engine, data, skip_bad=True)

    assert metrics['frames'] == sum(metrics['intrinsics'].values()) == 1199
    assert metrics['bad_samples'] == [f'{path}: [O07_memory] out of memory']
    assert engine.fresh == 1198  # image 1 follows image 0, image 3 not the one that was refused


def test_a_clip_that_the_stream_refuses_is_named_and_the_exit_code_is_3(
        root, command, capsys, monkeypatch):
    path = root / 'all/image/2.png'
    cv2.imwrite(str(path), np.full((32, 64, 3), (255, 0, 0), np.uint8))
    monkeypatch.setattr(engines, 'load_engine', lambda *_, **__: RefusingEngine(32, 64))

    assert command() == 3
    assert f'{path}: [O07_memory] out of memory' in capsys.readouterr().err
    assert command('--on-bad-sample', 'skip') == 3
    assert '1 of 4 clips cannot be used, at most 0.1% may be' in capsys.readouterr().err


def test_few_broken_clips_can_be_left_out_and_are_counted(root):
    """One of 1200."""
    breakage('an image that is cut', root)
    data = data_of(root)
    good = [clip for clip in data.clips if clip[-1].stem != '2']
    bad = next(clip for clip in data.clips if clip[-1].stem == '2')
    data.clips = (good * 400)[:1199] + [bad]
    metrics, _ = evaluate(ColourEngine(8, 16), data, skip_bad=True)

    assert metrics['frames'] == 1199
    assert len(metrics['bad_samples']) == 1
    assert '2.png' in metrics['bad_samples'][0]
    with pytest.raises(DataError, match=r'2\.png'):
        evaluate(ColourEngine(8, 16), data)
