# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""CUDA graphs: work of a GPU that is captured once and launched as a whole."""

import threading
from collections.abc import Callable

import torch
from torch import Tensor

from mtl_perception.inference.captured_steps import Results

WARM_UP_RUNS = 3
"""Runs before a capture: libraries choose their algorithms and take their memory in them."""

_one_capture = threading.Lock()
"""A process may capture one graph at a time, whatever the engine."""


class CudaGraphs:
    """
    The :class:`mtl_perception.inference.captured_steps.Graphs` of a GPU.

    :param device: a CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        # always the same one: libraries keep memory for each stream that they have seen
        self._side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def capture(self, run: Callable[[], Results]) -> tuple[torch.cuda.CUDAGraph, Results]:
        """
        Return the graph of a function, which has memory of its own, and its results.

        :param run: starts work on the current stream, and never waits for it.
        :raises RuntimeError: if its work cannot be captured.
        """
        with _one_capture, torch.cuda.device(self._device):
            current = torch.cuda.current_stream()
            side = self._side
            try:
                side.wait_stream(current)
                with torch.cuda.stream(side):
                    for _ in range(WARM_UP_RUNS):
                        run()
                current.wait_stream(side)

                # other threads may take memory of the GPU meanwhile
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(
                        graph, stream=side, capture_error_mode='thread_local'):
                    results = run()
            finally:
                # torch leaves the stream of a capture that failed as the current one
                torch.cuda.set_stream(current)
        return graph, results

    def replay(self, graph: torch.cuda.CUDAGraph) -> None:
        """Launch a graph on the current stream."""
        graph.replay()

    def copy(self, target: Tensor, source: Tensor) -> None:
        """Copy on the GPU, on the current stream."""
        target.copy_(source, non_blocking=True)
