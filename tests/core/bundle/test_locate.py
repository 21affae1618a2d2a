from pathlib import Path

import liveness_core
from liveness_core.bundle import default_bundle_path


def test_default_bundle_lies_in_the_wheel_or_in_the_checkout():
    package = Path(liveness_core.__file__).parent
    if (package / "default_bundle").is_dir():
        assert default_bundle_path() == package / "default_bundle"
    else:
        checkout = Path(__file__).resolve().parents[3]
        assert default_bundle_path() == checkout / "models" / "default"
