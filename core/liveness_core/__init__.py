"""What training and the service share: detection, alignment, preprocessing, quality and the bundle format.

It needs neither FastAPI nor PyTorch, so that the service cuts exactly the crops that training cut without installing
PyTorch.
"""

import os

__version__ = "0.1.0"

# ONNX Runtime's own builds send usage data to Microsoft unless told not to before they are loaded. Software that people
# run on their own machines, because faces must not leave them, sends nothing that nobody asked for.
#
# This is the one thing that the package changes for the whole process on import, and the exception is meant: whatever
# imports ONNX Runtime by way of this package (service, training, a benchmark, a user's script) has to pass here first,
# while a function to be called at start could be forgotten. A value that the user has set is kept.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
