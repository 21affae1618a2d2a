"""Send photos at a fixed rate to a running service; print statuses, failures and latencies as JSON.

    python benchmarks/load.py http://127.0.0.1:8000 --rate 50 --seconds 30 [--key lv_…] [--image photo.jpg]

Requests are sent at the rate even while earlier ones are unanswered, as many independent clients would. Above its
capacity the service refuses requests with 503 `overloaded`. `behind_ms` is the longest delay of a request behind its
schedule: above a few milliseconds this client was the bottleneck, so run it on another machine than the service.
"""

import argparse
import asyncio
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from support.load import send_at_rate
from support.pictures import astronaut, encoded


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="of the service, without /v1/liveness")
    parser.add_argument("--rate", type=float, default=10, help="requests a second")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument(
        "--key", default=os.environ.get("LIVENESS_CLIENT_KEY", ""), help="access key; LIVENESS_CLIENT_KEY"
    )
    parser.add_argument("--image", type=Path, help="photo to send; the 512×512 astronaut without")
    options = parser.parse_args()
    content = options.image.read_bytes() if options.image else encoded(astronaut(), quality=95)
    outcome = asyncio.run(send_at_rate(options.url, [content], options.rate, options.seconds, key=options.key))
    print(json.dumps(outcome.summary(), indent=2))


if __name__ == "__main__":
    main()
