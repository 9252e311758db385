"""What the doctor says of an installation, for tests."""

from registry.upkeep.inspection import inspect_installation


def sick(url, blobs, tmp_path, **options):
    """Return what the doctor finds wrong: state and detail by name."""
    options = {"data_dir": tmp_path, "min_free_bytes": 0, "redis_url": None, **options}
    checks = list(inspect_installation(url, blobs, **options))
    assert len({check.name for check in checks}) == len(checks) >= 3
    return {check.name: (check.state, check.detail) for check in checks if check.state != "ok"}
