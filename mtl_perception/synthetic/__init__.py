# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The street: procedural driving sequences with exact labels, with numpy and OpenCV only."""

from mtl_perception.synthetic.street import Street
from mtl_perception.synthetic.street_frame import Box, StreetFrame

__all__ = ['Box', 'Street', 'StreetFrame']
