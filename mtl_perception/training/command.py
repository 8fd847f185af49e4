# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl train``: render what is to be learned from, train, export."""

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

import cv2
import torch

from mtl_perception.errors import CheckpointError, ConfigurationError
from mtl_perception.training.checkpoint import CheckpointFolder, read_checkpoint
from mtl_perception.training.config import TrainingConfig, load_config, to_plain, to_yaml
from mtl_perception.training.export import export
from mtl_perception.training.loop import Trainer
from mtl_perception.training.sources import (
    anchors_of,
    camera_of,
    check_network,
    class_weights,
    data_words,
    open_clips,
    street_code_of,
    tasks_of,
)
from mtl_perception.training.stopping import STOPPED, StopRequest, exclusive
from mtl_perception.training.validation import merit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``mtl train``."""
    _add_options(parser)
    parser.add_argument('recipe', metavar='RECIPE.yaml', help='such as config/train/street.yaml')
    parser.add_argument(
        'overrides', nargs=argparse.REMAINDER, metavar='--KEY VALUE',
        help='settings that replace those of the recipe, such as --optimiser.lr 0.5')
    parser.epilog = 'Exit codes: 75 stopped by a signal with a checkpoint saved, 6 not a number.'


def _add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what may stand before or after the recipe."""
    parser.add_argument('--print-config', action='store_true', help='show all settings and exit')
    parser.add_argument('--resume', action='store_true', help='go on from the last checkpoint')
    parser.add_argument(
        '--force', action='store_true', help='resume although the recipe has changed')
    parser.add_argument(
        '--render-only', action='store_true', help='render the clips and exit')
    parser.add_argument(
        '--export', metavar='NAME.safetensors', type=Path,
        help='write the model of the last training again and exit')
    parser.add_argument(
        '--export-precision', choices=('fp16', 'fp32'), default='fp16',
        help='how weights are stored (default: fp16, half the size)')


def run(arguments: argparse.Namespace) -> int:
    """
    Run ``mtl train``.

    :return: 0, or 75 if a signal stopped it and a checkpoint is saved.
    """
    options = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    _add_options(options)
    late, overrides = options.parse_known_args(arguments.overrides)
    for name, value in vars(late).items():
        if value != options.get_default(name):
            setattr(arguments, name, value)
    config = load_config(arguments.recipe, overrides)
    check_network(config)
    if arguments.print_config:
        print(to_yaml(config), end='')
        return 0
    command = shlex.join(['mtl', 'train', arguments.recipe, *without_folders(overrides)])
    folder = Path(config.output) / config.name
    if arguments.export:
        _export(config, folder, arguments.export, command, arguments.export_precision)
        return 0
    if arguments.render_only:
        with StopRequest() as stop:
            return 0 if open_clips(config, config.data.street_code, stop) else STOPPED
    with exclusive(folder):
        return _train(config, folder, arguments, command)


def without_folders(overrides: list[str]) -> list[str]:
    """Return overrides without folders, which mean nothing on another machine."""
    kept, words = [], iter(overrides)
    for word in words:
        if word in ('--output', '--data.cache'):
            next(words, None)
        elif not word.startswith(('--output=', '--data.cache=')):
            kept.append(word)
    return kept


def _train(
        config: TrainingConfig, folder: Path, arguments: argparse.Namespace,
        command: str) -> int:
    """Train from the start or the last checkpoint to the end, then export."""
    state = CheckpointFolder(folder / 'checkpoints').load_newest()
    if state is not None and not arguments.resume:
        raise ConfigurationError(
            f'{folder} holds a training already; go on with --resume, choose another --name, or '
            'remove the folder')
    if state is not None and not arguments.force:
        _check_same(config, state['config'])
    if config.run.threads:
        torch.set_num_threads(config.run.threads)
        cv2.setNumThreads(config.run.threads)
    if state is not None and state['threads'] != torch.get_num_threads():
        print(f'warning: trained with {state["threads"]} threads so far, now with '
              f'{torch.get_num_threads()}; the last bits of the numbers will differ',
              file=sys.stderr)
    code = state['notes']['street_code'] if state is not None else config.data.street_code
    with StopRequest() as stop:  # one for both, or a signal between them would be lost
        both = open_clips(config, code, stop)
        if both is None:
            return STOPPED
        train, validation = both
        (folder / 'config.yaml').write_text(to_yaml(config), encoding='utf-8')
        tasks = tasks_of(config)
        weights = None
        if config.loss.class_balance != 0:
            weights = class_weights(train, tasks, config.loss.class_balance)
        trainer = Trainer(
            config, folder, tasks, train, validation, weights,
            {'street_code': street_code_of(train), 'anchors': anchors_of(config, train),
             'camera': camera_of(config, train)}, command)
        if state is not None:
            trainer.load_state(state)
            print(f'resuming after step {trainer.progress.step}')
        if not trainer.run(stop):
            return STOPPED
    _export(
        config, folder, folder / f'{config.name}.safetensors', command,
        arguments.export_precision)
    return 0


def _check_same(config: TrainingConfig, before: dict[str, Any]) -> None:
    """Refuse to resume under a recipe that would learn something else."""
    now = to_plain(config)
    changes = [
        f'{key}: {old} -> {new}' for key, old, new in _differences(before, now)
        if not key.startswith((
            'run.', 'data.workers', 'data.loaders', 'data.cache', 'data.street_code', 'output'))]
    if changes:
        raise ConfigurationError(
            'the recipe has changed since the checkpoint: ' + '; '.join(changes)
            + '. Use --force to go on with the new one, or another --name to start afresh')


def _differences(
        old: dict[str, Any], new: dict[str, Any], prefix: str = '') -> list[tuple[str, Any, Any]]:
    """Return (path, old value, new value) of what differs; what was missing counts as empty."""
    found: list[tuple[str, Any, Any]] = []
    for key in dict.fromkeys([*old, *new]):
        one, other = old.get(key), new.get(key)
        if isinstance(one, dict | None) and isinstance(other, dict):
            found += _differences(one or {}, other, f'{prefix}{key}.')
        elif one != other:
            found.append((f'{prefix}{key}', one, other))
    return found


def _export(
        config: TrainingConfig, folder: Path, path: Path, command: str, precision: str) -> None:
    """Export the best weights of the last stage, or the newest if there are none."""
    checkpoints = CheckpointFolder(folder / 'checkpoints')
    state = checkpoints.load_newest()
    if state is None:
        raise CheckpointError(f'{checkpoints.folder} has no checkpoint; train first', 'M01')
    if checkpoints.best.exists():
        best = read_checkpoint(checkpoints.best)
        if best['progress']['stage'] == state['progress']['stage']:
            state = best
    figures = state.get('validation') or {}
    metrics = {}
    if figures:
        metrics = {'validation': {
            'data': data_words(config, 'validation'), **figures, 'merit': merit(figures)}}
    manifest = export(
        state, config, tasks_of(config), path, command, precision == 'fp16', metrics)
    size = path.stat().st_size / 1e6
    print(f'exported step {state["progress"]["step"]} to {path} ({size:.1f} MB, sha256 '
          f'{manifest.sha256[:12]}...)')
