"""Setting thresholds on a camera's own people: `liveness calibrate`. docs/calibration.md says what it promises."""
