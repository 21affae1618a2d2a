"""Writes a bundle with new operating points: a version of its own that shares its networks with the old one."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from liveness_core.bundle import Manifest, OperatingPoint, load_bundle
from liveness_core.bundle.load import MANIFEST_FILE, check_files
from liveness_core.bundle.save import write_whole
from liveness_service.calibration.faces import CalibrationError

_FROM = "calibrated_from"
"""Key in the provenance's `config`: the bundle whose networks these are, by version and hash."""


def calibrated(
    manifest: Manifest,
    name: str,
    photos: Mapping[str, OperatingPoint],
    clips: Mapping[str, OperatingPoint],
    default: str | None,
    now: datetime,
) -> Manifest:
    """The manifest with new operating points, as a version of its own.

    Points with names that are there already are replaced. Every name is there for photos and for clips: where one of
    the two was not calibrated, it gets what the bundle's default point has there, with the data that was chosen on.

    Args:
        manifest: of the bundle that gave the scores.
        name: of the new version.
        photos: thresholds of photos by their names.
        clips: the same of clips.
        default: name of the default operating point; None leaves it as it is.
        now: when the bundle is made.
    """
    names = [*photos, *(name for name in clips if name not in photos)]
    usual, temporal = manifest.default_operating_point, manifest.temporal
    old = manifest.operating_points
    points = {**old, **{name: photos.get(name) or old.get(name) or old[usual] for name in names}}
    if temporal is not None:
        old = temporal.operating_points
        own = {**old, **{name: clips.get(name) or old.get(name) or old[usual] for name in names}}
        temporal = temporal.model_copy(update={"operating_points": own})
    origin = manifest.provenance.config.get(_FROM)
    if not isinstance(origin, dict) or "version" not in origin:
        origin = {"version": manifest.version, "manifest_sha256": manifest.manifest_sha256}
    provenance = manifest.provenance.model_copy(
        update={
            "created_at": now,
            "command": "liveness calibrate",
            "config": {**manifest.provenance.config, _FROM: origin},
        }
    )
    return manifest.model_copy(
        update={
            "version": f"{origin['version']}-{name}"[:100],
            "operating_points": points,
            "default_operating_point": default or usual,
            "temporal": temporal,
            "provenance": provenance,
        }
    ).sealed()


def write_bundle(source: Path, manifest: Manifest, target: Path) -> None:
    """Write the bundle; its files are hard links to those of the old one, or copies where the file system has none.

    Args:
        source: folder of the old bundle.
        manifest: the new manifest, sealed.
        target: folder of the new bundle, which must not exist.

    Raises:
        CalibrationError: there is something at the target, or it cannot be written.
        BundleError: the old bundle is not whole, or the new one does not pass what is checked when it is loaded.
    """
    if target.exists():
        raise CalibrationError(f"{target} exists: choose another name for --write, a bundle in use must not change")
    check_files(source, manifest)
    try:
        target.absolute().parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.new-", dir=target.absolute().parent))
    except OSError as error:
        raise CalibrationError(f"{target} cannot be written: {error.strerror}") from error
    try:
        staging.chmod(0o755)  # mkdtemp makes it private; a service under another user must read it
        for name in manifest.files:
            _share(source / name, staging / name)
        write_whole(staging / MANIFEST_FILE, (manifest.model_dump_json(indent=2) + "\n").encode())
        load_bundle(staging)
        staging.rename(target)
    except OSError as error:
        raise CalibrationError(f"{target} cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _share(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
