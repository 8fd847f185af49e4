# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Tests that run at the same time do not hear each other."""

import pytest

pytest.importorskip('rclpy')

from ros_graph import free_domain


def test_no_two_tests_have_one_domain():
    taken = [free_domain() for _ in range(30)]
    assert len({domain for domain, _ in taken}) == 30

    for _, file in taken:
        file.close()
