# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The verbs of the ``mtl`` command, one file each: arguments and printing only."""
