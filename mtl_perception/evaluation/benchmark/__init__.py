# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How fast this machine runs a model: engines by themselves, and the node through DDS."""
