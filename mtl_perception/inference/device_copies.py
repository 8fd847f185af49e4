# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Copies between the memory of the host and that of a GPU: one each way, and one wait."""

from collections.abc import Mapping

import torch
from torch import Tensor


def to_device(images: Tensor, device: torch.device) -> Tensor:
    """
    Return images on a device; on a GPU the host goes on before they are there.

    :param images: on the host.
    :param device: where they are wanted.
    """
    if device.type == 'cpu':
        return images
    # only from pinned memory does a copy not wait; torch keeps such memory for the next one
    return images.pin_memory().to(device, non_blocking=True)


def to_host(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """
    Return tensors on the host, copied from a GPU at once.

    :param tensors: all on one device; those on the host are returned as they are.
    """
    if not any(value.device.type != 'cpu' for value in tensors.values()):
        return dict(tensors)
    packed = pack(tensors).cpu()  # the one place where the host waits for the GPU
    return unpack(packed, tensors)


def pack(tensors: Mapping[str, Tensor]) -> Tensor:
    """
    Return the bytes of tensors, one after the other, as one uint8 tensor on their device.

    :param tensors: of any shapes and types.
    """
    ordered = _by_item_size(tensors).values()
    return torch.cat([value.contiguous().flatten().view(torch.uint8) for value in ordered])


def unpack(packed: Tensor, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """
    Return the tensors in the bytes of :func:`pack`, as views of them.

    :param packed: on any device.
    :param like: names, shapes and types; the values are not read.
    """
    ordered = _by_item_size(like)
    sizes = [value.numel() * value.element_size() for value in ordered.values()]
    parts = torch.split(packed, sizes)
    return {name: part.view(value.dtype).view(value.shape)
            for (name, value), part in zip(ordered.items(), parts, strict=True)}


def _by_item_size(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors with the largest items first, so that each begins at a multiple of its."""
    return dict(sorted(tensors.items(), key=lambda item: -item[1].element_size()))
