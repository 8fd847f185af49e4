# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The look ``roads`` of the street: what real roads show and the classic look lacks."""
