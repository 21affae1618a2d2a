import pytest

from liveness_service.access.policy import AccessError, AccessPolicy, Mode, admit, is_loopback
from liveness_service.errors import ForbiddenError, UnauthorizedError
from liveness_service.keys import Permission, new_key
from liveness_service.settings import Settings

SCORE, OPERATIONS = Permission.SCORE, Permission.OPERATIONS
KEY, ENTRY = new_key("backend", frozenset({SCORE}))


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("192.168.1.5", False),
        ("::ffff:10.0.0.1", False),
        ("my-machine", False),
        ("localhost.example.com", False),
    ],
)
def test_without_keys_it_is_open_only_where_nobody_else_reaches_it(host, local):
    assert is_loopback(host) == local
    if local:
        assert AccessPolicy.of(Settings(host=host)).mode is Mode.OPEN_ON_LOOPBACK
    else:
        with pytest.raises(AccessError, match="LIVENESS_ALLOW_ANONYMOUS"):
            AccessPolicy.of(Settings(host=host))
        assert AccessPolicy.of(Settings(host=host, allow_anonymous=True)).mode is Mode.OPEN_BY_SETTING
    assert AccessPolicy.of(Settings(host=host, api_keys=str(ENTRY), allow_anonymous=True)).mode is Mode.KEYS


@pytest.mark.parametrize("server", ["192.168.1.5", "10.0.0.1", "2001:db8::1", "fe80::1%eth0", "::ffff:10.0.0.1"])
def test_another_server_that_listens_elsewhere_than_the_setting_says_is_closed(server):
    policy = AccessPolicy.of(Settings())
    with pytest.raises(UnauthorizedError, match="its own machine only"):
        admit(policy.identify(None, server), {SCORE})
    with pytest.raises(UnauthorizedError):
        admit(policy.identify(KEY, server), {SCORE})
    for local in ("127.0.0.1", "::1", "::ffff:127.0.0.1", "/run/liveness.sock", None):
        admit(policy.identify(None, local), {SCORE})
    admit(AccessPolicy.of(Settings(allow_anonymous=True)).identify(None, server), {OPERATIONS})


def test_a_key_opens_what_it_is_for_and_nothing_else():
    policy = AccessPolicy.of(Settings(api_keys=str(ENTRY)))
    caller = policy.identify(KEY, "127.0.0.1")
    assert caller.name == "backend"
    admit(caller, {SCORE})
    admit(caller, {SCORE, OPERATIONS})
    with pytest.raises(ForbiddenError, match="the key backend has the permission score, this needs operations"):
        admit(caller, {OPERATIONS})
    for presented, name in ((None, "none"), ("lv_wrong", "unknown")):
        stranger = policy.identify(presented, "127.0.0.1")
        assert stranger.name == name
        with pytest.raises(UnauthorizedError) as raised:
            admit(stranger, {SCORE})
        assert "lv_wrong" not in str(raised.value)


def test_keys_come_from_the_setting_and_from_the_file_together(tmp_path):
    other, other_entry = new_key("prometheus", frozenset({OPERATIONS}))
    (tmp_path / "keys").write_text(f"{other_entry}\n")
    policy = AccessPolicy.of(Settings(api_keys=str(ENTRY), api_keys_file=tmp_path / "keys"))
    assert policy.keys.names == ["backend", "prometheus"]
    assert policy.identify(other, None).permissions == {OPERATIONS}


@pytest.mark.parametrize("content", [None, "", "\n", "lv_a_key_and_no_entry", b"\xff\xfe"])
def test_a_file_of_keys_that_is_of_no_use_is_named_and_does_not_open_the_service(tmp_path, content):
    path = tmp_path / "keys"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(AccessError, match="LIVENESS_API_KEYS_FILE") as raised:
        AccessPolicy.of(Settings(api_keys_file=path))
    assert str(path) in str(raised.value)
    assert "lv_a_key" not in str(raised.value)
