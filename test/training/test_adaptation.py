# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl adapt``: a model learns from a folder of images without labels."""

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from tiny_training import STREET_RECIPE, GreyStreet

from mtl_perception import cli, synthetic
from mtl_perception.commands.adapt import _picture
from mtl_perception.errors import CheckpointError
from mtl_perception.evaluation.pictures import LINE
from mtl_perception.inference.torch_engine import TorchEngine
from mtl_perception.manifest import read_model
from mtl_perception.postprocessing import colourise_depth
from mtl_perception.tasks import STREET_SEMANTIC
from mtl_perception.training import adaptation, depth_change
from mtl_perception.training.adaptation import AdaptationSettings, recipe_of
from mtl_perception.training.drive_depth import DriveDepth

RECIPE = STREET_RECIPE + """
network: {encoder: resnet10}
stages: [{height: 32, width: 64, steps: 3, batch: 2}]
"""


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """Return a folder with a model that was trained on grey streets, its clips, and a drive."""
    folder = tmp_path_factory.mktemp('adapt')
    (folder / 'tiny.yaml').write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(synthetic, 'Street', GreyStreet)
        assert cli.main(['train', 'tiny.yaml', '--data.cache', str(folder / 'cache')]) == 0

    (folder / 'drive').mkdir()
    for number in range(20):
        image = GreyStreet(3, 64, 32, 10, True).render(5 * number).image
        dimmed = image // (1 + number % 2)
        cv2.imwrite(str(folder / f'drive/{number}.png'), cv2.resize(dimmed, (96, 48)))
    return folder


@pytest.fixture
def model(trained):
    return trained / 'runs/tiny/tiny.safetensors'


@pytest.fixture
def adapt(trained, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*words):
        return cli.main([
            'adapt', str(model), str(trained / 'drive'), '--steps', '3', '--threads', '1',
            '--cache', str(trained / 'cache'), *words])

    return run


def columns_of(path):
    """Return the number of columns of a picture of two rows; each has a heading of its own."""
    picture = cv2.imread(str(path))
    assert picture.shape[0] == LINE + 2 * 32
    heads = np.split(picture[:LINE], picture.shape[1] // 64, 1)
    assert all(head.max() > 200 > 50 > np.median(head) for head in heads)
    return len(heads)


def test_an_adapted_model_is_a_model_of_its_own(adapt, model, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(adaptation, 'STEADY', 0.0)
    monkeypatch.setattr(adaptation, '_faults', lambda *_: [])
    before = model.read_bytes()
    assert adapt() == 0

    folder = tmp_path / 'runs/tiny_adapted'
    manifest, content = read_model(folder / 'tiny_adapted.safetensors')
    assert content != before == model.read_bytes()
    assert manifest.tasks == read_model(model)[0].tasks
    said = manifest.training['adapted']
    assert said['from'] == 'tiny'
    assert said['sha256'] == read_model(model)[0].sha256
    assert (said['drive'], said['images'], said['steps']) == ('drive', 20, 3)
    assert str(tmp_path) not in json.dumps(manifest.training)

    # It runs, and what was found out is printed, written and drawn.
    TorchEngine.load(folder / 'tiny_adapted.safetensors', 'cpu', threads=1)
    text = (folder / 'adaptation.md').read_text()
    assert 'consistency on the end of the drive' in text
    assert text in capsys.readouterr().out
    assert 'Only semantics were adapted' in text
    assert '--rate' in text
    assert columns_of(folder / 'adaptation.png') == 3


def test_depth_that_the_drive_shows_is_learned(adapt, tmp_path, monkeypatch):
    monkeypatch.setattr(adaptation, 'STEADY', 0.0)
    monkeypatch.setattr(adaptation, '_faults', lambda *_: [])
    monkeypatch.setattr(depth_change.DepthChange, 'faults', lambda self: [])
    films = []

    def found(film, numbers, answer, classes):
        films.append(film)
        return DriveDepth({number: answer(number)[1] for number in numbers}, 0.4, 1.1, 'height')

    monkeypatch.setattr(depth_change, 'find_depth', found)
    assert adapt('--rate', '10', '--focal-length', '90', '--camera-height', '1.5') == 0
    (film,) = films
    assert film.is_consecutive
    assert film.height_m == 1.5
    assert (len(film.greys), film.greys[0].shape) == (20, (48, 96))

    folder = tmp_path / 'runs/tiny_adapted'
    text = (folder / 'adaptation.md').read_text()
    assert 'Depth was adapted to 18 images, of which other frames showed 40%' in text
    assert 'photometric error' in text
    assert columns_of(folder / 'adaptation.png') == 5
    manifest, _ = read_model(folder / 'tiny_adapted.safetensors')
    assert manifest.training['adapted']['depth'] == '18 images, scale of the height'


def test_worse_depth_is_a_fault():
    depth = [np.full((4, 4), 10, np.float32)]
    found = DriveDepth({0: depth[0]}, factor=1.1)
    good = depth_change.DepthChange(found, depth, [depth[0] * 1.1], 0.1, 0.09)
    assert good.drift == pytest.approx(1)
    assert good.faults() == []
    worse = depth_change.DepthChange(found, depth, [depth[0] * 1.5], 0.1, 0.12)
    assert 'explains the drive worse' in worse.faults()[0]
    assert 'drifted by a factor of 1.36' in worse.faults()[1]


def test_the_number_of_threads_may_be_left_to_the_libraries(adapt, monkeypatch):
    monkeypatch.setattr(adaptation, 'open_clips', lambda *_: None)  # as if a signal had come
    assert adapt('--threads', '0') == 75


@pytest.mark.parametrize('option', ['--rate', '--focal-length', '--camera-height'])
def test_numbers_that_no_camera_has_are_refused(adapt, option, capsys):
    assert adapt(option, '-1') == 2
    assert option in capsys.readouterr().err


def test_a_model_that_is_worse_is_not_handed_over(adapt, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(adaptation, 'STEADY', 0.0)
    monkeypatch.setattr(adaptation, 'MAX_LOSS', -2.0)
    assert adapt() == 1
    assert 'declined' in capsys.readouterr().out
    folder = tmp_path / 'runs/tiny_adapted'
    assert not list(folder.glob('*.safetensors'))
    assert list((folder / 'checkpoints').glob('*.ckpt'))  # the work is kept

    # It is that of this drive: another camera is another adaptation.
    assert adapt('--rate', '10', '--camera-height', '2.08') == 2
    assert 'another --name' in capsys.readouterr().err


def test_a_model_that_contradicts_itself_is_declined_before_the_work(adapt, capsys, monkeypatch):
    monkeypatch.setattr(adaptation, 'STEADY', 1.1)
    assert adapt() == 3
    assert 'contradicts itself' in capsys.readouterr().err


def test_a_second_adaptation_needs_another_name(adapt, tmp_path, capsys):
    folder = tmp_path / 'runs/tiny_adapted'
    folder.mkdir(parents=True)
    (folder / 'tiny_adapted.safetensors').touch()
    assert adapt() == 2
    assert 'another --name' in capsys.readouterr().err


def test_the_recipe_of_a_model_is_replayed_at_its_size(model, tmp_path):
    manifest, _ = read_model(model)
    config = recipe_of(manifest, 'x', tmp_path / 'new', AdaptationSettings(steps=7), 'cache')
    assert (config.name, config.network.start, config.data.train_seeds) == ('new', 'x', '0:3')
    (stage,) = config.stages
    assert (stage.height, stage.width, stage.steps) == (32, 64, 7)
    assert config.loss.feature_distance > 0  # near the features that the model has


def test_a_model_without_a_recipe_is_refused(tiny_model, tmp_path):
    manifest, _ = read_model(tiny_model)
    with pytest.raises(CheckpointError, match='no recipe'):
        recipe_of(manifest, 'x', tmp_path, AdaptationSettings(), 'cache')


def test_what_counts_as_worse():
    """Consistency, the own validation data and the classes are each compared."""
    task = type('Task', (), {'classes': ('road', 'car')})
    manifest = type('Manifest', (), {'task': lambda self, name: task})()
    half = np.repeat([0, 1], 50).astype(np.uint8)[None, None]
    before = adaptation.SelfCheck(half, 0.9, 0.8)
    assert adaptation._faults(manifest, before, before, 0.05) == []

    unsteady = adaptation.SelfCheck(half, 0.9, 0.7)
    gone = adaptation.SelfCheck(np.zeros_like(half), 0.9, 0.8)
    assert 'contradicts itself more' in adaptation._faults(manifest, before, unsteady, 0)[0]
    assert 'own validation data' in adaptation._faults(manifest, before, before, 0.2)[0]
    assert 'car has vanished' in adaptation._faults(manifest, before, gone, 0)[0]

    few = np.repeat([0, 1], [98, 2]).astype(np.uint8)[None, None]
    more = np.repeat([0, 1], [92, 8]).astype(np.uint8)[None, None]
    spread = adaptation._faults(
        manifest, adaptation.SelfCheck(few, 0.9, 0.8), adaptation.SelfCheck(more, 0.9, 0.8), 0)
    assert spread == ['car has spread: 2.0% -> 8.0% of the pixels']


def test_the_picture_of_an_adaptation_shows_the_sky_as_far_as_predict_does():
    task = STREET_SEMANTIC
    classes = np.array([[[task.sky, 0]]], np.uint8)
    depth = [np.full((1, 2), 3.0, np.float32)]
    check = SimpleNamespace(classes=classes)
    done = SimpleNamespace(
        held_out=[np.zeros((1, 2, 3), np.uint8)], before=check, after=check,
        depth=SimpleNamespace(before=depth, after=depth))
    found = _picture(done, task)[LINE].reshape(5, 2, 3)

    wanted = colourise_depth(np.array([[np.inf, 3.0]], np.float32))[0]
    np.testing.assert_array_equal(found[3:], [wanted, wanted])
