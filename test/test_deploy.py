# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The files of a deployment pass the checks of the programs that read them."""

import getpass
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
UNIT = ROOT / 'deploy' / 'mtl-perception.service'
DOCKERFILE = ROOT / 'deploy' / 'Dockerfile'
WORKFLOW = ROOT / '.github' / 'workflows' / 'ros.yaml'


def test_systemd_takes_the_service(tmp_path):
    if shutil.which('systemd-analyze') is None:
        pytest.skip('systemd-analyze is not installed')
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace('User=robot', f'User={getpass.getuser()}'))
    done = subprocess.run(
        ['systemd-analyze', 'verify', str(unit)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, '')

    unit.write_text(unit.read_text().replace('Restart=on-failure', 'Restart=sometimes'))
    done = subprocess.run(
        ['systemd-analyze', 'verify', str(unit)], capture_output=True, text=True, timeout=60)
    assert 'sometimes' in done.stderr


def lint(program, *words, text=None):
    """Return what a linter found in a file, or in a text on its standard input."""
    if shutil.which(program) is None:
        pytest.skip(f'{program} is not installed')
    done = subprocess.run(
        [program, *words], input=text, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.returncode == 0) == (not done.stdout), done.stderr
    return done.stdout


def test_hadolint_finds_nothing_in_the_dockerfile():
    assert lint('hadolint', str(DOCKERFILE)) == ''
    worse = DOCKERFILE.read_text().replace('apt-get install', 'apt install')
    assert 'DL3027' in lint('hadolint', '-', text=worse)


def test_actionlint_finds_nothing_in_the_workflow():
    assert lint('actionlint', str(WORKFLOW)) == ''
    worse = WORKFLOW.read_text().replace('matrix.distribution', 'matrix.distro')
    assert 'distro' in lint('actionlint', '-', text=worse)


def test_yamllint_finds_nothing_in_the_workflow():
    rules = ('--strict', '-d', '{extends: default, rules: {line-length: {max: 120}}}')
    assert lint('yamllint', *rules, str(WORKFLOW)) == ''


def test_the_workflow_runs_tests_that_exist():
    workflow = yaml.safe_load(WORKFLOW.read_text())
    steps = [step for job in workflow['jobs'].values() for step in job['steps']]
    paths = re.findall(r'\b(?:test|deploy|config)/[\w./-]+', '\n'.join(
        step.get('run', '') for step in steps))
    assert len(paths) >= 5
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_image_is_built_for_both_distributions_of_the_workflow():
    matrix = yaml.safe_load(WORKFLOW.read_text())['jobs']['test']['strategy']['matrix']
    assert matrix['distribution'] == ['jazzy', 'lyrical']
    text = DOCKERFILE.read_text()
    assert 'FROM ros:${ROS_DISTRO}-ros-base' in text
    assert {'on-cpu', 'on-cuda'} <= set(re.findall(r'AS ([\w-]+)', text))
    # what it copies is not left out of what docker reads
    ignored = (ROOT / '.dockerignore').read_text().split()
    assert not {'package.xml', 'setup.py', 'mtl_perception', 'config', 'launch'} & set(ignored)
