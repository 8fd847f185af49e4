# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests that need a ROS graph."""

from pathlib import Path

import pytest


@pytest.fixture
def graph(monkeypatch):
    """Return a graph whose programs use one thread and find the modules of this folder."""
    pytest.importorskip('rclpy')
    from ros_graph import Graph
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    monkeypatch.setenv('PYTHONPATH', str(Path(__file__).parent))
    graph = Graph(monkeypatch)
    yield graph
    graph.close()


@pytest.fixture
def bench(monkeypatch):
    """Return a function that makes a perception node on a graph of its own."""
    pytest.importorskip('rclpy')
    monkeypatch.setenv('PYTHONPATH', str(Path(__file__).parent))
    from node_bench import Bench
    from ros_graph import Graph
    graph, benches = Graph(monkeypatch), []

    def make(engine=None, /, **parameters):
        benches.append(Bench(graph, engine, **parameters))
        return benches[-1]

    yield make
    for one in benches:
        one.close()
    graph.close()
