# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The package as colcon and pip see it."""

import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from catkin_pkg.changelog import get_changelog_from_path
from catkin_pkg.package import parse_package

import mtl_perception

ROOT = Path(__file__).parents[1]
PROGRAMS = {'mtl', 'perception_node', 'camera_source'}


def run(*command, cwd, **kwargs):
    environment = {key: value for key, value in os.environ.items()
                   if key not in ('PYTHONPATH', 'COLCON_PREFIX_PATH')}
    environment['PATH'] = f'{Path(sys.executable).parent}:{environment["PATH"]}'
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, **kwargs)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope='module')
def workspace(tmp_path_factory):
    """Return a colcon workspace with a clean copy of the sources."""
    folder = tmp_path_factory.mktemp('workspace')
    ignored = shutil.ignore_patterns(
        '.*', '__pycache__', '*.egg-info', 'demo', 'runs', 'build', 'install', 'log', 'cache')
    shutil.copytree(ROOT, folder / 'src' / 'mtl_perception', ignore=ignored)
    return folder


def test_colcon_takes_it_for_an_ament_python_package(workspace):
    listed = run('colcon', 'list', cwd=workspace)
    assert listed.split() == ['mtl_perception', 'src/mtl_perception', '(ros.ament_python)']


def test_colcon_builds_and_installs_what_ros2_looks_for(workspace):
    run('colcon', '--log-base', 'log', 'build', '--symlink-install', cwd=workspace)
    prefix = workspace / 'install' / 'mtl_perception'
    share = prefix / 'share' / 'mtl_perception'
    assert (prefix / 'share/ament_index/resource_index/packages/mtl_perception').exists()
    assert {path.name for path in (prefix / 'lib/mtl_perception').iterdir()} >= PROGRAMS
    for name in ('package.xml', 'launch/camera.launch.py', 'config/camera.yaml',
                 'config/camera.rviz', 'config/fastdds.xml', 'config/train/street.yaml',
                 'config/motion/street_motion.yaml'):
        assert (share / name).exists(), name
    help_text = run('bash', '-c', '. install/local_setup.bash && '
                    'install/mtl_perception/lib/mtl_perception/mtl --help', cwd=workspace)
    assert 'demo' in help_text


def test_a_plain_pip_installation_is_complete(workspace):
    target = workspace / 'prefix'
    # without --ignore-installed pip would first remove the package from the environment itself
    run(sys.executable, '-m', 'pip', 'install', '--quiet', '--no-deps', '--no-build-isolation',
        '--ignore-installed', '--prefix', str(target), str(workspace / 'src' / 'mtl_perception'),
        cwd=workspace)
    programs = target / 'lib' / 'mtl_perception'
    assert {path.name for path in programs.iterdir()} == PROGRAMS
    assert all(os.access(programs / name, os.X_OK) for name in PROGRAMS)
    assert {path.name for path in (target / 'bin').iterdir()} >= PROGRAMS
    installed = next(target.glob('lib/python3*/site-packages/mtl_perception'))
    assert (installed / 'py.typed').exists()
    shipped = {path.name for path in (ROOT / 'mtl_perception/pretrained').iterdir()}
    assert {path.name for path in (installed / 'pretrained').iterdir()} == shipped


def test_package_xml_names_what_the_package_imports_from_ros():
    tree = ElementTree.parse(ROOT / 'package.xml')
    depends = {element.text for element in tree.iter('exec_depend')}
    imported = set()
    for path in (*(ROOT / 'mtl_perception').rglob('*.py'), *(ROOT / 'launch').glob('*.py')):
        imported |= set(re.findall(r'^\s*(?:from|import) (\w+)', path.read_text(), re.MULTILINE))
    ros = {name for name in imported
           if name.endswith(('_msgs', '_interfaces')) or name in (
               'rclpy', 'launch', 'launch_ros', 'std_srvs', 'ament_index_python')}
    assert ros <= depends


def test_a_release_of_bloom_finds_a_changelog_and_a_valid_package():
    package = parse_package(str(ROOT))
    assert package.get_build_type() == 'ament_python'
    package.validate()
    changelog = get_changelog_from_path(str(ROOT), package.name)
    assert changelog.get_date_of_version(package.version) is not None
    assert (ROOT / 'CHANGELOG.rst').read_text().count('\nForthcoming\n') <= 1
    assert changelog.get_content_of_version(package.version)


def test_the_version_is_the_same_everywhere():
    version = ElementTree.parse(ROOT / 'package.xml').findtext('version')
    assert version == mtl_perception.__version__
    assert f"version='{version}'" in (ROOT / 'setup.py').read_text()
