# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Evolutionary search for the weights of the losses: plan, trials, journal and results."""
