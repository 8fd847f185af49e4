# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl adapt``: adapt a model to a camera, from images without labels."""

import argparse
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mtl_perception.commands._film import Reel, used_images
from mtl_perception.commands._options import path_argument, progress
from mtl_perception.errors import ConfigurationError, DataError
from mtl_perception.evaluation.image_inputs import is_bag, open_input
from mtl_perception.evaluation.pictures import evenly_spread, headed
from mtl_perception.files import write_atomically
from mtl_perception.manifest import Manifest, read_model
from mtl_perception.postprocessing import colourise_depth
from mtl_perception.preprocessing import resize
from mtl_perception.signals import STOPPED, StopRequest
from mtl_perception.tasks import Task
from mtl_perception.training.adaptation import Adaptation, AdaptationSettings, adapt
from mtl_perception.training.depth_change import DepthChange
from mtl_perception.training.drive_depth import Film
from mtl_perception.training.progress_log import write_picture
from mtl_perception.training.run_lock import exclusive

MOST_IMAGES = 1000
"""Images of a longer drive are left out evenly."""
NEIGHBOURS_S = 0.5
"""Longest time between two images that a network may see as consecutive frames, seconds."""
SHORTEST_S = 0.09
"""Time between two images of a film; those between them are left out, seconds."""
TOGETHER = 8
"""Consecutive images of a longer drive that are used together: they show one another's depth."""
SHOWN = 6
"""Images of the picture."""
WORSE = 1
"""Exit code if the adapted model is worse by its own checks."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``mtl adapt``."""
    default = AdaptationSettings()
    parser.add_argument('model', help='name of a shipped model, or a .safetensors file')
    parser.add_argument(
        'drive', type=path_argument, help='a folder of images, a video or a rosbag2 of the camera')
    parser.add_argument(
        '--name', default='', help='of the new model (default: MODEL_adapted)')
    parser.add_argument(
        '--output', type=path_argument, default=Path('runs'),
        help='folder of the runs (default: runs)')

    # the drive
    parser.add_argument('--namespace', default='', help='of the camera of a recording')
    parser.add_argument(
        '--rate', type=float, default=0.0,
        help='images per second of a folder (default: unknown, each image stands alone and depth '
        'is not adapted)')
    parser.add_argument(
        '--focal-length', type=float, default=0.0, metavar='PIXELS',
        help='of the camera at the width of its images (default: that of the calibration in a '
        'recording, else assumed)')
    parser.add_argument(
        '--camera-height', type=float, default=0.0, metavar='METRES',
        help='of the camera above the road; ties the scale of depth to it')

    # the training
    parser.add_argument(
        '--steps', type=int, default=default.steps,
        help=f'of the optimiser (default: {default.steps})')
    parser.add_argument('--seed', type=int, default=0, help='of order and mixing (default: 0)')
    parser.add_argument(
        '--threads', type=int, default=0, help='CPU threads, 0 = automatic (default: 0)')
    parser.add_argument(
        '--cache', default='~/.cache/mtl_perception', help='folder of rendered street clips')


def run(arguments: argparse.Namespace) -> int:
    """Run ``mtl adapt``."""
    manifest, _ = read_model(arguments.model)
    if arguments.steps < 1:
        raise ConfigurationError(f'--steps is {arguments.steps}, wanted at least 1')
    for option in ('rate', 'focal_length', 'camera_height'):
        value = getattr(arguments, option)
        if not 0 <= value < math.inf:
            raise ConfigurationError(
                f'--{option.replace("_", "-")} is {value:g}; it must be a number of at least 0')

    name = arguments.name or f'{manifest.name}_adapted'
    folder = arguments.output / name
    if (folder / f'{name}.safetensors').exists():
        raise ConfigurationError(
            f'{folder} holds an adapted model already; choose another --name')

    drive, film = _read(arguments, manifest)

    notes = {'drive': arguments.drive.name, 'images': len(drive), 'steps': arguments.steps}
    settings = AdaptationSettings(
        steps=arguments.steps, seed=arguments.seed, threads=arguments.threads)
    with exclusive(folder), StopRequest() as stop:
        done = adapt(arguments.model, drive, folder, settings, arguments.cache, notes, stop, film)
    if done is None:
        print(f'{stop.received}: stopped; the same command goes on')
        return STOPPED
    return _tell(done, manifest, folder)


def _read(
        arguments: argparse.Namespace, manifest: Manifest,
) -> tuple[list[NDArray[np.uint8]], Film | None]:
    """
    Return the clips of a drive at the size of the network, each (T, H, W, 3) uint8 RGB.

    Images that are too far apart in time to be consecutive frames each stand alone: the clip
    repeats them, as a camera that stands still would.

    :return: the clips, and their images as a film if somebody says when they were taken.
    """
    given = open_input(arguments.drive, arguments.rate, arguments.namespace)
    filmed = not arguments.drive.is_dir() or arguments.rate > 0 or is_bag(arguments.drive)
    reel = Reel(manifest, arguments.focal_length, arguments.camera_height)

    images: list[NDArray[np.uint8]] = []
    stamps: list[int] = []
    for one in progress(given.images, 'reading', given.count or None):
        if filmed and stamps and one.stamp_ns - stamps[-1] < SHORTEST_S * 1e9:
            continue
        images.append(resize(one.image, manifest.height, manifest.width))
        stamps.append(one.stamp_ns)
        if filmed:
            reel.add(one.image, one.stamp_ns, one.intrinsics)

    remarks = [*given.remarks, *([str(given.omissions)] if given.omissions else []),
               *reel.remarks]
    if not images:
        raise DataError(f'{arguments.drive}: no image can be read; {"; ".join(remarks)}')
    for remark in remarks:
        print(remark)

    used = used_images(len(images), MOST_IMAGES, TOGETHER if filmed else 1)
    clips = []
    for number in used:
        clip = [images[number]]
        for back in range(1, manifest.network.frames):
            near = filmed and number >= back and (
                stamps[number] - stamps[number - back] <= back * NEIGHBOURS_S * 1e9)
            clip.insert(0, images[number - back] if near else clip[0])
        clips.append(np.stack(clip))
    print(f'{len(images)} images of {arguments.drive}, {len(clips)} used')
    return clips, reel.film(used)


def _tell(done: Adaptation, manifest: Manifest, folder: Path) -> int:
    """Print and write what changed; return the exit code."""
    task = manifest.task('semantic')
    assert task is not None
    rows = [
        ('consistency on the end of the drive', done.before.consistency, done.after.consistency),
        ('confidence there', done.before.confidence, done.after.confidence),
        ("mIoU on the model's own validation data", done.own_before, done.own_after)]
    if done.depth.found.labels:
        rows.append(('photometric error of depth there', done.depth.error_before,
                     done.depth.error_after))
    rows += [
        (f'pixels of {name}', done.before.shares[number], done.after.shares[number])
        for number, name in enumerate(task.classes)]

    lines = [f'# {folder.name}', '', '| | before | after |', '|---|---|---|']
    lines += [f'| {what} | {old:.3f} | {new:.3f} |' for what, old, new in rows]
    lines += ['', f'{done.before.agreement(done.after):.1%} of the pixels kept their class. '
              + _depth_text(done.depth)]
    lines += [f'Worse: {fault}.' for fault in done.faults]
    text = '\n'.join(lines) + '\n'
    print(text)

    write_atomically(text.encode(), folder / 'adaptation.md')
    write_picture(_picture(done, task), folder / 'adaptation.png')
    if done.faults:
        print(f'declined: by its own checks the adapted model is worse. Its checkpoint is kept, '
              f'"mtl export {folder}" makes a model of it all the same')
        return WORSE
    print(f'{done.model}: use it as --model or model:= instead of {manifest.name}')
    return 0


def _depth_text(depth: DepthChange) -> str:
    """Return in words what happened to depth."""
    found = depth.found
    if not found.labels:
        return ('Only semantics were adapted; depth changed with the features it shares. Why: '
                f'{found.why_not}.')
    return (f'Depth was adapted to {len(found.labels)} images, of which other frames showed '
            f'{found.known:.0%}; its scale is that of the {found.scaled_by}, {depth.drift:.2f} '
            'times that after adapting.')


def _picture(done: Adaptation, task: Task) -> NDArray[np.uint8]:
    """Return held-out images as rows: image, classes and depth before and after, with headings."""
    palette = np.zeros((256, 3), np.uint8)
    palette[:len(task.palette)] = task.palette
    shown = evenly_spread(min(SHOWN, len(done.held_out)), len(done.held_out))
    rows = []
    for number in shown:
        row = [done.held_out[number], palette[done.before.classes[number]],
               palette[done.after.classes[number]]]
        if done.depth.after:
            row += [
                _depth_colours(done.depth.before[number], done.before.classes[number], task),
                _depth_colours(done.depth.after[number], done.after.classes[number], task)]
        rows.append(np.concatenate(row, 1))

    captions = ['image', 'classes before', 'classes after']
    if done.depth.after:
        captions += ['depth before', 'depth after']
    return headed(np.concatenate(rows), captions)


def _depth_colours(
        depth: NDArray[np.float32], classes: NDArray[np.uint8], task: Task) -> NDArray[np.uint8]:
    """Return the colours of depth; the sky, which has none, is infinitely far."""
    return colourise_depth(np.where(classes == task.sky, np.float32(np.inf), depth))
