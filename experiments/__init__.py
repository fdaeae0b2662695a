"""Commands of the suite, and the rooms that they share."""

import os

# ONNX Runtime 1.31 for Linux sends figures of its use to its makers, and keeps a number of the
# machine in the user's cache and a file in the temporary folder, unless this is set before it is
# imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
