import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from liveness_service.cores import available_cores
from liveness_service.fields import similar
from liveness_service.platforms import without_effect
from liveness_service.settings import (
    Settings,
    SettingsError,
    read_settings,
    settings_table,
    unknown_variables,
)


def test_without_an_environment_the_defaults_are_sound():
    settings = Settings()
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.bundle_path is None
    assert settings.preparation_threads == available_cores() >= 1
    assert settings.max_pixels == 50_000_000


def test_the_environment_is_read(monkeypatch):
    for name, value in {
        "LIVENESS_HOST": "0.0.0.0",
        "LIVENESS_PORT": "9000",
        "LIVENESS_BUNDLE_PATH": "/models/x",
        "LIVENESS_MAX_QUEUE_DELAY_MS": "2.5",
        "LIVENESS_DETECTOR": "yunet",
        "LIVENESS_PRECISION": "int8",
        "LIVENESS_LOG_LEVEL": "debug",
    }.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert (settings.host, settings.port) == ("0.0.0.0", 9000)
    assert settings.bundle_path == Path("/models/x")
    assert settings.max_queue_delay_ms == 2.5
    assert (settings.detector, settings.precision, settings.log_level) == ("yunet", "int8", "debug")


def test_variables_that_are_set_to_nothing_are_not_set(monkeypatch):
    # As compose writes `${LIVENESS_BUNDLE_PATH:-}`.
    monkeypatch.setenv("LIVENESS_BUNDLE_PATH", "")
    monkeypatch.setenv("PORT", "")
    assert Settings() == Settings(port=8000, bundle_path=None)


def test_port_works_without_the_prefix_and_the_prefix_wins(monkeypatch):
    monkeypatch.setenv("PORT", "7000")
    assert Settings().port == 7000
    monkeypatch.setenv("LIVENESS_PORT", "7001")
    assert Settings().port == 7001
    assert Settings(port=7002).port == 7002
    # Others of that kind mean something else in many environments.
    monkeypatch.setenv("HOST", "build-machine-17")
    assert Settings().host == "127.0.0.1"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "65536"),
        ("port", "http"),
        ("max_upload_bytes", "1023"),
        ("max_upload_bytes", "20MB"),
        ("max_pixels", "0"),
        ("max_pixels", "1000000000"),
        ("max_faces", "0"),
        ("max_inflight", "0"),
        ("max_inflight_per_key", "0"),
        ("max_inflight_clips_per_key", "0"),
        ("max_connections", "0"),
        ("max_connections_per_address", "0"),
        ("max_header_bytes", "1023"),
        ("header_timeout_ms", "99"),
        ("max_pipelined", "-1"),
        ("answer_timeout_ms", "99"),
        ("max_uploads", "0"),
        ("max_uploads_per_key", "0"),
        ("max_held_bytes", "1023"),
        ("min_upload_rate", "-1"),
        ("shutdown_delay_ms", "-1"),
        ("max_batch_size", "0"),
        ("max_queue_delay_ms", "-1"),
        ("max_queue_delay_ms", "nan"),
        ("deadline_ms", "0"),
        ("upload_timeout_ms", "0"),
        ("preparation_threads", "0"),
        ("workers", "-1"),
        ("workers", "257"),
        ("worker_memory_mb", "255"),
        ("worker_memory_mb", "65537"),
        ("intra_op_threads", "0"),
        ("detector_min_confidence", "1.5"),
        ("detector", "retinaface"),
        ("provider", "coreml"),
        ("precision", "int4"),
        ("log_format", "xml"),
        ("log_level", "verbose"),
        ("device_id", "-1"),
        ("gpu_memory_mb", "63"),
        ("gpu_memory_mb", str((1 << 20) + 1)),
        ("api_keys", "lv_a_key_and_no_entry"),
        ("rate_limit", "many"),
        ("rate_limit", "0/minute"),
        ("rate_limit_store", "memcached://cache"),
    ],
)
def test_a_value_out_of_range_stops_the_start_and_is_named(monkeypatch, name, value):
    monkeypatch.setenv(f"LIVENESS_{name.upper()}", value)
    with pytest.raises(ValidationError) as raised:
        Settings()
    assert name.lower() in str(raised.value).lower()


@pytest.mark.parametrize("mebibytes", [64, 1 << 20])
def test_the_limits_of_a_gpus_memory_are_allowed(mebibytes):
    assert Settings(gpu_memory_mb=mebibytes).gpu_memory_mb == mebibytes


@pytest.mark.parametrize("prefix", ["", "/face", "/a/b-c_d.e~1", "/%C3%BC"])
def test_a_prefix_of_the_path_is_a_path(prefix):
    assert Settings(root_path=prefix).root_path == prefix


def test_a_slash_at_the_end_of_a_prefix_is_left_out():
    assert Settings(root_path="/face/").root_path == "/face"
    assert Settings(root_path="/").root_path == ""


@pytest.mark.parametrize(
    "prefix",
    [
        "face",
        "//elsewhere.example",
        "/a//b",
        "/../b",
        "https://elsewhere.example",
        "/a b",
        "/a'b",
        '/a"b',
        "/a<b",
        "/a>b",
        "/a\\b",
        "/a`b",
        "/a\nb",
        "/a?b",
        "/a#b",
        "/a%b",
        "/a&b",
        "/ü",
        "/a\n",
    ],
)
def test_a_prefix_that_is_no_plain_path_stops_the_start(prefix):
    with pytest.raises(ValidationError, match="root_path"):
        Settings(root_path=prefix)


def test_a_misspelt_variable_is_found():
    environment = {
        "LIVENESS_MAX_PIXEL": "1",
        "LIVENESS_MAX_PIXELS": "20000",
        "liveness_port": "1",
        "LIVENESS_CLIENT_KEY": "of whoever calls the service",
        "LIVENESS_": "x",
        "PORT": "8000",
        "PATH": "/bin",
    }
    assert unknown_variables(environment) == ["LIVENESS_", "LIVENESS_MAX_PIXEL"]
    known = [f"LIVENESS_{name.upper()}" for name in Settings.model_fields]
    assert similar("LIVENESS_MAX_PIXEL", known) == "LIVENESS_MAX_PIXELS"
    assert similar("LIVENESS_COLOUR", known) is None


def test_messages_name_the_variable(monkeypatch):
    for name, value, message in (
        ("LIVENESS_MAX_PIXELS", "many", "LIVENESS_MAX_PIXELS: Input should be a valid integer"),
        ("LIVENESS_PORT", "http", "LIVENESS_PORT: Input should be a valid integer"),
        ("PORT", "99999", "PORT: Input should be less than or equal to 65535 (given: '99999')"),
        ("LIVENESS_ROOT_PATH", "face", "LIVENESS_ROOT_PATH: not a prefix of paths"),
        ("LIVENESS_API_KEYS", "secret", "LIVENESS_API_KEYS: "),
    ):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            with pytest.raises(SettingsError) as raised:
                read_settings()
        assert str(raised.value).startswith(message)
        assert "secret" not in str(raised.value)
    with pytest.raises(SettingsError, match=r"LIVENESS_MAX_FACES: .*\nLIVENESS_WORKERS: ") as raised:
        read_settings(max_faces=0, workers=-1)
    assert read_settings(max_faces=1).max_faces == 1


def test_what_kubernetes_writes_for_a_service_of_our_name_is_no_port(monkeypatch):
    monkeypatch.setenv("LIVENESS_PORT", "tcp://10.96.0.7:80")
    assert Settings().port == 8000
    monkeypatch.setenv("PORT", "7000")
    assert Settings().port == 7000
    links = {"LIVENESS_PORT": "tcp://10.96.0.7:80", "LIVENESS_SERVICE_HOST": "10.96.0.7", "LIVENESS_SERVICE_PORT": "80"}
    links |= {"LIVENESS_PORT_80_TCP_ADDR": "10.96.0.7", "LIVENESS_API_SERVICE_PORT_HTTP": "80"}
    assert unknown_variables(links) == []
    assert set(without_effect(links, 7000)) == set(links)
    assert without_effect({"LIVENESS_PORT": "7000"}, 7000) == {}


def test_variables_of_platforms_that_change_nothing_are_named():
    assert without_effect({"PATH": "/bin", "PORT": "9000", "WEB_CONCURRENCY": "1", "LIVENESS_PORT": "9000"}, 9000) == {}
    assert without_effect({"PORT": "9000"}, 0) == {}  # any free one was asked for
    found = without_effect(
        {"WEB_CONCURRENCY": "4", "PORT": "9000", "UVICORN_PORT": "1", "GUNICORN_CMD_ARGS": "-w 2"}, 80
    )
    assert set(found) == {"WEB_CONCURRENCY", "PORT", "UVICORN_PORT", "GUNICORN_CMD_ARGS"}
    assert "80" in found["PORT"]
    assert "LIVENESS_WORKERS" in found["WEB_CONCURRENCY"]


@pytest.mark.parametrize(
    "origins",
    ["*", "https://a.example", "https://a.example, http://localhost:3000", "http://[::1]:8080", "http://10.0.0.1"],
)
def test_origins_are_as_browsers_write_them(origins):
    assert Settings(cors_origins=origins).cors_origins == origins


@pytest.mark.parametrize(
    "origins",
    [
        "a.example",
        "https://a.example/",
        "https://A.example",
        "*,https://a.example",
        "https://*.example",
        "null",
        "https://a.example:443",
        "http://a.example:80",
        "ftp://a.example",
        "https://u@a.example",
        "https://a.example:0",
    ],
)
def test_what_no_browser_writes_stops_the_start(origins):
    with pytest.raises(ValidationError, match="cors_origins"):
        Settings(cors_origins=origins)


def test_an_argument_that_is_no_setting_is_refused():
    with pytest.raises(ValidationError, match="max_pixel"):
        Settings(max_pixel=1)


def test_every_setting_is_explained_with_its_unit_in_the_name():
    table = settings_table()
    for name, field in Settings.model_fields.items():
        assert f"`LIVENESS_{name.upper()}`" in table
        assert field.description
        assert not re.search(r"(delay|timeout|deadline|grace)$", name)


def test_spans_by_another_protocol_than_ours_are_refused_at_start(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    Settings(tracing=False)
    with pytest.raises(ValidationError, match="4318"):
        Settings(tracing=True)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf")
    Settings(tracing=True)


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("max_batch_size", "many", "1 to 256"),
        ("max_batch_size", "257", "1 to 256"),
        ("audit_max_bytes", "lots", "10000 or more"),
        ("docs", "perhaps", "true or false"),
        ("precision", "int4", "'fp32', 'fp16' or 'int8'"),
        ("detector", "haar", "'scrfd'"),
    ],
)
def test_an_error_says_what_is_allowed(monkeypatch, name, value, allowed):
    monkeypatch.setenv(f"LIVENESS_{name.upper()}", value)
    with pytest.raises(SettingsError) as refused:
        read_settings()
    assert allowed in str(refused.value)
    assert repr(value) in str(refused.value)
