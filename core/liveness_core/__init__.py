"""What training and the service share: detection, alignment, preprocessing, quality and the bundle format.

No FastAPI and no PyTorch here, so that a service needs neither to see exactly the crops that training saw.
"""

import os

__version__ = "0.1.0"

# ONNX Runtime's own builds send usage data to Microsoft unless told not to before they are loaded. Software that is run
# on one's own machines because faces must not leave them sends nothing unasked.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
