"""What training and the service share: detection, alignment, preprocessing, quality and the bundle format.

No FastAPI and no PyTorch here, so that a service needs neither to see exactly the crops that training saw.
"""

__version__ = "0.1.0"
