# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl train`` from the command line to the exported model, on a street of grey boxes."""

import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import safetensors.torch
import torch
from tiny_training import STREET_RECIPE, GreyStreet

from mtl_perception import __version__, cli, synthetic
from mtl_perception.datasets.synthetic import StreetClips
from mtl_perception.errors import CheckpointError
from mtl_perception.inference.torch_engine import TorchEngine
from mtl_perception.inference.weights import load_network
from mtl_perception.manifest import NetworkSpec, read_model
from mtl_perception.models.build import build_network
from mtl_perception.training.data_sources import class_weights
from mtl_perception.training.export import verify
from mtl_perception.training.trainer import Trainer

RECIPE = STREET_RECIPE + """
stages:
  - {height: 32, width: 32, steps: 3, batch: 2}
  - {height: 32, width: 64, steps: 3, batch: 2}
run: {log_every: 2, validate_every: 100, checkpoint_every: 2}
"""


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Return ``mtl train`` in a folder of its own, as a function of further words."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(synthetic, 'Street', GreyStreet)
    (tmp_path / 'tiny.yaml').write_text(RECIPE)

    def run(*words, before=()):
        return cli.main(
            ['train', *before, 'tiny.yaml', '--data.cache', str(tmp_path / 'cache'), *words])

    return run


@pytest.fixture
def stop_after_two_steps(monkeypatch):
    original = Trainer.step

    def step(self, batch, stage):
        if self.progress.step == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, batch, stage)

    monkeypatch.setattr(Trainer, 'step', step)


def test_a_training_exports_a_valid_model(train, tmp_path, capsys):
    assert train('--seed', '3') == 0

    manifest, content = read_model(tmp_path / 'runs' / 'tiny' / 'tiny.safetensors')
    assert (manifest.height, manifest.width, manifest.focal_px) == (32, 64, 0.6 * 64)
    assert [task.name for task in manifest.tasks] == ['semantic', 'depth', 'motion']
    assert manifest.training['steps'] == 6
    assert manifest.training['version'] == __version__
    assert manifest.training['recipe']['stages'][1]['width'] == 64
    assert manifest.command == 'mtl train tiny.yaml --seed 3'
    assert str(tmp_path) not in manifest.to_json()
    assert manifest.metrics['validation']['data'] == 'synthetic street, seeds 10000:10001'

    weights = safetensors.torch.load(content)
    assert weights['encoder.conv1.weight'].dtype == torch.float16
    assert weights['encoder.bn1.running_var'].dtype == torch.float32

    build_network(manifest.network).load_state_dict(weights)  # strict
    assert len(content) < 12e6
    assert 'exported step 6' in capsys.readouterr().out

    folder = tmp_path / 'runs' / 'tiny'
    text = (folder / 'README.md').read_text()
    assert 'State: **finished after step 6**' in text
    assert 'mtl train tiny.yaml --seed 3' in text
    assert f'mtl_perception {__version__}' in text

    rows = [line.split('|')[1].strip() for line in text.splitlines() if line[:2] == '| ']
    assert [row for row in rows if row.isdigit()] == ['3', '6']  # the end of each stage

    for step, width in ((3, 32), (6, 64)):  # two clips, predictions above the truth; 4 columns
        picture = cv2.imread(str(folder / 'pictures' / f'step_{step:08d}.png'))
        assert picture.shape == (2 * 2 * 32, 4 * width, 3)
    assert cli.main(['plot', str(folder), '--output', str(tmp_path / 'curves.png')]) == 0
    assert cv2.imread(str(tmp_path / 'curves.png')).std() > 5


def test_a_signal_stops_rendering_with_75_and_the_same_command_resumes(
        train, capsys, monkeypatch):
    original, seen = StreetClips.render, []

    def render(self, workers):
        for seed in original(self, workers):
            seen.append(seed)
            if len(seen) == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            yield seed

    monkeypatch.setattr(StreetClips, 'render', render)

    assert train('--render-only') == 75
    assert 'SIGTERM: stopped after 2 of 3 seeds' in capsys.readouterr().out
    assert train('--render-only') == 0
    assert sorted(seen) == [0, 1, 2, 10000]


@pytest.mark.slow
def test_a_signal_to_all_processes_keeps_what_they_have_rendered(tmp_path):
    (tmp_path / 'tiny.yaml').write_text(RECIPE)
    training = subprocess.Popen(
        [sys.executable, '-m', 'mtl_perception.cli', 'train', str(tmp_path / 'tiny.yaml'),
         '--render-only', '--data.workers', '2', '--data.train_seeds', '0:99', '--data.cache',
         str(tmp_path / 'cache')],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    until = time.monotonic() + 60
    while time.monotonic() < until and not list((tmp_path / 'cache').glob('*/seed_*')):
        time.sleep(0.02)
    os.killpg(training.pid, signal.SIGTERM)
    said, errors = training.communicate(timeout=60)

    assert (training.returncode, errors.strip()) == (75, '')
    assert 'SIGTERM: stopped after ' in said
    assert 1 <= len(list((tmp_path / 'cache').glob('*/seed_*'))) < 99


@pytest.mark.parametrize('words', [
    ['--network.encoder=mobilenet_v2', '--network.aggregation=sum', '--network.pyramid=8'],
    ['--network.frames=1', '--network.output_stride=8', '--network.finest_stride=8',
     '--network.aspp=8', '--network.decoders={semantic: two_layer, depth: two_layer}',
     '--tasks=[semantic, depth]', '--weighting=uncertainty'],
    ['--network.frames=1', '--network.finest_stride=2', '--network.decoders.depth=unet',
     '--tasks=[semantic, depth]', '--weighting=gradnorm'],
    ['--network.sharing=cross_stitch'],
    ['--network.sharing=mtan', '--network.pyramid=16', '--weighting=gradnorm']],
    ids=['mobile', 'aspp', 'unet', 'cross-stitch', 'mtan'])
def test_a_network_of_other_parts_is_trained_and_runs(train, tmp_path, words):
    stages = '--stages=[{height: 32, width: 64, steps: 1, batch: 2}]'
    assert train(stages, '--data.train_seeds=0:1', *words) == 0

    model = tmp_path / 'runs' / 'tiny' / 'tiny.safetensors'
    engine = TorchEngine.load(model, device='cpu', threads=1)
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 64, 3), np.uint8)
    _, state = engine.step(images[0])
    outputs, _ = engine.step(images[1], state)
    assert outputs.semantic.shape == (32, 64)

    # the stream gives what the network makes of both frames at once
    manifest, network = load_network(model)
    pixels = torch.from_numpy((images - np.float32(manifest.mean)) / np.float32(manifest.std))
    frames = pixels.permute(0, 3, 1, 2).unsqueeze(1).flip(0)[:manifest.network.frames]
    with torch.inference_mode():
        wanted = network.eval()(*frames)['depth'][0, 0].exp()
    np.testing.assert_allclose(outputs.depth, wanted, rtol=1e-3)


@pytest.mark.usefixtures('small_network', 'stop_after_two_steps')
def test_a_signal_stops_with_75_and_resume_goes_on(train, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr('mtl_perception.training.run.export_run', lambda *arguments: None)
    assert train() == 75
    assert 'SIGTERM: stopped after step 2' in capsys.readouterr().out
    assert 'stopped after step 2, not finished' in (
        tmp_path / 'runs' / 'tiny' / 'README.md').read_text()
    assert train() == 2
    assert 'go on with --resume' in capsys.readouterr().err
    assert train('--resume', '--optimiser.clip_norm', '1') == 2
    assert 'optimiser.clip_norm: 5.0 -> 1.0' in capsys.readouterr().err
    assert train('--resume', '--run.log_every', '1') == 0  # how it is watched may change
    assert 'resuming after step 2' in capsys.readouterr().out

    lines = (tmp_path / 'runs' / 'tiny' / 'metrics.jsonl').read_text().splitlines()
    assert json.loads(lines[-1])['step'] == 6


@pytest.mark.usefixtures('small_network')
def test_a_signal_between_rendering_and_training_is_not_lost(train, monkeypatch, capsys):
    def signalled(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)

    previous = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # outside, it would end the tests
    try:
        monkeypatch.setattr('mtl_perception.training.run.class_weights', signalled)
        assert train() == 75
    finally:
        signal.signal(signal.SIGTERM, previous)

    assert 'SIGTERM: stopped after step 1' in capsys.readouterr().out


@pytest.mark.usefixtures('small_network', 'stop_after_two_steps')
def test_a_changed_recipe_is_accepted_with_force_before_or_after_the_recipe(train, monkeypatch):
    monkeypatch.setattr('mtl_perception.training.run.export_run', lambda *arguments: None)
    assert train() == 75
    assert train('--optimiser.clip_norm', '1', before=['--resume', '--force']) == 0


def test_the_settings_can_be_printed_without_training(train, tmp_path, capsys):
    assert train('--print-config', '--seed', '5') == 0
    assert 'seed: 5' in capsys.readouterr().out
    assert not (tmp_path / 'runs').exists()


def test_clips_can_be_rendered_without_training(train, tmp_path):
    assert train('--render-only') == 0
    assert len(list((tmp_path / 'cache').glob('*/seed_*'))) == 4
    assert not (tmp_path / 'runs').exists()


@pytest.mark.parametrize(('words', 'code', 'message'), [
    (['--optimizer.clip_norm', '1'], 2, "did you mean 'optimiser'"),
    (['--weighting', 'geometrik'], 2, "did you mean 'geometric'"),
    (['--data.train_seeds', '9999:10001'], 2, 'is not for train'),
    (['--tasks', '[semantic, flow]'], 2, "tasks[1] is 'flow'; did you mean"),
    (['--tasks', '[depth, depth]'], 2, 'each only once'),
    (['--tasks', '[]'], 2, 'at least 1 item'),
    (['--network.encoder', 'resnet-10'], 2, "did you mean 'resnet10'"),
    (['--network.std', '[1, 0, 1]'], 2, 'network.std[1] is 0; it must be greater than 0'),
    (['--data.window', '-1'], 2, 'data.window is -1'),
    (['--data.plan.clips', '0'], 2, 'data.plan.clips is 0'),
    (['--data.plan.gaps', '[]'], 2, 'data.plan.gaps'),
    (['--data.plan.drive', '4'], 2, 'plan.drive is 4; it must be at least 5 frames'),
    (['--optimiser.average', '1'], 2, 'optimiser.average is 1; it must be less than 1'),
    (['--optimiser.betas', '[0.9, 1]'], 2, 'optimiser.betas[1] is 1'),
    (['--optimiser.clip_norm', '-1'], 2, 'optimiser.clip_norm is -1'),
    (['--loss.moving_weight', '0'], 2, 'loss.moving_weight is 0;'),
    (['--run.log_every', '0'], 2, 'run.log_every is 0; it must be greater than 0'),
    (['--run.validate_every', '0'], 2, 'run.validate_every is 0'),
    (['--run.threads', '-1'], 2, 'run.threads is -1'),
    (['--run.device', 'cuda'], 7, 'finds no CUDA'),
    (['--run.device', 'gpu'], 2, "run.device is 'gpu'"),
    (['--precision', 'fp16', '--weighting', 'gradnorm'], 2, 'overflow in fp16'),
    (['--optimiser.accumulate', '3'], 2, 'into optimiser.accumulate = 3 equal parts'),
    (['--network.sharing', 'cross_stitch', '--weighting', 'gradnorm'], 2, 'reads its own'),
    (['--network.sharing', 'cross_stitch', '--network.pyramid', '8'], 2, 'set both to 0'),
    (['--network.sharing', 'mtan', '--loss.detached', '[motion]'], 2, 'set loss.detached to []'),
    (['--network.frozen', '[encodr]'], 2, "'encodr', but the network has no such part"),
    (['--network.frozen', '[encoder]', '--weighting', 'gradnorm'], 2, 'freezes it'),
    (['--network.start', 'typo.safetensors'], 4, 'typo.safetensors does not exist'),
    (['--network.pretrained', 'typo.pth'], 4, 'typo.pth'),
    (['--data.validation_seeds', '20000:20001'], 2, 'seed 20000 is not for validation'),
    (['--data.on_bad_sample', 'ignore'], 2, 'data.on_bad_sample'),
    (['--data.street_code', '0123456789'], 3, 'not the present one'),
])
def test_errors_name_the_cause_and_set_the_exit_code(
        train, tmp_path, capsys, words, code, message):
    assert train(*words) == code
    assert message in capsys.readouterr().err
    if message != 'freezes it':  # which needs the whole network
        assert not list((tmp_path / 'cache').glob('*/seed_*'))  # before anything is rendered


def test_class_weights_are_counted_in_the_clips(boxes):
    tasks = (SimpleNamespace(name='semantic', classes=('a',) * 12),)
    weights = class_weights(boxes, tasks, 0.5)
    # ground, sky and car are there, the sky (20 of 64 rows) is the median of the three
    assert weights[11] == pytest.approx(1.0)
    assert weights[0] < 1.0 < weights[8]
    assert weights[3] == 1.0


def test_an_export_that_answers_differently_is_refused():
    spec = NetworkSpec('resnet10', 2, 4, {'semantic': 12, 'depth': 1})
    trained = build_network(spec).state_dict()
    verify(spec, trained, {name: item.clone() for name, item in trained.items()}, 32, 32)
    other = build_network(spec).state_dict()

    with pytest.raises(CheckpointError, match='answer differently'):
        verify(spec, trained, other, 32, 32)


def test_a_checkpoint_can_be_exported_later(train, tmp_path, capsys):
    assert train() == 0

    run = tmp_path / 'runs' / 'tiny'
    assert cli.main(['export', str(run), '--into', str(tmp_path / 'again.safetensors')]) == 0

    _, first = read_model(run / 'tiny.safetensors')
    manifest, again = read_model(tmp_path / 'again.safetensors')
    assert first == again
    assert manifest.command == 'mtl train tiny.yaml'
    assert manifest.metrics['validation']['merit'] > 0

    newest = run / 'checkpoints' / 'step_00000006.ckpt'
    assert cli.main(['export', str(newest), '--precision', 'fp32']) == 0

    _, content = read_model(run / 'tiny_step_00000006.safetensors')
    assert {item.dtype for item in safetensors.torch.load(content).values()} == {
        torch.float32, torch.int64}
    assert 'exported step 6' in capsys.readouterr().out


@pytest.mark.parametrize(('words', 'code', 'message'), [
    (['.'], 4, 'has no checkpoint'), (['nothing.ckpt'], 4, 'cannot be read'),
    (['tiny.yaml'], 4, 'not a checkpoint'),
    (['.', '--into', 'model.pt'], 2, 'must end in .safetensors')])
def test_what_cannot_be_exported_is_refused(train, capsys, words, code, message):
    assert cli.main(['export', *words]) == code
    assert message in capsys.readouterr().err


@pytest.mark.usefixtures('small_network')
def test_what_cannot_be_opened_is_named_and_no_full_disk(train, tmp_path, capsys):
    (tmp_path / 'runs' / 'tiny' / 'metrics.jsonl').mkdir(parents=True)
    assert train() == 5
    said = capsys.readouterr().err
    assert 'metrics.jsonl: failed (Is a directory)' in said
    assert 'space' not in said
