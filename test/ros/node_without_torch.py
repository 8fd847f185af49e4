# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The perception node on a machine without torch."""

import sys

for name in ('torch', 'torchvision', 'safetensors'):
    sys.modules[name] = None

if __name__ == '__main__':
    from mtl_perception.ros.perception_node import main
    raise SystemExit(main())
