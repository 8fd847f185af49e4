# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The service of systemd is one that systemd takes."""

import getpass
import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[1] / 'deploy' / 'mtl-perception.service'


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
