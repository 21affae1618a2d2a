"""Write the description of the API, of which the client's types are made: `python clients/web/openapi.py OUT`."""

import json
import sys
from pathlib import Path

from liveness_service.app import create_app
from liveness_service.settings import Settings

if __name__ == "__main__":
    out = Path(sys.argv[1])
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(create_app(Settings()).openapi()))
