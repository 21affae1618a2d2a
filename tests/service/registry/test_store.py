import shutil

import fsspec
import pytest

from liveness_core.bundle import BundleError, Manifest, SignatureError, load_bundle
from liveness_service.registry.store import BundleStore
from support.signing import SigningKey
from support.tiny_bundle import make_tiny_bundle


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("store")
    make_tiny_bundle(path / "one", bias=5)
    make_tiny_bundle(path / "two", bias=-5, version="2")
    (path / "broken").mkdir()
    (path / "broken" / "bundle.json").write_text("{}")
    (path / ".hidden").mkdir()
    return path


@pytest.fixture(scope="module")
def s3():
    """A real S3 server of its own, and a bucket in it."""
    moto = pytest.importorskip("moto.server")
    server = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        files = fsspec.filesystem("s3")
        files.makedirs("bundles", exist_ok=True)
        yield files
        type(files).clear_instance_cache()  # it knows this server's port, and there may be another server later
    server.stop()


@pytest.fixture(params=["local", "memory", "s3"])
def store(request, folder, tmp_path):
    """The same bundles in different places."""
    if request.param == "local":
        yield BundleStore(str(folder), tmp_path / "cache")
        return
    files = fsspec.filesystem("memory") if request.param == "memory" else request.getfixturevalue("s3")
    for name in ("one", "two", "broken"):
        for path in (folder / name).iterdir():
            files.pipe_file(f"bundles/prefix/{name}/{path.name}", path.read_bytes())
    yield BundleStore(f"{request.param}://bundles/prefix", tmp_path / "cache")
    files.rm("bundles/prefix", recursive=True)


def test_what_is_there_is_listed_with_its_faults(store):
    broken, one, two = store.available()
    assert (one.name, one.manifest.version, one.fault) == ("one", "1", None)
    assert (two.name, two.manifest.version) == ("two", "2")
    assert broken.manifest is None
    assert "bundle.json" in broken.fault


def test_a_fetched_bundle_loads(store):
    assert load_bundle(store.fetch("two")).manifest.version == "2"
    assert load_bundle(store.fetch("two")).manifest.version == "2"  # from the cache


def test_a_name_with_a_digest_takes_nothing_else(store):
    digest = store.manifest("one").manifest_sha256
    assert load_bundle(store.fetch(f"one@{digest[:12]}")).manifest.version == "1"
    with pytest.raises(BundleError, match="not what was meant"):
        store.fetch(f"two@{digest[:12]}")


@pytest.mark.parametrize("name", ["three", "../one", "one/..", "", "broken", "@0123456789ab"])
def test_what_is_not_there_is_an_error(store, name):
    with pytest.raises(BundleError):
        store.fetch(name)


def test_a_changed_file_in_the_store_is_not_taken(folder, tmp_path):
    files = fsspec.filesystem("memory")
    for path in (folder / "one").iterdir():
        files.pipe_file(f"changed/one/{path.name}", path.read_bytes())
    content = bytearray(files.cat_file("changed/one/encoder.onnx"))
    content[100] ^= 1
    files.pipe_file("changed/one/encoder.onnx", bytes(content))
    with pytest.raises(BundleError, match="SHA-256") as raised:
        BundleStore("memory://changed", tmp_path).fetch("one")
    assert raised.value.file == "one/encoder.onnx"
    assert list(tmp_path.iterdir()) == []  # nothing half fetched is left


def test_a_bundle_that_is_replaced_in_the_store_is_fetched_anew(folder, tmp_path):
    files = fsspec.filesystem("memory")
    store = BundleStore("memory://renewed", tmp_path)
    for source in ("one", "two"):
        for path in (folder / source).iterdir():
            files.pipe_file(f"renewed/one/{path.name}", path.read_bytes())
        manifest = Manifest.model_validate_json((folder / source / "bundle.json").read_text())
        assert load_bundle(store.fetch("one")).manifest == manifest


@pytest.mark.parametrize("url", ["nosuchthing://bucket", "s3://there-is-no-such-bucket/x"])
def test_a_store_that_cannot_be_reached_says_so(url, tmp_path, s3):
    with pytest.raises(BundleError) as raised:
        BundleStore(url, tmp_path).available()
    assert url in str(raised.value.file)


def test_a_local_folder_that_is_gone_says_what_to_check(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    store = BundleStore(str(tmp_path / "copy"), tmp_path / "cache")
    shutil.rmtree(tmp_path / "copy")
    with pytest.raises(BundleError, match="LIVENESS_MODELS_URL"):
        store.available()


def put(files, name, path):
    for file in path.iterdir():
        files.pipe_file(f"{name}/{file.name}", file.read_bytes())


def test_a_signature_comes_along_and_is_taken_when_it_comes_later(folder, tmp_path):
    files, signer = fsspec.filesystem("memory"), SigningKey.make(tmp_path)
    bundle = shutil.copytree(folder / "one", tmp_path / "one")
    store = BundleStore("memory://signed", tmp_path / "cache")
    put(files, "signed/one", bundle)
    with pytest.raises(SignatureError, match="missing"):
        load_bundle(store.fetch("one"), trusted=signer.trusted)
    put(files, "signed/one", signer.sign(bundle))
    for _ in range(2):  # fetched, then from the cache
        assert load_bundle(store.fetch("one"), trusted=signer.trusted).signed_by is not None
    put(files, "signed/one", SigningKey.make(tmp_path, "other").sign(bundle))
    with pytest.raises(SignatureError, match="none of the trusted keys"):
        load_bundle(store.fetch("one"), trusted=signer.trusted)
