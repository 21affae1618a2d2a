"""Health check of the service's images: exit status 0 while the service is ready. Imports little: it runs often."""

import os
import sys
from urllib.error import URLError
from urllib.request import urlopen

port = os.environ.get("LIVENESS_PORT", "")
if not port.isdecimal():  # Kubernetes writes tcp://10.0.0.1:80 there where a service is called `liveness`
    port = os.environ.get("PORT") or "8000"
try:
    urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=4).close()
except (URLError, TimeoutError) as error:
    sys.exit(f"not ready: {error}")
