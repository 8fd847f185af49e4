# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Fixtures that more than one room needs."""

import os
from collections.abc import Callable, Collection
from pathlib import Path

import pytest
from campaign import EXAMPLES, SEED

APART = 'MTL_PERCEPTION_OPENVINO'
"""Environment variable of the process that runs OpenVINO."""
REAL_DATA = Path(__file__).resolve().parents[2] / 'shared' / 'data'
"""Recorded driving data beside the project; its licences keep it out of the repository."""


def pytest_report_header() -> str:
    """Tell how to repeat the tests of random inputs."""
    return f'random inputs: MTL_PERCEPTION_EXAMPLES={EXAMPLES} MTL_PERCEPTION_SEED={SEED}'


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """
    Leave OpenVINO to a process of its own, which ``test_engines.py`` starts.

    It keeps threads for good. A process that other tests fork later, to read clips, then gives
    wrong answers or dies.
    """
    if os.environ.get(APART):
        return
    mark = pytest.mark.skip(reason='runs in a process of its own')
    for item in items:
        if item.path.name == 'test_engines.py' and 'openvino' in item.name:
            item.add_marker(mark)


@pytest.fixture
def real_data() -> Callable[[str], Path]:
    """Return what gives the path of a recorded data set, or skips the test without it."""
    def path_of(name: str) -> Path:
        if not (REAL_DATA / name).is_dir():
            pytest.skip(f'there is no recorded data {REAL_DATA / name}')
        return REAL_DATA / name
    return path_of


def write_tiny_model(
        path: Path, frames: int = 2, height: int = 64, width: int = 96,
        encoder: str = 'resnet10', names: Collection[str] = ()) -> Path:
    """
    Write a small valid model with random weights and the tasks of the street.

    :param path: where, a ``.safetensors`` file; the manifest goes beside it.
    :param names: of the tasks; all three if empty.
    :return: the path.
    """
    torch = pytest.importorskip('torch')
    from safetensors.torch import save

    from mtl_perception.manifest import Manifest, NetworkSpec, write_model
    from mtl_perception.models.build import build_network
    from mtl_perception.tasks import STREET_TASKS

    tasks = tuple(task for task in STREET_TASKS if not names or task.name in names)
    spec = NetworkSpec(encoder, frames, 8, {task.name: task.channels for task in tasks})
    manifest = Manifest(
        name='tiny', network=spec, tasks=tasks, height=height, width=width,
        mean=(123.7, 116.3, 103.5), std=(58.4, 57.1, 57.4), focal_px=0.6 * width)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build_network(spec)
        with torch.no_grad():  # gives batch normalisation statistics that are not the initial ones
            for _ in range(8):
                network(*[torch.randn(2, 3, 64, 96) for _ in range(frames)])
            for task in {'semantic', 'motion'} & spec.channels.keys():  # masks of what it sees
                for score in network.decoders[task].score:
                    score.weight.mul_(10)
    weights = {name: value.half() if value.is_floating_point() else value
               for name, value in network.state_dict().items()}
    write_model(manifest, save(weights), path)
    return path


@pytest.fixture(scope='session')
def model_writer() -> Callable[..., Path]:
    """Return :func:`write_tiny_model`, for models of other networks."""
    return write_tiny_model


@pytest.fixture(scope='session')
def graph_writer() -> Callable[..., Path]:
    """Return :func:`write_graph`."""
    return write_graph


@pytest.fixture(scope='session')
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the weights file of a two-frame model of 64 x 96 pixels; do not change it."""
    return write_tiny_model(tmp_path_factory.mktemp('model') / 'tiny.safetensors')


@pytest.fixture(scope='session')
def tiny_single_frame_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the weights file of a one-frame model of 64 x 96 pixels; do not change it."""
    return write_tiny_model(tmp_path_factory.mktemp('model') / 'single.safetensors', frames=1)


@pytest.fixture(scope='session')
def tiny_graph(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the ``.onnx`` file of the two-frame model; do not change it."""
    return write_graph(tiny_model, tmp_path_factory.mktemp('graph') / 'tiny.onnx')


@pytest.fixture(scope='session')
def tiny_single_frame_graph(
        tiny_single_frame_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the ``.onnx`` file of the one-frame model; do not change it."""
    return write_graph(
        tiny_single_frame_model, tmp_path_factory.mktemp('graph') / 'single.onnx')


def write_graph(model: Path, path: Path) -> Path:
    """Export a model as a graph; skip the test without the libraries."""
    for library in ('onnx', 'onnxscript', 'onnxruntime'):
        pytest.importorskip(library, reason=f'{library} writes graphs and is not installed')
    import numpy as np

    from mtl_perception.inference.onnx_export import export_graph
    from mtl_perception.manifest import read_model
    manifest, _ = read_model(model)
    shape = (3, manifest.height, manifest.width, 3)
    images = np.random.default_rng(3).integers(0, 256, shape, np.uint8)
    export_graph(model, path, list(images), threads=1)
    return path


@pytest.fixture(scope='session')
def street_graph() -> Path:
    """Return the ``.onnx`` file of the shipped model; do not change it."""
    from mtl_perception.manifest import PRETRAINED
    return PRETRAINED / 'street.onnx'
