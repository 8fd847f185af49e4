# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl evaluate --suite`` on two tiny CamVids, one of which is not there."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from mtl_perception import cli
from mtl_perception.evaluation.suite import read_suite
from mtl_perception.frames import Outputs
from mtl_perception.inference import engines
from mtl_perception.inference.engine import Setup
from mtl_perception.manifest import Manifest, NetworkSpec
from mtl_perception.tasks import Task

CONFIG = Path(__file__).parents[2] / 'config/evaluate'
SEMANTIC = Task('semantic', 'classes', ('road', 'sky'), ((0, 0, 0), (255, 0, 0)))


class BlueEngine:
    """Blue is sky, everything else road; the rightmost columns are road for a model "narrow N"."""

    def __init__(self, name):
        self.columns = int(name.split()[1]) if ' ' in name else 0
        self.manifest = Manifest(
            name, NetworkSpec(frames=1, channels={'semantic': 2}), (SEMANTIC,), 32, 64,
            (0, 0, 0), (1, 1, 1), 38.4)
        self.motion_head = None
        self.setup = Setup('fake', '1', 'cpu', 'bf16' if name == 'coarse' else 'fp32', 1)

    def step(self, image, state=None, tasks=None):
        sky = (image[..., 2] > 100).astype(np.uint8)
        sky[:, sky.shape[1] - self.columns:] = 0
        return Outputs(sky), None


@pytest.fixture
def suite(tmp_path, monkeypatch):
    """Write a CamVid of two images, half sky and half road, with a fence in one, and a suite."""
    monkeypatch.setattr(engines, 'load_engine', lambda name, *_: BlueEngine(name))
    for folder in ('val', 'valannot'):
        (tmp_path / 'data/CamVid' / folder).mkdir(parents=True)
    for number in (1, 2):
        image = np.zeros((32, 64, 3), np.uint8)
        image[:16, :, 0] = 200  # BGR
        labels = np.full((32, 64), 3, np.uint8)
        labels[:16] = 0
        labels[24:] = 7 if number == 2 else 3
        cv2.imwrite(str(tmp_path / f'data/CamVid/val/0016E5_{number:05d}.png'), image)
        cv2.imwrite(str(tmp_path / f'data/CamVid/valannot/0016E5_{number:05d}.png'), labels)

    entry = {'data': str(CONFIG / 'camvid.yaml'), 'root': 'CamVid'}
    path = tmp_path / 'suite.yaml'
    path.write_text(yaml.safe_dump({'models': ['one', 'two'], 'entries': [
        {'title': 'CamVid', **entry, 'show': [['mIoU', 'pixel accuracy'], ['IoU skj']]},
        {'title': 'Another', **entry, 'root': 'nowhere', 'show': [['mIoU']]}]}))
    return path


def test_a_suite_is_one_table_with_baselines_and_says_what_is_not_there(suite, tmp_path, capsys):
    assert cli.main(['evaluate', '--suite', str(suite), '--root', str(tmp_path / 'data'),
                     '--output', str(tmp_path / 'out')]) == 0
    lines = capsys.readouterr().out.splitlines()

    # 3072 pixels of sky and road are right, 512 of the fence wrong; its IoU is 0.
    miou = (1 + 1536 / 2048 + 0) / 3
    accuracy = 3584 / 4096
    assert lines[0] == '| | one | two | image-blind baseline |'
    cell = f'{miou:.3f}, {accuracy:.3f}'
    assert lines[2].startswith(f'| CamVid, 2 frames: mIoU, pixel accuracy | {cell} | {cell} | ')
    assert lines[3] == '| CamVid, 2 frames: IoU skj | n/a | n/a | n/a |'

    notes = '\n'.join(lines[4:])
    assert 'Another: left out' in notes
    assert 'nowhere' in notes
    assert 'fence' in notes
    assert lines[-1] == '- The network ran by fake 1 on cpu, fp32, 1 CPU thread(s).'
    assert "there is no row 'IoU skj'; did you mean 'IoU sky'" in notes

    assert (tmp_path / 'out/suite.md').read_text().splitlines() == lines
    results = json.loads((tmp_path / 'out/suite.json').read_text())
    assert [(one['title'], one['model']) for one in results] == [
        ('CamVid', 'one'), ('Another', 'one'), ('CamVid', 'two'), ('Another', 'two')]
    assert results[0]['metrics']['semantic']['pixel_accuracy'] == accuracy
    assert results[0]['engine'] == 'fake 1 on cpu, fp32, 1 CPU thread(s)'


def test_a_suite_that_is_interrupted_keeps_what_it_has_evaluated_and_an_earlier_result(
        suite, tmp_path, capsys, monkeypatch):
    def load(name, *_):
        if name == 'two':
            raise KeyboardInterrupt
        return BlueEngine(name)

    words = ['evaluate', '--suite', str(suite), '--root', str(tmp_path / 'data'), '--output',
             str(tmp_path / 'out')]
    assert cli.main(words) == 0
    before = (tmp_path / 'out/suite.json').read_bytes()
    assert not (tmp_path / 'out/suite.partial.json').exists()

    monkeypatch.setattr(engines, 'load_engine', load)
    assert cli.main(words) == 130
    assert 'the evaluations before it are kept in' in capsys.readouterr().err
    kept = json.loads((tmp_path / 'out/suite.partial.json').read_text())
    assert [(one['title'], one['model']) for one in kept] == [('CamVid', 'one')]
    assert (tmp_path / 'out/suite.json').read_bytes() == before


def test_where_engines_differ_the_table_says_what_ran_each_model(suite, tmp_path, capsys):
    described = yaml.safe_load(suite.read_text())
    described['models'] = ['one', 'coarse', 'two']
    suite.write_text(yaml.safe_dump(described))
    assert cli.main(['evaluate', '--suite', str(suite), '--root', str(tmp_path / 'data')]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [
        '- one, two: The network ran by fake 1 on cpu, fp32, 1 CPU thread(s).',
        '- coarse: The network ran by fake 1 on cpu, bf16, 1 CPU thread(s).']


def test_several_models_share_a_column_with_their_median_and_range(suite, tmp_path, capsys):
    described = yaml.safe_load(suite.read_text())
    described['models'] = ['one', {'three seeds': ['narrow 32', 'narrow 0', 'narrow 8']}]
    suite.write_text(yaml.safe_dump(described))
    assert cli.main(['evaluate', '--suite', str(suite), '--root', str(tmp_path / 'data')]) == 0
    lines = capsys.readouterr().out.splitlines()

    # Each 16 columns cost 2 x 16 x 16 pixels of sky, of 4096 in all.
    assert lines[0] == '| | one | three seeds | image-blind baseline |'
    accuracy = re.fullmatch(r'.*?\| .*, (\S+) \| .*, (.*) \| .* \|', lines[2])
    assert accuracy.groups() == ('0.875', '0.812 (0.625 to 0.875)')
    assert lines[3] == '| CamVid, 2 frames: IoU skj | n/a | n/a | n/a |'


def test_two_trainings_of_one_name_are_two_columns(suite, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(engines, 'load_engine', lambda name, *_: BlueEngine('same'))
    described = yaml.safe_load(suite.read_text())
    described['models'] = ['a/x.safetensors', 'b/x.safetensors']
    suite.write_text(yaml.safe_dump(described))
    assert cli.main(['evaluate', '--suite', str(suite), '--root', str(tmp_path / 'data')]) == 0
    assert capsys.readouterr().out.startswith('| | a/x.safetensors | b/x.safetensors | image-bl')


def test_a_model_called_like_another_column_is_headed_by_its_path(
        suite, tmp_path, capsys, monkeypatch):
    names = {'a.safetensors': 'mine', 'b.safetensors': 'two'}
    monkeypatch.setattr(
        engines, 'load_engine', lambda name, *_: BlueEngine(names.get(name, name)))
    described = yaml.safe_load(suite.read_text())
    described['models'] = ['a.safetensors', 'b.safetensors', {'mine': ['one', 'narrow 8']}]
    suite.write_text(yaml.safe_dump(described))
    assert cli.main(['evaluate', '--suite', str(suite), '--root', str(tmp_path / 'data')]) == 0
    assert capsys.readouterr().out.startswith('| | a.safetensors | two | mine | image-blind')


def test_two_entries_of_the_same_title_are_refused(suite, capsys):
    described = yaml.safe_load(suite.read_text())
    described['entries'][1]['title'] = 'CamVid'
    suite.write_text(yaml.safe_dump(described))
    assert cli.main(['evaluate', '--suite', str(suite)]) == 2
    assert "entries: 'CamVid' is the title of more than one" in capsys.readouterr().err


@pytest.mark.parametrize('other', ['one', {'one': ['two', 'three']}])
def test_two_columns_of_the_same_title_are_refused(suite, capsys, other):
    described = yaml.safe_load(suite.read_text())
    described['models'] = ['one', other]
    suite.write_text(yaml.safe_dump(described))
    assert cli.main(['evaluate', '--suite', str(suite)]) == 2
    assert "models: 'one' heads more than one column" in capsys.readouterr().err


def test_an_entry_may_say_how_the_model_sees_the_images(suite, tmp_path, capsys):
    described = yaml.safe_load(suite.read_text())
    described['entries'][0]['fit'] = 'crop'
    suite.write_text(yaml.safe_dump(described))
    assert cli.main(['evaluate', '--suite', str(suite), '--root', str(tmp_path / 'data')]) == 0
    assert 'CamVid: Images of 64 x 32 pixels: one run of the network' in capsys.readouterr().out


def test_a_suite_without_any_data_set_is_refused(suite, tmp_path, capsys):
    assert cli.main(['evaluate', '--suite', str(suite), '--root', str(tmp_path)]) == 3
    assert 'none of its data sets is there' in capsys.readouterr().err


def test_a_wrong_suite_is_refused_with_all_mistakes(suite, capsys):
    suite.write_text('models: []\nentries: [{title: x, shwo: [[a]], data: b.yaml}]')
    assert cli.main(['evaluate', '--suite', str(suite)]) == 2
    said = capsys.readouterr().err
    assert "shwo does not exist; did you mean 'show'" in said
    assert 'show is missing' in said
    assert 'models' in said


def test_the_shipped_suite_names_descriptions_that_are_there():
    suite = read_suite(CONFIG / 'real_roads.yaml')
    assert all((CONFIG / entry.data).is_file() for entry in suite.entries)


@pytest.mark.parametrize(('words', 'message'), [
    (['--suite', 'suite.yaml', '--part', 'train'], r'--part would change nothing.*entries of a s'),
    (['roads', '--suite', 'suite.yaml', '--camera-height', '2'], 'the model, --camera-height'),
    (['--data', 'data.yaml', '--look', 'roads', '--seeds', '20000:20002'], '--seeds, --look wou'),
    (['--calibrate', '--look', 'roads'], '--look would change nothing where --calibrate is given'),
    (['--objects', '--record'], '--record would change nothing where --objects is given'),
    (['--bag', 'drive', '--max-gap', '1'], '--max-gap would change nothing where --bag is'),
    (['--part', 'train'], 'where a model is evaluated on streets')])
def test_an_argument_that_would_change_nothing_is_refused(words, message, capsys):
    assert cli.main(['evaluate', *words]) == 2
    assert re.search(message, capsys.readouterr().err)
