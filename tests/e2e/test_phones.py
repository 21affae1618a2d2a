"""What phones send, and the pictures of public bug reports, through a real server with the default bundle."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from support import phones
from support.pictures import SHARED, astronaut, encoded, in_less_light
from support.variants import slow_but
from support.videos import encode_video


def post(server, content):
    with server.client() as client:
        return client.post("/v1/liveness", content=content)


def webp_animation():
    frames = [Image.fromarray(np.roll(astronaut(), 9 * step, axis=1)) for step in range(3)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:], duration=100)
    return buffer.getvalue()


def test_the_formats_of_phones_give_the_same_verdict_and_score(server):
    clip = encode_video([astronaut()] * 8)
    made = {
        "JPEG": encoded(astronaut(), "JPEG", quality=95),
        "HEIC": phones.heic(astronaut(), quality=95),
        "HEIC on its side": phones.heic(np.ascontiguousarray(np.rot90(astronaut())), 6, quality=95),
        "MPO": phones.mpo(astronaut(), Image.fromarray(255 - astronaut()), quality=95),
        "motion photo": phones.motion_photo(astronaut(), clip, quality=95),
        "WebP": encoded(astronaut(), "WEBP", quality=95),
        "AVIF": phones.avif(astronaut()),
    }
    answers = {name: post(server, content).json() for name, content in made.items()}
    assert {name: answer["verdict"] for name, answer in answers.items()} == dict.fromkeys(made, "live")
    for name, answer in answers.items():
        assert answer["score"] == pytest.approx(answers["JPEG"]["score"], abs=0.02), name
        assert answer["image"] == {"width": 512, "height": 512}


def test_an_avif_of_an_encoder_that_cuts_off_fractions_of_colours_has_the_same_verdict(server):
    assert post(server, encoded(astronaut(), "AVIF", quality=90, speed=8)).json()["verdict"] == "live"


@pytest.mark.parametrize("stops", slow_but((2, 4), range(1, 7)))
def test_a_live_face_that_loses_light_gets_a_reason_and_is_never_called_spoof(server, stops):
    answer = post(server, encoded(in_less_light(stops, seed=stops), quality=92)).json()
    assert answer["verdict"] == "live" or "too_noisy" in answer["reasons"]
    assert stops < 4 or answer["verdict"] == "undetermined"


@pytest.mark.skipif(not (SHARED / "cases").is_dir(), reason="needs the pictures in shared/cases")
def test_the_low_light_pictures_of_a_bug_report_are_live_or_too_noisy(server):
    for file in sorted((SHARED / "cases/13-noise-low-light").iterdir()):
        answer = post(server, file.read_bytes()).json()
        assert answer["verdict"] == "live" or answer["reasons"] == ["too_noisy"], file.name


@pytest.mark.parametrize("at", [0.2, 0.45])
def test_a_jpeg_that_was_cut_and_given_an_end_has_no_verdict(server, at):
    answer = post(server, phones.damaged_jpeg(encoded(astronaut(), quality=92), at, 0))
    assert (answer.status_code, answer.json()["code"]) == (400, "unreadable_media")


@pytest.mark.skipif(not (SHARED / "cases").is_dir(), reason="needs the pictures in shared/cases")
def test_the_damaged_jpegs_of_a_bug_report_have_no_verdict(server):
    for file in sorted((SHARED / "cases/03-jpeg-damaged-inside").iterdir()):
        answer = post(server, file.read_bytes())
        assert (answer.status_code, answer.json()["code"]) == (400, "unreadable_media"), file.name


@pytest.mark.parametrize("bits", slow_but((10,), (8, 10, 12, 16)))
def test_a_face_in_few_of_sixteen_bits_is_found(server, bits):
    grey = cv2.cvtColor(astronaut(), cv2.COLOR_RGB2GRAY).astype(np.uint32)
    deep = (grey * ((1 << bits) - 1) // 255).astype(np.uint16)
    answer = post(server, cv2.imencode(".png", deep)[1].tobytes()).json()
    assert len(answer["faces"]) == 1


@pytest.mark.parametrize("value", slow_but((6,), (3, 6, 8)))
def test_an_orientation_in_xmp_changes_nothing(server, value):
    expected = post(server, encoded(astronaut(), "JPEG", quality=95)).json()
    answer = post(server, encoded(astronaut(), "JPEG", quality=95, xmp=phones.xmp(value))).json()
    assert answer["faces"] == expected["faces"]


def test_a_sequence_is_refused_and_the_answer_says_what_to_send(server):
    content = webp_animation()
    with server.client() as client:
        for path in ("/v1/liveness", "/v1/liveness/video"):
            answer = client.post(path, content=content)
            assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media")
    assert "MP4, MOV or WebM to /v1/liveness/video" in post(server, content).json()["detail"]


@pytest.mark.skipif(not (SHARED / "cases").is_dir(), reason="needs the clips in shared/cases")
@pytest.mark.parametrize("streams", slow_but((9,), (6, 8, 9)))
def test_a_phones_clip_is_not_refused_for_its_tracks_of_data(server, streams):
    content = (SHARED / f"cases/11-nine-streams/streams_{streams}.mov").read_bytes()
    with server.client() as client:
        answer = client.post("/v1/liveness/video", content=content)
    assert (answer.status_code, answer.json()["reasons"]) == (200, ["static_clip"])  # it is a photo that is panned
