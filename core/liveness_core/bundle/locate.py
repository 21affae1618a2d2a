"""Where the default bundle is: inside an installed wheel, or in the checkout of an editable install."""

from pathlib import Path

import liveness_core


def default_bundle_path() -> Path:
    """Folder of the default bundle. It may be missing; loading the bundle then says so."""
    package = Path(liveness_core.__file__).parent
    packaged = package / "default_bundle"
    return packaged if packaged.is_dir() else package.parents[1] / "models" / "default"
