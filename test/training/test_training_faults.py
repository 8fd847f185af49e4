# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What goes wrong in a training, through the commands: exit code, message, and what is left."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from mtl_perception import cli

COUNT = 6


def encoded(image, suffix):
    return cv2.imencode(suffix, image)[1].tobytes()


@pytest.fixture
def data(tmp_path):
    """Write images and masks of 64x96, six to learn from and two to choose by."""
    random = np.random.default_rng(0)
    for split, count in (('train', COUNT), ('val', 2)):
        for number in range(count):
            for kind in ('images', 'masks'):
                (tmp_path / kind / split).mkdir(parents=True, exist_ok=True)
            image = random.integers(0, 256, (64, 96, 3), np.uint8)
            (tmp_path / f'images/{split}/{number}.png').write_bytes(encoded(image, '.png'))
            mask = (image[..., 0] > 128).astype(np.uint8)
            (tmp_path / f'masks/{split}/{number}.png').write_bytes(encoded(mask, '.png'))
    (tmp_path / 'dataset.yaml').write_text(yaml.safe_dump({
        'images': 'images/{split}', 'semantic': 'masks/{split}/{name}.png',
        'classes': {'dark': [0, 0, 0], 'bright': [255, 255, 255]}}))
    return tmp_path


@pytest.fixture
def recipe(data):
    """Return the recipe of a training of six steps."""
    path = data / 'recipe.yaml'
    path.write_text(yaml.safe_dump({
        'name': 'tiny', 'output': str(data / 'runs'), 'tasks': ['semantic'], 'weighting': 'equal',
        'network': {'encoder': 'resnet10', 'frames': 1, 'finest_stride': 8},
        'loss': {'class_balance': 0.0},
        'data': {part: {'dataset': 'folder', 'root': str(data), 'split': split}
                 for part, split in (('train', 'train'), ('validation', 'val'))},
        'stages': [{'height': 64, 'width': 96, 'steps': 6, 'batch': 2, 'lr': 1e-3}],
        'run': {'log_every': 1, 'checkpoint_every': 2}}))
    return path


def train(recipe, *words):
    return cli.main(['train', str(recipe), *words])


def started(recipe, *words):
    """Return a process that trains, after its first steps, and what it has said."""
    process = subprocess.Popen(
        [sys.executable, '-u', '-m', 'mtl_perception.cli', 'train', str(recipe), *words],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, 'OMP_NUM_THREADS': '1'}, start_new_session=True)
    said = []
    for line in process.stdout:
        said.append(line)
        if line.startswith('step 3/'):
            return process, said
    raise AssertionError(''.join(said))


MANY = ('--stages', '[{height: 64, width: 96, steps: 100000, batch: 2}]')


def test_a_training_that_nothing_is_wrong_with(recipe, data):
    """The control of all that follow."""
    assert train(recipe) == 0
    assert (data / 'runs/tiny/tiny.safetensors').is_file()
    assert cli.main(['data', 'check', str(recipe), '--mosaic', str(data / 'mosaic.png')]) == 0


def test_a_loss_that_is_no_number_ends_it_and_keeps_no_such_weights(recipe, data, capsys):
    assert train(recipe, *MANY, '--optimiser.lr', '1e30', '--optimiser.clip_norm', '1e30',
                 '--optimiser.warm_up', '0', '--optimiser.kind', 'sgd') == 6

    said = capsys.readouterr().err
    assert 'not finite in 4 steps in a row' in said
    assert 'not_finite.json' in said
    assert 'first_draw' in (data / 'runs/tiny/not_finite.json').read_text()


def test_unreadable_validation_images_are_reported_before_the_first_step(
        recipe, data, capsys):
    for file in (data / 'masks/val').iterdir():
        file.unlink()
    assert train(recipe) == 3

    said = capsys.readouterr()
    assert str(data / 'masks/val') in said.err
    assert 'step 1/' not in said.out


@pytest.mark.parametrize(('path', 'content', 'words'), [
    ('images/train/3.png', b'not an image', '3.png'),
    ('images/train/3.png', None, '3.png'),  # cut short
    ('masks/train/3.png', 'missing', '3.png'),
    ('masks/train/3.png', np.full((64, 96), 77, np.uint8), 'label 77'),
    ('masks/train/3.png', np.zeros((32, 96), np.uint8), '32 x 96'),
])
def test_a_bad_file_is_named_by_training_and_check(
        recipe, data, capsys, path, content, words):
    file = data / path
    if isinstance(content, np.ndarray):
        file.write_bytes(encoded(content, '.png'))
    elif content == 'missing':
        file.unlink()
    else:
        file.write_bytes(content or file.read_bytes()[:200])
    for command in (['train', str(recipe)],
                    ['data', 'check', str(recipe), '--mosaic', str(data / 'mosaic.png')]):
        assert cli.main(command) == 3
        said = capsys.readouterr()
        assert path.split('/')[-1] in said.out + said.err
        assert words in said.out + said.err

    skip = '--data.on_bad_sample', 'skip', '--loss.class_balance', '0.5'
    assert train(recipe, '--name', 'skipping', *skip) == 0


@pytest.mark.parametrize('part', ['images', 'masks'])
def test_one_bad_file_of_the_validation_is_left_out_if_asked_for(recipe, data, part):
    first = min((data / part / 'val').iterdir())
    first.write_bytes(b'not an image')
    assert train(recipe, '--name', 'stops') == 3
    skip = '--data.on_bad_sample', 'skip'
    with pytest.warns(UserWarning, match='left out of the validation'):
        assert train(recipe, '--name', 'skipping', *skip) == 0


def test_a_signal_saves_and_a_second_one_leaves_at_once(recipe, data):
    process, _ = started(recipe, *MANY)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)

    assert process.returncode == 75
    assert time.monotonic() - began < 30
    assert 'checkpoint saved; --resume goes on' in said
    assert list((data / 'runs/tiny/checkpoints').glob('*.ckpt'))


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_the_reading_processes_too_saves_and_ends_quietly(recipe, data, number):
    process, _ = started(recipe, *MANY, '--data.loaders', '2')
    children = Path(f'/proc/{process.pid}/task/{process.pid}/children').read_text().split()
    os.killpg(process.pid, number)
    said, _ = process.communicate(timeout=60)

    assert process.returncode == 75, said
    assert 'Traceback' not in said
    stopped = re.search(rf'{number.name}: stopped after step (\d+), checkpoint saved', said)
    assert (data / f'runs/tiny/checkpoints/step_{int(stopped[1]):08d}.ckpt').is_file()
    assert len(children) >= 2
    assert not [child for child in children if Path(f'/proc/{child}').exists()]


def test_a_killed_reading_process_is_named(recipe):
    process, _ = started(recipe, *MANY, '--data.loaders', '1')
    children = Path(f'/proc/{process.pid}/task/{process.pid}/children').read_text().split()
    for child in children:
        os.kill(int(child), signal.SIGKILL)
    said, _ = process.communicate(timeout=150)  # two minutes if the signal of its end is lost

    assert process.returncode == 3, said
    assert 'reading training clips failed some time after draw' in said
    assert any(child in said for child in children), said


@pytest.mark.parametrize(('stage', 'words', 'code'), [
    ('{height: 32, width: 32, steps: 2, batch: 1}', (), 2),
    ('{height: 32, width: 32, steps: 2, batch: 2}', ('--optimiser.accumulate', '2'), 2),
    ('{height: 64, width: 64, steps: 2, batch: 1}', ('--network.aspp', '8'), 2),
    ('{height: 64, width: 96, steps: 2, batch: 1}', (), 0),  # two by three pixels
    ('{height: 32, width: 32, steps: 2, batch: 2}', (), 0),
    ('{height: 32, width: 32, steps: 2, batch: 1}', ('--network.frozen', '[encoder]'), 0),
])
def test_batches_too_small_for_batch_normalisation_are_refused_at_the_start(
        recipe, data, capsys, stage, words, code):
    assert train(recipe, '--stages', f'[{stage}]', *words) == code
    said = capsys.readouterr().err
    assert ('which batch normalisation cannot learn from' in said) == (code == 2)
    assert (data / 'runs/tiny/checkpoints').exists() == (code == 0)


def test_an_empty_data_set_is_refused_and_one_image_is_enough(recipe, data, capsys):
    for number in range(COUNT):
        (data / f'images/train/{number}.png').rename(data / f'{number}.png')
    assert train(recipe) == 3
    assert 'images/train' in capsys.readouterr().err

    (data / '0.png').rename(data / 'images/train/0.png')
    assert train(recipe) == 0


def test_a_second_training_in_the_same_folder_is_refused(recipe, capsys):
    process, _ = started(recipe, *MANY)
    try:
        assert train(recipe, '--resume') == 2
        assert str(process.pid) in capsys.readouterr().err
    finally:
        process.kill()
        process.communicate()


def test_another_recipe_is_refused_and_shown(recipe, capsys):
    assert train(recipe) == 0
    assert train(recipe, '--resume', '--optimiser.weight_decay', '0.5') == 2
    assert 'optimiser.weight_decay: 0.02 -> 0.5' in capsys.readouterr().err


def test_the_same_image_in_both_parts_is_found(recipe, data, capsys):
    content = (data / 'images/train/1.png').read_bytes()
    (data / 'images/val/0.png').write_bytes(content)
    assert cli.main(['data', 'check', str(recipe), '--mosaic', str(data / 'mosaic.png')]) == 3
    said = capsys.readouterr()
    assert 'images/val/0.png' in said.out + said.err


def test_a_wrong_key_is_refused_with_the_nearest_name(recipe, capsys):
    assert train(recipe, '--optimiser.cilp_norm', '1') == 2
    assert "'clip_norm'" in capsys.readouterr().err
