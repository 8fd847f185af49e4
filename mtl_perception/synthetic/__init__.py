# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The street: procedural driving sequences with exact labels, from numpy and OpenCV alone."""

from mtl_perception.synthetic.street import Box, Street, StreetFrame

__all__ = ['Box', 'Street', 'StreetFrame']
