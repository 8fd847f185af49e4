# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The benchmark of reading bags, on small images."""

import pytest

from mtl_perception.bags import benchmark

pytest.importorskip('rosbags')



def test_every_image_of_both_storages_is_read(tmp_path, capsys):
    assert benchmark.main(
        ['--frames', '3', '--runs', '2', '--height', '20', '--width', '30', '--folder',
         str(tmp_path)]) == 0

    printed = capsys.readouterr().out
    assert 'mcap: median' in printed
    assert 'sqlite3: median' in printed

    for storage in benchmark.STORAGES:
        benchmark.write_images(tmp_path / storage, storage, 3, 20, 30)
        assert benchmark.time_reading(tmp_path / storage)[0] == 3
