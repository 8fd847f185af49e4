# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Evaluators of models on streets, data sets and recordings, and the report that they share."""
