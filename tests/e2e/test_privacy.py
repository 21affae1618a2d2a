"""No picture, crop or embedding is written: not to the log, the audit log or a trace, and not to a file.

`tests/conftest.py` looks in the same way at what every other test's service logs.
"""

import io
import secrets
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from liveness_core.bundle import load_bundle
from liveness_core.views import cut_views, tensors
from liveness_service.decoding.image import ImageLimits, decode_image
from support.clips import person_clip
from support.collector import collecting
from support.pictures import astronaut, encoded, no_face, two_faces
from support.privacy import disguises, leak_in
from support.server import running_server

MARK = secrets.token_hex(12)
"""In the metadata, names and ends of the uploads; not in the query, which belongs to no file."""
SHARED_MEMORY = Path("/dev/shm")


def own(picture):
    """The picture with noise that no other test has."""
    noise = np.random.default_rng(int(MARK, 16)).integers(-3, 4, picture.shape)
    return np.clip(picture.astype(int) + noise, 0, 255).astype(np.uint8)


ALL = "all of them"
QUICK = ("a.jpg", "e.png", "g.webp", "i.bmp", "k.jpg")


@pytest.fixture(scope="module", params=[QUICK, pytest.param(ALL, marks=pytest.mark.slow)], ids=["some", "all"])
def photos(request):
    picture = own(astronaut())
    exif = Image.Exif()
    exif[0x010E] = MARK
    cmyk = io.BytesIO()
    Image.fromarray(picture).convert("CMYK").save(cmyk, "JPEG")
    files = {
        "a.jpg": encoded(picture, exif=exif),
        "b.jpg": encoded(picture, progressive=True, comment=MARK),
        "c.jpg": cmyk.getvalue(),
        "d.png": encoded(picture, "PNG", exif=exif),
        "e.png": cv2.imencode(".png", picture[..., ::-1].astype(np.uint16) * 257)[1].tobytes(),
        "f.png": encoded(picture[..., 1], "PNG"),
        "g.webp": encoded(picture, "WEBP", exif=exif),
        "h.webp": encoded(picture, "WEBP", lossless=True),
        "i.bmp": encoded(np.repeat(np.repeat(picture, 2, axis=0), 2, axis=1), "BMP"),
        "j.jpg": encoded(own(no_face())),
        "k.jpg": encoded(own(two_faces())),
    }
    chosen = files if request.param == ALL else request.param
    return {name: files[name] + MARK.encode() for name in chosen}


@pytest.fixture(scope="module")
def secrets_of(photos, mtcnn):
    """Pieces of every upload, and of its pixels, crop, tensor and embedding."""
    bundle = load_bundle(Path(__file__).resolve().parents[2] / "models/default")
    found = [MARK.encode()]
    for content in photos.values():
        found += [content[at : at + 24] for at in (len(content) // 3, len(content) // 2, len(content) - 80)]
        picture = decode_image(content, ImageLimits(50_000_000))
        found += [picture[row, 200:208].tobytes() for row in (80, 120, 160)]
        found += [picture[row, 200:208, ::-1].tobytes() for row in (80, 120, 160)]
        for face in mtcnn.detect(picture)[:1]:
            crops = cut_views(bundle.manifest.views, picture, face)
            embedding = bundle.scorer.score([crops])[0].embedding
            for crop, tensor in zip(crops, tensors(bundle.manifest.views, [crops]).values(), strict=True):
                found += [crop[row, 60:68].tobytes() for row in (40, 70)]
                found.append(np.ascontiguousarray(tensor)[0, 1, 40, 60:68].tobytes())
            found.append(embedding[:16][-8:].tobytes())  # a committee may have fewer than 8
    return [form for piece in found for form in disguises(piece)]


def everything_is_sent(client, photos):
    """Uploads of all kinds, whole, damaged, in forms and bodies, to every path; their statuses."""
    seen = set()

    def post(path, **request):
        seen.add(client.post(path, **request).status_code)

    for name, content in photos.items():
        post("/v1/liveness", content=content)
        post("/v1/liveness?explain=true", files={"image": (f"{MARK}-{name}", content, "image/jpeg")})
        post("/v1/liveness", content=content[: len(content) // 2])
        post("/v1/liveness", content=content[:200])
        damaged = bytearray(content)
        damaged[30 : len(damaged) : 997] = bytes(len(range(30, len(damaged), 997)))
        post("/v1/liveness", content=bytes(damaged))
    photo = photos["a.jpg"]
    post("/v1/liveness?faces=all&explain=true", content=photos["k.jpg"])
    post("/v1/liveness/video", content=photo)
    clip = person_clip() + MARK.encode()
    post("/v1/liveness/video?explain=true", content=clip)
    post("/v1/liveness/video", files={"video": (f"{MARK}.mp4", clip, "video/mp4")})
    post("/v1/liveness/video", content=clip[: len(clip) // 2])
    post("/v1/liveness", content=clip)
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    post("/v1/liveness", content=b"--x\r\nContent-Disposition: form-data; name=image\r\n\r\n" + photo, headers=form)
    post("/v1/liveness", content=photo, headers=form)
    post("/v1/liveness", files={"photo": (MARK, photo)})
    post("/v1/liveness", files={"image": (MARK, photo), "more": (MARK, photo)})
    post("/v1/liveness", data={"image": photo.hex()})
    post("/v1/liveness?operating_point=none", content=photo)
    post("/v1/liveness?fases=all", content=photo)
    post("/v1/liveness", content=encoded(np.dstack([astronaut(), astronaut()[..., 0]]), "PNG") + MARK.encode())
    post("/v1/liveness", content=photos["i.bmp"] * 8)
    for path in ("/v1/operations/models/active", "/v1/nothing", "/health/live"):
        post(path, content=photo, headers={"Content-Type": "application/json"})
    return seen


def test_no_picture_crop_or_embedding_is_written(tmp_path, monkeypatch, photos, secrets_of):
    folders = {name: tmp_path / name for name in ("work", "tmp", "home", "state")}
    for folder in folders.values():
        folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folders["tmp"]))
    monkeypatch.setenv("HOME", str(folders["home"]))
    in_memory = set(SHARED_MEMORY.iterdir()) if SHARED_MEMORY.is_dir() else set()
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        settings = {
            "log_level": "debug",
            "tracing": "true",
            "workers": "1",
            "audit_log_path": str(folders["state"] / "audit.jsonl"),
            "models_state": str(folders["state"] / "models.json"),
        }
        with running_server(folders["work"], **settings) as server:
            with server.client() as client:
                seen = everything_is_sent(client, photos)
                metrics = client.get("/metrics").content
            assert server.stop() == 0
        spans = [span.SerializeToString() for span in collector.spans]
    assert {200, 400, 413, 415, 422} <= seen
    assert not {500, 503, 504} & seen
    files = [path for folder in folders.values() for path in folder.rglob("*") if path.is_file()]
    written = {str(path.relative_to(tmp_path)): path.read_bytes() for path in files}
    assert {"work/service.log", "state/audit.jsonl"} <= set(written)
    assert len(spans) > 100
    written |= {"spans": b"\n".join(spans), "metrics": metrics}
    if SHARED_MEMORY.is_dir():
        written |= {str(path): path.read_bytes() for path in set(SHARED_MEMORY.iterdir()) - in_memory if path.is_file()}
    for name, content in written.items():
        for secret in secrets_of:
            assert secret not in content, f"{name} holds {secret!r}"
        if not name.startswith(str(SHARED_MEMORY)) and name != "metrics":
            assert leak_in(content) is None, name
    assert sorted(each for each in written if each.startswith("tmp/")) == []


@pytest.mark.parametrize(
    "leak",
    [
        lambda photo: photo,
        lambda photo: repr(photo[:100]).encode(),
        lambda photo: disguises(photo[:300])[3],
        lambda photo: photo[500:700].hex().encode(),
        lambda _: repr(astronaut()[0, :6].ravel().tolist()).encode(),
        lambda _: repr(astronaut()[0, :6].tolist()).encode(),
        lambda _: repr(astronaut()[0, :9]).encode(),
        lambda _: b"embedding=" + repr([0.1 + n / 100 for n in range(30)]).encode(),
    ],
)
def test_the_look_finds_what_it_looks_for(photos, leak):
    assert leak_in(b'{"event": "x", "detail": "' + leak(photos["a.jpg"]) + b'"}') is not None
    assert leak_in(f'{{"event": "request", "request_id": "{MARK}", "ms": 12.5, "at": {time.time()}}}'.encode()) is None
