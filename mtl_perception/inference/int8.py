# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Weights and activations of 8 bits by NNCF, from frames that the model will see the like of."""

import logging
import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.errors import CheckpointError, ConfigurationError
from mtl_perception.files import write_atomically
from mtl_perception.inference.graph_engine import GraphEngine
from mtl_perception.inference.int8_file import Int8Graph, digest_of, int8_path
from mtl_perception.inference.onnx_engine import runtime as onnxruntime
from mtl_perception.inference.openvino_engine import runtime as openvino
from mtl_perception.inference.step_graph import StepGraph, find_graph, read_graph
from mtl_perception.reason_codes import ReasonCode

Clip = Sequence[NDArray[np.uint8]]
"""Consecutive images of the network's size, (h, w, 3) uint8 RGB."""

FEWEST = 16
"""Frames that the ranges of activations stand on, at least."""


def quantise(model: str | Path, engine: GraphEngine, clips: Iterable[Clip]) -> Path:
    """
    Write the ``.int8`` file of a model: post-training quantisation.

    Jacob et al., Quantization and Training of Neural Networks for Efficient
    Integer-Arithmetic-Only Inference, CVPR 2018: r = S (q - Z), eq. 1. NNCF chooses S and Z of
    weights per channel, those of activations from the ranges on the frames.

    :param model: name or path of a model with a graph.
    :param engine: of the same model in fp32; gives the states between the frames.
    :param clips: the frames.
    :return: the file.
    :raises ConfigurationError: if NNCF is not installed or there are too few frames.
    :raises CheckpointError: if NNCF does not accept the graph.
    :raises StorageError: if the file cannot be written.
    """
    nncf = _nncf()
    graph = read_graph(find_graph(model))
    feeds = [feed for clip in clips for feed in _feeds(engine, graph, clip)]
    if len(feeds) < FEWEST:
        raise ConfigurationError(
            f'int8 takes the ranges of activations from frames; there are {len(feeds)}, wanted at '
            f'least {FEWEST}')

    with tempfile.TemporaryDirectory() as folder:
        whole = openvino().Core().read_model(str(_folded(graph, Path(folder))))
        try:
            low = nncf.quantize(
                whole, nncf.Dataset(feeds), subset_size=len(feeds),
                preset=nncf.QuantizationPreset.MIXED)
        except Exception as error:
            raise CheckpointError(
                f'{graph.manifest.name}: NNCF {nncf.__version__} does not accept the graph '
                f'({(str(error).splitlines() or [""])[0][:200]}); use bf16 or fp32',
                ReasonCode.MODEL_ARCHITECTURE) from error

        openvino().save_model(low, str(Path(folder) / 'low.xml'), compress_to_fp16=False)
        found = Int8Graph(
            digest_of(graph), (Path(folder) / 'low.xml').read_bytes(),
            (Path(folder) / 'low.bin').read_bytes())

    path = int8_path(model)
    write_atomically(found.sealed(), path)
    return path


def _nncf() -> Any:
    """Return the module ``nncf``, which logs warnings alone and tells its makers nothing."""
    # read when NNCF is imported: it would send statistics of use over the network
    os.environ['NNCF_CI'] = '1'
    try:
        import nncf
    except ImportError as error:
        raise ConfigurationError(
            f"int8 is made by NNCF, which cannot be used ({error}); pip install "
            "'mtl_perception[int8]' brings it. bf16 needs nothing besides OpenVINO") from error
    nncf.set_log_level(logging.WARNING)
    return nncf


def _feeds(engine: GraphEngine, graph: StepGraph, clip: Clip) -> list[dict[str, NDArray[Any]]]:
    """Return the inputs of the graph for each frame of a clip."""
    found = []
    state: Any = None
    for image in clip:
        feed: dict[str, NDArray[Any]] = {'image': np.array(image)[None]}
        if graph.state:
            stages = state or [np.zeros(shape, np.float32) for shape in graph.state]
            feed['first'] = np.array(state is None)
            feed |= {f'state_{index}': stage for index, stage in enumerate(stages)}
        found.append(feed)
        _, state = engine.step(image, state)
    return found


def _folded(graph: StepGraph, folder: Path) -> Path:
    """
    Write a graph with its weights as plain numbers.

    They are stored in float16 with factors beside them; NNCF would take the product for an
    activation and leave the weights as they are.
    """
    library = onnxruntime()
    path = folder / 'folded.onnx'
    options = library.SessionOptions()
    options.graph_optimization_level = library.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3
    library.InferenceSession(graph.content, options, providers=['CPUExecutionProvider'])
    return path
