# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Build of the ament_python package, with pip as well as with colcon."""

from glob import glob

from setuptools import find_packages, setup

PACKAGE = 'mtl_perception'

SETTINGS = ['pydantic>=2.11', 'typing-extensions>=4.12']
# Videos, recordings and data sets; also an extra, for an installation that lacks them.
EVALUATE = [*SETTINGS, 'av>=12.0', 'lz4>=4.0', 'rosbags>=0.10.4', 'zstandard>=0.22']
RUNTIME = [
    *EVALUATE,
    'numpy>=1.24',
    'onnxruntime>=1.18',
    'opencv-python-headless>=4.8',
    'pyyaml>=6.0',
    'rich>=13.0',
]
# For a ROS 2 that brings NumPy 1 and a cv_bridge that was built for it, as Jazzy does. OpenCV 4.12
# and newer ask for NumPy 2.
NUMPY1 = ['numpy<2', 'opencv-python-headless<4.12']
TORCH = ['safetensors>=0.4.3', 'torch>=2.6', 'torchvision>=0.21']
ROS_WHEELS = [
    'ros-kilted-rclpy',
    'ros-kilted-rmw-fastrtps-cpp',
    'ros-kilted-sensor-msgs',
    'ros-ament-index-python',
    'ros-diagnostic-msgs',
    'ros-geometry-msgs',
    'ros-lifecycle-msgs',
    'ros-nav-msgs',
    'ros-rosgraph-msgs',
    'ros-std-msgs',
    'ros-std-srvs',
    'ros-stereo-msgs',
    'ros-visualization-msgs',
]
OPENVINO = ['openvino>=2024.4']
INT8 = [*OPENVINO, 'nncf>=2.13']
ONNX_EXPORT = ['onnx>=1.16', 'onnxscript>=0.5']
TRAIN = [
    *SETTINGS,
    'docstring-parser>=0.15',
    'matplotlib>=3.7',
    'tensorboard>=2.16',
]
GRADIENTS = ['torchjd[cagrad,fairgrad]>=0.18']
TIMM = ['timm>=1.0']
DASK = ['distributed>=2024.1']
MLFLOW = ['mlflow-skinny>=2.16']
WANDB = ['wandb>=0.17']
NYU = ['h5py>=3.8', 'scipy>=1.10']
VIEW = ['rerun-sdk>=0.41']
DOCS = ['furo>=2024.8', 'myst-parser>=4.0', 'sphinx>=8.1']
TEST = [
    'catkin-pkg',
    'cityscapesscripts>=2.2',
    'colcon-common-extensions',
    'faster-coco-eval>=1.6',
    'hypothesis>=6.100',
    'jsonschema>=4.20',
    'lightning>=2.4',  # for one example of docs/weighting.md
    'mcap-ros2-support>=0.5.5',
    'mypy>=1.11',
    'pytest>=8.0',
    'pytest-timeout>=2.3',
    'ruff>=0.6',
    'scikit-learn>=1.4',
    'scipy>=1.10',
    'types-PyYAML',
]

setup(
    name=PACKAGE,
    version='0.1.0',
    description='Multi-task perception for ROS 2: semantics, depth and motion from one network.',
    author='The mtl_perception authors',
    author_email='maintainers@example.com',
    maintainer='The mtl_perception authors',
    maintainer_email='maintainers@example.com',
    license='Apache-2.0',
    python_requires='>=3.10',
    packages=find_packages(include=[PACKAGE, f'{PACKAGE}.*']),
    package_data={PACKAGE: ['py.typed', 'pretrained/*.safetensors', 'pretrained/*.json',
                            'pretrained/*.motion', 'pretrained/*.onnx']},
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{PACKAGE}']),
        (f'share/{PACKAGE}', ['package.xml']),
        (f'share/{PACKAGE}/launch', glob('launch/*.launch.py')),
        (f'share/{PACKAGE}/config', glob('config/*.*')),
        (f'share/{PACKAGE}/config/evaluate', glob('config/evaluate/*.yaml')),
        (f'share/{PACKAGE}/config/train', glob('config/train/*.yaml')),
        (f'share/{PACKAGE}/config/motion', glob('config/motion/*.yaml')),
        (f'share/{PACKAGE}/config/compare', glob('config/compare/*.yaml')),
        (f'share/{PACKAGE}/config/search', glob('config/search/*.yaml')),
        (f'lib/{PACKAGE}', glob('scripts/*')),
    ],
    zip_safe=False,
    install_requires=['setuptools', *RUNTIME],
    extras_require={
        'numpy1': NUMPY1,
        'ros-wheels': ROS_WHEELS,
        'evaluate': EVALUATE,
        'openvino': OPENVINO,
        'int8': INT8,
        'torch': TORCH,
        'train': TORCH + TRAIN,
        'onnx-export': TORCH + SETTINGS + ONNX_EXPORT,
        'gradients': TORCH + GRADIENTS,
        'timm': TORCH + TIMM,
        'dask': DASK,
        'mlflow': MLFLOW,
        'wandb': WANDB,
        'nyu': NYU,
        'view': VIEW,
        'docs': DOCS,
        'test': TEST,
        'all': (
            ROS_WHEELS + EVALUATE + INT8 + TORCH + TRAIN + ONNX_EXPORT + GRADIENTS + TIMM
            + DASK + NYU + VIEW + DOCS + TEST),
    },
    entry_points={
        'console_scripts': [
            f'mtl = {PACKAGE}.cli:main',
            f'perception_node = {PACKAGE}.programs:perception_node',
            f'camera_source = {PACKAGE}.programs:camera_source',
        ],
    },
)
