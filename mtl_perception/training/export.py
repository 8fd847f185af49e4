# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From the averaged weights of a training to the two files of a model."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from mtl_perception import __version__
from mtl_perception.errors import CheckpointError, ConfigurationError
from mtl_perception.manifest import Manifest, NetworkSpec, read_model, write_model
from mtl_perception.models.build import build_network, without_transfer
from mtl_perception.reason_codes import ReasonCode
from mtl_perception.tasks import Task
from mtl_perception.training.checkpoint import CheckpointFolder, read_checkpoint
from mtl_perception.training.config import TrainingConfig, from_plain
from mtl_perception.training.data_sources import (
    TrainingCamera,
    camera_of,
    data_words,
    tasks_of,
)
from mtl_perception.training.validation import with_score

PRECISIONS = ('fp16', 'fp32')


def export_run(folder: Path, path: Path, precision: str) -> str:
    """
    Export the best weights of a run's last stage, or the newest if there are none.

    :param folder: of the run.
    :param path: ``NAME.safetensors``.
    :param precision: one of ``PRECISIONS``.
    :return: what was written, in words.
    :raises CheckpointError: if there is no checkpoint, or as :func:`export`.
    :raises StorageError: if a file cannot be written.
    """
    checkpoints = CheckpointFolder(folder / 'checkpoints')
    state = checkpoints.load_newest()
    if state is None:
        raise CheckpointError(
            f'{checkpoints.folder} has no checkpoint; train first', ReasonCode.MODEL_UNREADABLE)
    if checkpoints.best.exists():
        best = read_checkpoint(checkpoints.best)
        if best['progress']['stage'] == state['progress']['stage']:
            state = best
    return export_state(state, path, precision)


def export_state(state: dict[str, Any], path: Path, precision: str) -> str:
    """Export the content of a checkpoint, which holds its recipe."""
    config = from_plain(state['config'])
    metrics = {}
    if found := state.get('validation'):
        metrics = {'validation': {
            'data': data_words(config, 'validation'), **with_score(found)}}
    manifest = export(
        state, config, tasks_of(config), path, state.get('command', ''),
        precision == PRECISIONS[0], metrics)
    return (f'exported step {state["progress"]["step"]} to {path} '
            f'({path.stat().st_size / 1e6:.1f} MB, sha256 {manifest.sha256[:12]}...)')


def export_average(source: str | Path, other: str | Path, share: float, path: Path) -> str:
    """
    Export the mean of the weights of two models of one network, one trained on from the other.

    Along the line between them the error is often lower than at both ends (Wortsman et al., 2022),
    which weights of two trainings with different beginnings do not have.

    :param source: name or path of the model that was trained on; its manifest is taken over, but
        for what was measured.
    :param other: name or path of the model that it began with.
    :param share: of ``source``'s weights, 0 to 1.
    :param path: ``NAME.safetensors``.
    :return: what was written, in words.
    :raises ConfigurationError: if the share is none.
    :raises CheckpointError: if a model cannot be read, or the networks differ.
    :raises StorageError: if a file cannot be written.
    """
    if not 0 <= share <= 1:
        raise ConfigurationError(f'--share is {share}; it must be 0 to 1')
    manifest, content = read_model(source)
    begun, begun_content = read_model(other)

    # A motion head is a file of its own: its task is not one of the network's.
    manifest, begun = (replace(one, motion_head='', tasks=tuple(
        task for task in one.tasks if task.name in one.network.channels))
        for one in (manifest, begun))
    same = ('network', 'tasks', 'mean', 'std')
    if different := [key for key in same if getattr(manifest, key) != getattr(begun, key)]:
        raise CheckpointError(
            f'{source} and {other} differ in {", ".join(different)}; weights are averaged of a '
            'network and the one that its training began with')

    weights, others = safetensors.torch.load(content), safetensors.torch.load(begun_content)
    mean = {
        key: (share * tensor.float() + (1 - share) * others[key].float()).to(tensor.dtype)
        if tensor.is_floating_point() else tensor for key, tensor in weights.items()}
    notes = {**manifest.training, 'average': {'with': begun.sha256, 'share': share}}
    written = write_model(
        replace(manifest, name=path.stem, metrics={}, precisions={}, semantic_temperature=1.0,
                depth_confidence=(), training=notes),
        safetensors.torch.save(mean), path)
    return (f'{share:g} of {source}, {1 - share:g} of {other}: {path}, '
            f'sha256 {written.sha256[:12]}...')


def export(
        state: dict[str, Any], config: TrainingConfig, tasks: tuple[Task, ...], path: Path,
        command: str, half: bool = True, metrics: dict[str, Any] | None = None) -> Manifest:
    """
    Write the averaged weights of a checkpoint as a model, and check what was written.

    :param state: a checkpoint's content.
    :param config: the recipe that it was trained with.
    :param tasks: tasks of the network.
    :param path: ``NAME.safetensors``; the manifest becomes ``NAME.json``.
    :param command: the command line that trained it.
    :param half: store the weights of convolutions in float16, half the size; they are loaded as
        float32. Biases and batch normalisation stay float32.
    :param metrics: results of the validation.
    :raises CheckpointError: if a weight is not finite, or the written model answers differently.
    :raises StorageError: if a file cannot be written.
    """
    weights: dict[str, Tensor] = state['average']['state']
    bad = [name for name, item in weights.items()
           if item.is_floating_point() and not bool(torch.isfinite(item).all())]
    if bad:
        raise CheckpointError(
            f'{bad[0]} is not finite; the training has diverged', ReasonCode.WEIGHTS_NOT_FINITE)

    # convolutions in float16 halve the file; the rest is small and needs its digits
    stored = {
        name: (item.half() if half and item.ndim == 4 else item).contiguous()
        for name, item in weights.items()}

    # the task-transfer networks of XTasC-Net serve training only
    last = config.stages[-1]
    spec, stored = without_transfer(
        config.network.spec(tasks, state['notes'].get('anchors', ())), stored)
    trained = {name: weights[name] for name in stored}
    verify(spec, trained, stored, last.height, last.width)

    progress = state['progress']
    stored_camera = state['notes'].get('camera')
    camera = TrainingCamera(*stored_camera) if stored_camera else camera_of(config)

    manifest = Manifest(
        name=path.stem, network=spec, tasks=tasks, height=last.height, width=last.width,
        mean=config.network.mean, std=config.network.std,
        focal_px=camera.focal_px, focal_y_px=camera.focal_y_px, camera_height=camera.height_m,
        height_exponent=1.0 if config.data.plan.heights and not config.data.train else 0.7,
        metrics=metrics or {}, command=command,

        # enough to train it again
        training={
            'version': __version__,
            'data': data_words(config),
            'street_code': state['notes'].get('street_code', ''),
            'recipe': _portable(state['config']), 'seed': config.seed, 'steps': progress['step'],
            'clips': progress['clips'], 'minutes': round(progress['seconds'] / 60, 1)})
    return write_model(manifest, safetensors.torch.save(stored), path)


def verify(
        spec: NetworkSpec, trained: dict[str, Tensor], stored: dict[str, Tensor], height: int,
        width: int) -> None:
    """
    Compare the outputs of the trained and of the stored weights on random images.

    :raises CheckpointError: if the most likely class differs in more than 1 % of the pixels, or
        another output by more than 2 % of its standard deviation, on average.
    """
    generator = torch.Generator().manual_seed(0)
    frames = [torch.randn(1, 3, height, width, generator=generator) for _ in range(spec.frames)]

    answers = []
    for weights in (trained, stored):
        network = build_network(spec).eval()
        network.load_state_dict(weights)
        with torch.no_grad():
            answers.append(network(*frames))

    for task, wanted in answers[0].items():
        found = answers[1][task]
        limit = 0.02
        if task in ('depth', 'instance', 'detection'):
            error = float((found - wanted).abs().mean() / wanted.std().clamp(min=1e-6))
        else:
            error = float((found.argmax(1) != wanted.argmax(1)).float().mean())
            limit = 0.01
        if not error <= limit:
            raise CheckpointError(
                f'the stored weights answer differently for {task}: {error:.4f}, at most {limit} '
                'is accepted; export with --export-precision fp32', ReasonCode.EXPORT_DIFFERS)


def _portable(recipe: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe without the settings that belong to one machine."""
    kept = {key: value for key, value in recipe.items() if key not in ('output', 'run')}
    kept['data'] = {
        key: value for key, value in recipe['data'].items()
        if key not in ('cache', 'workers', 'loaders')}
    return kept
