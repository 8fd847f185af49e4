# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What ``pip install .`` brings is enough for everything that runs a model."""

import json
import os
import re
import runpy
import subprocess
import sys
from collections import defaultdict
from importlib.metadata import PackageNotFoundError, distributions, requires
from pathlib import Path

import cv2
import pytest
import setuptools
from packaging.requirements import Requirement

from mtl_perception import Street
from mtl_perception.bags.reader import Bag

ROOT = Path(__file__).parents[1]
WITHOUT = """
import os, sys
for name in os.environ['WITHOUT'].split():
    sys.modules[name] = None
"""
"""Is run at the start of every Python process, also of those that a command starts."""


def canonical(name):
    return re.sub(r'[-_.]+', '-', name).lower()


def declared(monkeypatch):
    """Return what ``setup.py`` declares."""
    found = {}
    monkeypatch.setattr(setuptools, 'setup', found.update)
    monkeypatch.chdir(ROOT)
    runpy.run_path(str(ROOT / 'setup.py'))
    return found


def owners_of_modules():
    """Return module -> packages; ``packages_distributions`` of Python 3.10 finds too few."""
    found = defaultdict(set)
    for package in distributions():
        names = (package.read_text('top_level.txt') or '').split() or {
            file.parts[0].partition('.')[0] for file in package.files or ()
            if file.suffix in ('.py', '.so')}
        for name in names:
            found[name].add(package.metadata['Name'])
    return found


def brought_by(requirements):
    """Return the names of the packages that pip installs for some requirements."""
    found = set()
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        wanted = waiting.pop()
        if canonical(wanted.name) in found:
            continue
        try:
            inner = [Requirement(text) for text in requires(wanted.name) or ()]
        except PackageNotFoundError:  # of another Python or machine
            continue
        found.add(canonical(wanted.name))
        extras = wanted.extras or {''}
        waiting += [one for one in inner if one.marker is None or any(
            one.marker.evaluate({'extra': extra}) for extra in extras)]
    return found


@pytest.fixture
def plain(monkeypatch, tmp_path):
    """
    Return what runs a verb with nothing but what ``pip install .`` brings, and perhaps ROS.

    Everything else that is installed here is absent in the process and in those that it starts.
    """
    monkeypatch.delenv('ROS_DISTRO', raising=False)  # where it is set, apt is named
    allowed = brought_by(declared(monkeypatch)['install_requires'])
    modules = owners_of_modules()
    ros = {name for name, owners in modules.items()
           if any(canonical(owner).startswith('ros-') for owner in owners)}
    absent = {
        name for name, owners in modules.items()
        if name.isidentifier() and name not in {*sys.stdlib_module_names, *ros, 'mtl_perception'}
        and not any(canonical(owner) in allowed | {'pip'} for owner in owners)}

    # the controls: what a training and the tests need is away, what the node needs is not
    assert {'torch', 'torchvision', 'safetensors', 'onnx', 'scipy', 'hypothesis'} <= absent
    assert not {'numpy', 'cv2', 'onnxruntime', 'yaml', 'rich'} & absent

    start = tmp_path / 'start'
    start.mkdir()
    (start / 'sitecustomize.py').write_text(WITHOUT)

    def run(*words, ros_too=False, code=0):
        environment = {
            **os.environ, 'PYTHONPATH': os.pathsep.join((str(start), str(ROOT))),
            'WITHOUT': ' '.join(sorted(absent if ros_too else absent | ros))}
        done = subprocess.run(
            [sys.executable, *map(str, words)], cwd=tmp_path, env=environment,
            capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout if code == 0 else done.stderr
    return run


@pytest.fixture
def drive(tmp_path):
    """Return a folder with four frames of a street."""
    folder = tmp_path / 'drive'
    folder.mkdir()
    street = Street(20004, 192, 112, 10.0)
    for number in range(4):
        image = cv2.cvtColor(street.render(number).image, cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(folder / f'{number}.png'), image)
    return folder


MTL = ('-m', 'mtl_perception.cli')


def test_in_a_plain_installation_the_libraries_of_training_and_ros_are_absent(plain):
    for name in ('torch', 'torchvision', 'safetensors', 'matplotlib', 'rclpy', 'sensor_msgs'):
        assert f'import of {name} halted' in plain('-c', f'import {name}', code=1)
    plain('-c', 'import numpy, cv2, onnxruntime, yaml')


def test_a_plain_installation_predicts_into_folders_videos_and_recordings(
        plain, drive, tmp_path):
    plain(*MTL, 'predict', drive, '--output', 'masks', '--threads', 1)
    assert len(list((tmp_path / 'masks/semantic').glob('*.png'))) == 4

    # a video is written, and read again
    plain(*MTL, 'predict', drive, '--output', 'shown.mp4', '--threads', 1)
    plain(*MTL, 'predict', 'shown.mp4', '--output', 'again.mcap', '--threads', 1)
    with Bag(tmp_path / 'again') as bag:
        assert bag.count('semantic') == 4

    plain(*MTL, 'evaluate', '--bag', 'again', '--output', 'report')
    assert json.loads((tmp_path / 'report/report.json').read_text())['frames_in'] == 4


def test_a_plain_installation_evaluates_on_streets_and_says_what_the_machine_has(plain, tmp_path):
    plain(*MTL, 'evaluate', 'street', '--seeds', '20000:20001', '--frames', 1, '--threads', 1,
          '--output', 'report')
    assert (tmp_path / 'report/report.md').is_file()
    assert plain(*MTL, 'doctor').endswith('everything needed is here\n')


@pytest.mark.parametrize(('words', 'extra'), [
    ((*MTL, 'demo'), 'ros-wheels'), ((*MTL, 'record'), 'ros-wheels'),
    ((*MTL, 'play', 'bag'), 'ros-wheels'),
    ((*MTL, 'benchmark', '--level', 'node'), 'ros-wheels'), ((*MTL, 'view'), 'view'),
    ((*MTL, 'export', 'street', '--format', 'onnx'), 'onnx-export'),
    ((*MTL, 'train', 'street.yaml'), 'train'), ((*MTL, 'plot', 'street'), 'train')])
def test_what_a_plain_installation_lacks_is_the_first_word_of_a_verb(plain, words, extra):
    assert plain(*words, code=2).startswith(
        f"mtl {words[2]}: pip install 'mtl_perception[{extra}]' brings the Python module '")


@pytest.mark.parametrize('program', ['perception_node', 'camera_source', 'recorder'])
def test_without_ros_a_program_says_how_to_get_it(plain, program):
    said = plain('-m', 'mtl_perception.programs', program, code=2)
    assert said.startswith(
        "cannot start: pip install 'mtl_perception[ros-wheels]' brings the Python module '")
    assert said.endswith('source its setup.bash instead\n')


@pytest.mark.slow
def test_a_plain_installation_runs_the_demo_where_ros_is(plain, tmp_path):
    pytest.importorskip('rclpy')
    plain(*MTL, 'demo', '--seconds', 4, '--seeds', 1, '--rate', 2, '--width', 192, '--height', 112,
          '--threads', 1, '--no-progress', '--output', 'demo', ros_too=True)
    metrics = json.loads((tmp_path / 'demo/report.json').read_text())
    assert metrics['accounting']['adds_up']
    assert metrics['published'] > 0
    assert (tmp_path / 'demo/demo.mp4').stat().st_size > 0


@pytest.mark.slow
def test_where_numpy_1_is_installed_it_stays_and_without_the_extra_it_would_not(tmp_path):
    # as in an environment on top of Jazzy, whose cv_bridge is built for NumPy 1.26
    python = str(tmp_path / 'venv/bin/python')
    subprocess.run([sys.executable, '-m', 'venv', str(tmp_path / 'venv')], check=True)

    def pip(*words):
        return subprocess.run(
            [python, '-m', 'pip', 'install', '--disable-pip-version-check', '--quiet', *words],
            capture_output=True, text=True, check=False)

    if pip('numpy==1.26.4').returncode:
        pytest.skip('NumPy 1.26.4 cannot be installed here')

    def brought(extra):
        report = tmp_path / 'report.json'
        done = pip('--dry-run', '--report', str(report), f'{ROOT}{extra}')
        assert done.returncode == 0, done.stderr
        return {canonical(one['metadata']['name']): one['metadata']['version']
                for one in json.loads(report.read_text())['install']}

    with_extra = brought('[numpy1]')
    assert {'mtl-perception', 'opencv-python-headless', 'onnxruntime'} <= set(with_extra)
    assert 'numpy' not in with_extra
    assert int(brought('')['numpy'].partition('.')[0]) >= 2  # the control


def test_earlier_names_of_what_is_installed_anyway_stay(monkeypatch):
    found = declared(monkeypatch)
    assert set(found['extras_require']['evaluate']) <= set(found['install_requires'])
    assert not any('torch' in text for text in found['install_requires'])
