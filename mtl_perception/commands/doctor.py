# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl doctor``: what this machine has for the package, and what to do about the rest."""

import argparse
import importlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtl_perception import __version__, middleware
from mtl_perception.errors import ConfigurationError, PerceptionError
from mtl_perception.inference.engines import INSTALLED_BY, load_engine
from mtl_perception.inference.engines import LIBRARIES as LIBRARIES_OF
from mtl_perception.inference.precision import (
    PREFERRED,
    described_manifest,
    objection,
    recorded,
)
from mtl_perception.inference.step_graph import SUFFIX, read_graph
from mtl_perception.manifest import DEFAULT_MODEL, PRETRAINED, read_model
from mtl_perception.media.calibration_file import calibration_path, read_calibration
from mtl_perception.media.intrinsics import intrinsics_of
from mtl_perception.middleware import environment_remarks
from mtl_perception.reason_codes import ReasonCode, explain

LIBRARIES = ('numpy', 'cv2', 'yaml', 'rich')
NO_BUILDS = ('onnxruntime-extensions', 'onnxruntime-genai', 'onnxruntime-tools')
"""Packages with a name like a build of ONNX Runtime that are none."""
ROS_LIBRARIES = ('rclpy', 'sensor_msgs', 'std_msgs', 'std_srvs', 'diagnostic_msgs')
EVALUATE = "pip install 'mtl_perception[evaluate]'"
TRAIN = "pip install 'mtl_perception[train]'"
TORCH = f'training, mtl export and engine torch: {TRAIN}'
OPTIONAL = {
    'vision_msgs': 'label_info and detections (the JSON labels and the markers work without it)',
    'cv_bridge': 'image encodings beyond the built-in table',
    'rosbags': f'mtl demo, mtl predict and recordings: {EVALUATE}',
    'av': f'videos and cameras on the network: {EVALUATE}',
    'pydantic': f'training and data sets: {EVALUATE}',
    'torch': TORCH, 'torchvision': TORCH, 'safetensors': TORCH,
    'tensorboard': f'curves of mtl train: {TRAIN}', 'matplotlib': f'mtl plot: {TRAIN}',
    'torchjd': 'the weighting gradient_method of mtl train: '
               "pip install 'mtl_perception[gradients]'",
    'rerun': "mtl view: pip install 'mtl_perception[view]'",
    'scipy': 'mtl evaluate --objects: pip install scipy',
}


@dataclass(frozen=True)
class Finding:
    """
    One line of the report.

    :param level: ``ok``, ``note`` (works without) or ``fail`` (the package does not work).
    :param subject: what was looked at.
    :param text: what was found and, unless it is fine, what to do.
    """

    level: str
    subject: str
    text: str


def examine() -> Iterator[Finding]:
    """Look at everything, one finding at a time; never raises."""
    yield Finding('ok', 'mtl_perception', f'{__version__} in {Path(__file__).parents[1]}')
    yield Finding('ok', 'python', f'{sys.version.split()[0]} at {sys.executable}')
    for name in LIBRARIES:
        yield _library(name, 'fail', 'missing; everything needs it: pip install . again')

    for subject, look in {
            'cuda': _cuda, 'engine': _engines, 'ROS 2': _ros, 'libraries': _optional,
            'Fast DDS profile': _profile, 'shared memory': _shared_memory,
            'models': _models}.items():
        try:
            yield from look()
        except Exception as error:  # noqa: BLE001  (a broken library may raise anything)
            yield Finding('fail', subject, f'looking at it ends in {_in_words(error)}; mend what '
                                           'that names')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``mtl doctor``."""
    parser.add_argument(
        'code', nargs='?', help='explain a reason code of a message, such as T05_stale or M03')
    parser.add_argument(
        '--calibration', default='', metavar='PATH',
        help='say what a calibration file, or that in a recording, is worth: calibrated, assumed '
        'or unusable, and why')


def run(arguments: argparse.Namespace) -> int:
    """Print the report, or explain a code; the exit code is 2 if the package cannot work here."""
    if arguments.code:
        found = explain(arguments.code.strip('[]'))
        if found is None:
            raise ConfigurationError(
                f'{arguments.code!r} is not a reason code; docs/codes.md lists them, such as '
                f'{ReasonCode.TIME_STALE}')
        print(found)
        return 0

    if arguments.calibration:
        print(_calibration(arguments.calibration))
        return 0

    findings = list(examine())
    for finding in findings:
        print(f'{finding.level.upper():5}{finding.subject:18}{finding.text}')
    failed = sum(finding.level == 'fail' for finding in findings)
    print(f'{failed} of {len(findings)} checks failed' if failed else 'everything needed is here')
    return 2 if failed else 0


def _calibration(text: str) -> str:
    """
    Return what a calibration file or that of a recording is worth.

    :raises PerceptionError: if it cannot be read, or a file not be believed.
    """
    # a recording needs libraries that may be missing here
    from mtl_perception.bags.reader import Bag
    from mtl_perception.evaluation.bag_evaluation import recorded_intrinsics
    from mtl_perception.evaluation.image_inputs import is_bag

    path = calibration_path(text)
    if not (path.exists() and is_bag(path)):
        found = read_calibration(path)
        known = intrinsics_of(found, (found.height, found.width))
        lens = known.lens
        strong = lens is not None and lens.is_strong(found.height, found.width)
        return (f'{path}: {known.text(0.0)}, for {found.width} x {found.height} pixels; '
                + ('its distortion is strong: images are rectified' if strong else
                   'its images are taken as those of a pinhole'))

    with Bag(path) as bag:
        bag.require(['image'])
        manifest, _ = read_model('street')
        remarks = [recorded_intrinsics(bag, manifest)['text'], *bag.camera.remarks]
    return f'{path}: {"; ".join(remarks)}'


def _library(name: str, level: str, advice: str) -> Finding:
    try:
        module = importlib.import_module(name)
    except Exception as error:  # noqa: BLE001  (OSError without a library of its own)
        if isinstance(error, ImportError) and not _is_installed(name):
            return Finding(level, name, advice)
        return Finding(
            level, name, f'cannot be imported: {_in_words(error)}; install it again')
    return Finding('ok', name, str(getattr(module, '__version__', 'installed')))


def _optional() -> Iterator[Finding]:
    """Look at the libraries that only some commands need."""
    for name, purpose in OPTIONAL.items():
        yield _library(name, 'note', f'not installed; only needed for {purpose}')


def _ros() -> Iterator[Finding]:
    """Look at the variables of ROS first: with a wrong one, its libraries end this process."""
    remarks = environment_remarks()
    for remark in remarks:
        yield Finding('fail' if remark.wrong else 'note', 'ROS environment', remark.text)
    if not remarks:
        yield Finding('ok', 'ROS environment', _chosen())
    if any(remark.wrong for remark in remarks):
        return

    # A child bears what no exception tells.
    probe = subprocess.run(
        [sys.executable, '-c', 'import rclpy'], capture_output=True, text=True, check=False)
    if probe.returncode not in (0, 1):
        last = (probe.stderr.strip().splitlines() or ['no message'])[-1]
        yield Finding('fail', 'rclpy', f'ends the process that imports it, code '
                                       f'{probe.returncode}: {last}; install ROS 2 again')
        return
    # Many use the package in Python alone; who has sourced ROS wants the node.
    if not os.environ.get('ROS_DISTRO') and not any(map(_is_installed, ROS_LIBRARIES)):
        yield Finding('note', 'ROS 2', 'not installed; only needed for the node, the demo, mtl '
                                       "record, play and view: pip install '.[ros-wheels]', or "
                                       'source your ROS 2 setup.bash')
        return
    for name in ROS_LIBRARIES:
        yield _library(name, 'fail', 'missing; source your ROS 2 setup.bash, or install the '
                                     "wheels: pip install '.[ros-wheels]'")


def _is_installed(name: str) -> bool:
    """Return whether there is a library of that name, without importing it."""
    try:
        return importlib.util.find_spec(name) is not None
    except ValueError:  # its place in sys.modules was set to None
        return False


def _chosen() -> str:
    """Return what the variables of ROS choose."""
    middleware = os.environ.get('RMW_IMPLEMENTATION') or 'the default middleware'
    return f'{middleware}, domain {os.environ.get("ROS_DOMAIN_ID") or 0}'


def _cuda() -> Iterator[Finding]:
    """Look for a GPU with torch; the package works without, so nothing here is a failure."""
    try:
        import torch
        name = torch.cuda.get_device_name() if torch.cuda.is_available() else ''
    except Exception as error:  # noqa: BLE001  (OSError without a library of CUDA)
        yield Finding('note', 'cuda', (
            f'torch ends in {_in_words(error)}; install it again, or a driver that fits it'
            if _is_installed('torch') else 'not looked for: that takes torch'))
        return
    yield Finding('ok', 'cuda', name) if name else Finding(
        'note', 'cuda', 'no GPU is usable; the network runs on the CPU')


def _engines() -> Iterator[Finding]:
    """Look at the libraries that run networks, and at what ``auto`` takes of them."""
    try:
        found = load_engine(DEFAULT_MODEL, threads=1)
    except Exception as error:  # noqa: BLE001  (of any library of an engine)
        yield Finding('fail', 'engine', _in_words(error))
    else:
        yield Finding('ok', 'engine', f'for model {DEFAULT_MODEL} auto takes {found.setup}')
        yield _below_fp32()

    builds = _onnxruntime_builds()
    if len(builds) > 1:
        yield Finding('note', 'onnxruntime', f'{" and ".join(builds)} lie over one another and '
                      'either may be broken; pip uninstall all of them, then install one')
    yield _optional_engine('onnx', lambda library: (
        f'providers {", ".join(library.get_available_providers())}'))
    yield _optional_engine('openvino', lambda library: (
        'the CPU has ' + ', '.join(
            library.Core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES'))))


def _below_fp32() -> Finding:
    """Look at the precisions that auto may take for the default model where they run."""
    manifest = described_manifest(DEFAULT_MODEL)
    measured = [] if manifest is None else [
        (name, figures) for name in PREFERRED
        if (figures := recorded(manifest, *name)) is not None]
    allowed = [' '.join(name) for name, figures in measured
               if manifest is not None and not objection(figures, manifest)]
    if not allowed:
        return Finding('ok', 'precision', 'auto takes fp32: nothing below it was measured with '
                                          'little loss; mtl calibrate measures it')
    return Finding('ok', 'precision', f'auto may take {", ".join(allowed)} for model '
                                      f'{DEFAULT_MODEL}, fp32 where that does not run')


def _optional_engine(engine: str, describe: Callable[[Any], str]) -> Finding:
    """Return what a library of graphs has on this machine."""
    name = LIBRARIES_OF[engine][0]
    found = _library(name, 'note', f'not installed; only needed for engine {engine}: pip install '
                                   f'{INSTALLED_BY[engine]}')
    if found.level != 'ok':
        return found
    try:
        return Finding('ok', name, f'{found.text}; {describe(importlib.import_module(name))}')
    except Exception as error:  # noqa: BLE001  (as above)
        return Finding(
            'note', name, f'engine {engine} cannot be used ({_in_words(error)}); install it again')


def _in_words(error: Exception) -> str:
    """Return what was raised in one line; errors of the package stand for themselves."""
    text = (str(error).splitlines() or [''])[0]
    return text if isinstance(error, PerceptionError) else f'{type(error).__name__}: {text}'


def _onnxruntime_builds() -> list[str]:
    """Return the installed builds of ONNX Runtime, which share one folder."""
    names = {(found.metadata['Name'] or '').lower().replace('_', '-')
             for found in importlib.metadata.distributions()}
    return sorted(name for name in names if name == 'onnxruntime' or (
        name.startswith('onnxruntime-') and name not in NO_BUILDS))


def _profile() -> Iterator[Finding]:
    """Look at the profile of Fast DDS, without which large images are lost."""
    path = os.environ.get('FASTDDS_DEFAULT_PROFILES_FILE')
    if os.environ.get('RMW_IMPLEMENTATION', 'rmw_fastrtps_cpp') != 'rmw_fastrtps_cpp':
        yield Finding('ok', 'Fast DDS profile', 'not needed: another middleware is selected')
    elif path is None:
        yield Finding('note', 'Fast DDS profile',
                      'FASTDDS_DEFAULT_PROFILES_FILE is not set: best-effort images of 640x480 '
                      'and more may be lost between processes; set it to config/fastdds.xml for '
                      'the camera driver too (camera.launch.py and mtl demo set it themselves)')
    elif Path(path).is_file():
        yield Finding('ok', 'Fast DDS profile', path)
    else:
        yield Finding('fail', 'Fast DDS profile', f'{path} does not exist')


def _shared_memory() -> Iterator[Finding]:
    """Look at what is free in it, and at what killed processes left there."""
    folder = middleware.SHARED_MEMORY
    if not folder.is_dir():
        yield Finding('note', 'shared memory', f'no {folder}; images travel over UDP')
        return
    free = shutil.disk_usage(folder).free // 2**20
    text = f'{free} MiB free, {len(list(folder.glob("fastdds_*")))} Fast DDS files'

    if left := middleware.left_segments(folder):
        size = sum(path.stat().st_size for path in left) // 2**20
        yield Finding('note', 'shared memory', (
            f'{text}; {len(left)} segments, {size} MiB, are of processes that were killed: '
            '"fastdds shm clean" removes them, or, while no ROS program runs, '
            f'rm {folder}/*fastdds_*'))
    elif free < 256:
        yield Finding('note', 'shared memory', f'{text}; each process wants 64 MiB: start the '
                                               'container with --shm-size=1g')
    else:
        yield Finding('ok', 'shared memory', text)


def _models() -> Iterator[Finding]:
    shipped = sorted(PRETRAINED.glob('*.safetensors'))
    if not shipped:
        yield Finding('fail', 'models', f'no .safetensors file in {PRETRAINED}; install again')
    for path in shipped:
        try:
            manifest, content = read_model(path)
        except PerceptionError as error:
            yield Finding('fail', f'model {path.stem}', str(error))
        else:
            tasks = ', '.join(task.name for task in manifest.tasks)
            yield Finding('ok', f'model {path.stem}',
                          f'{tasks}; {len(content) / 1e6:.1f} MB, sha256 verified')

    # the same models for engines without torch
    for path in sorted(PRETRAINED.glob(f'*{SUFFIX}')):
        try:
            read_graph(path)
        except PerceptionError as error:
            yield Finding('fail', f'graph {path.stem}', str(error))
        else:
            yield Finding('ok', f'graph {path.stem}',
                          f'{path.stat().st_size / 1e6:.1f} MB, sha256 verified')
