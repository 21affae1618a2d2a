"""The component in a real Chromium whose camera shows videos of a face: what it says, takes and sends."""

import io

import av
import numpy as np
import pytest
from PIL import Image

from support.browser import (
    HINTS,
    NAMED,
    SHOW_FRAMES,
    as_files,
    chromium,
    customer_site,
    needs_node,
    node,
    playwright,
    seen,
    swaying,
    tab,
    write_video,
)

_PRESS_START = "void document.querySelector('face-liveness-capture').start()"
_KEEP_STREAM = """
const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getUserMedia = async wanted => (window.opened = await open(wanted));"""
UPLOAD = 'upload-url="/v1/sessions/s1/upload" token="secret"'


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    needs_node()
    built = tmp_path_factory.mktemp("built")
    node("build.mjs", "dist", built)
    with customer_site(built) as started:
        yield started


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    return {
        "person": write_video(folder / "person.mjpeg", swaying()),
        "leaves": write_video(folder / "leaves.mjpeg", swaying(seconds=1.6) + HINTS["no_face"]()),
    }


@pytest.fixture(scope="module")
def driver():
    with playwright() as started:
        yield started


@pytest.fixture(scope="module")
def browser(driver, videos):
    with chromium(driver, videos["person"]) as started:
        yield started


@pytest.fixture(autouse=True)
def _forgotten(site):
    site.received.clear()
    site.answers.clear()
    site.delay_s = 0


def button(page, name):
    return page.get_by_role("button", name=name)


def test_a_photo_is_taken_by_itself_at_the_cameras_own_size_and_not_mirrored(browser, site):
    with tab(browser, site.at()) as shop:
        button(shop.page, "Open the camera").click()
        shop.wait_for_state("taken")
        [taken] = shop.told("face-capture")
        assert (taken["kind"], taken["width"], taken["height"]) == ("photo", 640, 480)
        assert taken["file"]["type"] == "image/jpeg"
        content = shop.page.evaluate("taken.arrayBuffer().then(b => [...new Uint8Array(b)])")
        assert [hint["hint"] for hint in shop.told("face-hint")][-1] == "good"
        mirrored = "document.querySelector('face-liveness-capture').shadowRoot.querySelector('canvas').className"
        assert shop.page.evaluate(mirrored) == "mirrored"  # for the eye only
        assert shop.violations() == []
        assert button(shop.page, "Take another one").is_visible()
    photo = Image.open(io.BytesIO(bytes(content)))
    difference = abs(_grey(photo) - _grey(Image.fromarray(seen()))).mean()
    assert photo.size == (640, 480)
    assert difference < 0.6 * abs(_grey(photo)[:, ::-1] - _grey(Image.fromarray(seen()))).mean()


def _grey(picture):
    return np.asarray(picture.convert("L"), float)


def test_each_hint_is_given_in_its_turn_and_nothing_is_taken_before_all_is_well(browser, site):
    with tab(browser, site.at('hold-ms="1000"', script=SHOW_FRAMES)) as shop:
        for number, (hint, frames) in enumerate(HINTS.items()):
            shop.page.evaluate("files => show(files)", as_files(frames()))
            if number == 0:
                shop.page.evaluate(_PRESS_START)
            shop.wait_for(f"(window.told ?? []).some(([, detail]) => JSON.parse(detail).hint === '{hint}')")
            assert shop.told("face-capture") == []
        shop.page.evaluate("files => show(files)", as_files(swaying()))
        shop.wait_for_state("taken", 60)
        given = [hint["hint"] for hint in shop.told("face-hint")]
    assert list(dict.fromkeys(hint for hint in given if hint in HINTS)) == list(HINTS)
    assert given[-1] == "good"


def test_a_clip_is_recorded_in_a_format_that_the_service_takes(browser, site, tmp_path):
    with tab(browser, site.at('mode="clip" seconds="3"')) as shop:
        button(shop.page, "Open the camera").click()
        shop.wait_for_state("recording")
        assert shop.violations() == []
        shop.wait_for_state("taken")
        [taken] = shop.told("face-capture")
        assert (taken["kind"], taken["width"], taken["height"]) == ("clip", 640, 480)
        assert taken["file"]["type"] == "video/webm"
        content = bytes(shop.page.evaluate("taken.arrayBuffer().then(b => [...new Uint8Array(b)])"))
    with av.open(io.BytesIO(content)) as clip:
        [video] = clip.streams.video
        times = [float(frame.time) for frame in clip.decode(video)]
        assert (video.codec_context.name, video.width, video.height) == ("vp8", 640, 480)
    assert 0.7 < times[-1] - times[0] < 6  # a busy machine's camera skips frames, the last ones too
    assert len(times) >= 4


@pytest.mark.slow
def test_a_recording_starts_again_when_the_face_goes_away(driver, videos, site):
    with (
        chromium(driver, videos["leaves"]) as camera,
        tab(camera, site.at('mode="clip" seconds="20" hold-ms="100"')) as shop,
    ):
        shop.page.evaluate(_PRESS_START)
        shop.wait_for("(window.told ?? []).some(([, detail]) => detail.includes('restarted'))")
        assert shop.told("face-capture") == []


def test_a_session_gets_the_file_with_its_token_and_no_verdict_comes_back(browser, site):
    with tab(browser, site.at(UPLOAD)) as shop:
        button(shop.page, "Open the camera").click()
        shop.wait_for_state("sent")
        [answer] = shop.told("face-upload")
        assert answer == {"status": 202, "body": {"session_id": "s1", "state": "received"}}
        assert shop.violations() == []
    [(token, kind, body)] = site.received
    assert (token, kind) == ("Bearer secret", "image/jpeg")
    assert Image.open(io.BytesIO(body)).size == (640, 480)


@pytest.mark.slow
def test_an_upload_that_fails_can_be_sent_again_as_it_is(browser, site):
    site.answers[:] = [503]
    with tab(browser, site.at(UPLOAD), expected="503") as shop:
        shop.page.evaluate(_PRESS_START)
        shop.wait_for_state("fault")
        assert shop.told("face-error")[0]["fault"] == "failed"
        assert shop.violations() == []
        button(shop.page, "Try again").click()
        shop.wait_for_state("sent")
    assert len(site.received) == 2
    assert site.received[0] == site.received[1]


@pytest.mark.slow
def test_a_token_that_is_used_up_is_said_and_not_tried_again(browser, site):
    site.answers[:] = [410]
    with tab(browser, site.at(UPLOAD), expected="410") as shop:
        shop.page.evaluate(_PRESS_START)
        shop.wait_for_state("fault")
        assert {"fault": "refused", "status": 410}.items() <= shop.told("face-error")[0].items()
        assert button(shop.page, "Try again").count() == 0
        assert shop.violations() == []


@pytest.mark.slow
def test_a_slow_network_is_said(browser, site):
    site.delay_s = 1.2
    with tab(browser, site.at(f'{UPLOAD} slow-after-ms="100"')) as shop:
        shop.page.evaluate(_PRESS_START)
        shop.page.get_by_text("The network is slow").first.wait_for()
        assert shop.violations() == []
        shop.wait_for_state("sent")


@pytest.mark.slow
def test_the_page_may_keep_the_file_for_itself(browser, site):
    script = "addEventListener('face-capture', event => event.preventDefault())"
    with tab(browser, site.at(UPLOAD, script=script)) as shop:
        shop.page.evaluate(_PRESS_START)
        shop.wait_for_state("taken")
    assert site.received == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "fault", "text"),
    [
        ("NotReadableError", "busy", "Another program uses the camera"),
        ("NotAllowedError", "denied", "The camera is blocked"),
        ("TypeError", "unsupported", "cannot open the camera"),
    ],
)
def test_a_camera_that_does_not_open_has_words_and_a_way_on(browser, site, error, fault, text):
    script = f"navigator.mediaDevices.getUserMedia = async () => {{ throw new DOMException('', '{error}'); }}"
    with tab(browser, site.at(script=script)) as shop:
        button(shop.page, "Open the camera").click()
        shop.wait_for_state("fault")
        assert shop.told("face-error") == [{"fault": fault, "text": shop.told("face-error")[0]["text"]}]
        assert shop.page.get_by_text(text).first.is_visible()
        assert shop.page.get_by_label("Choose a file").count() == 1
        assert shop.violations() == []


@pytest.mark.slow
def test_no_camera_and_no_permission_are_told_apart(driver, site):
    with chromium(driver) as bare, tab(bare, site.at()) as shop:
        shop.page.evaluate(_PRESS_START)
        shop.wait_for_state("fault")
        assert shop.told("face-error")[0]["fault"] == "no_camera"
        assert shop.violations() == []


@pytest.mark.slow
def test_a_refused_permission(driver, videos, site):
    with (
        chromium(driver, videos["person"], "--use-fake-ui-for-media-stream=deny") as strict,
        tab(strict, site.at()) as shop,
    ):
        button(shop.page, "Open the camera").click()
        shop.wait_for_state("fault")
        assert shop.told("face-error")[0]["fault"] == "denied"
        assert shop.violations() == []
        assert button(shop.page, "Try again").evaluate("it => it.getRootNode().activeElement === it")


def test_an_insecure_page_takes_a_file_instead(browser, site):
    address = site.at('upload-url="/v1/sessions/s1/upload"').replace("127.0.0.1", NAMED)
    with tab(browser, address) as shop:
        button(shop.page, "Open the camera").click()
        shop.wait_for_state("fault")
        assert shop.told("face-error")[0]["fault"] == "insecure"
        assert shop.page.get_by_text("secure pages only").first.is_visible()
        assert shop.violations() == []
        file = {"name": "me.jpg", "mimeType": "image/jpeg", "buffer": b"\xff\xd8 a photo"}
        shop.page.get_by_label("Choose a file").set_input_files(file)
        shop.wait_for_state("sent")
    assert site.received[0][1:] == ("image/jpeg", b"\xff\xd8 a photo")


@pytest.mark.slow
def test_a_browser_that_records_nothing_takes_a_file_instead(browser, site):
    script = """window.MediaRecorder = class extends EventTarget {
  static isTypeSupported = type => type === 'video/mp4';
  state = 'inactive';
  mimeType = 'video/mp4';
  tell = what => setTimeout(() => this.dispatchEvent(new Event(what)));
  start() { this.state = 'recording'; this.tell('start'); }
  stop() { this.state = 'inactive'; this.tell('stop'); }
}"""
    with tab(browser, site.at('mode="clip"', script=script)) as shop:
        button(shop.page, "Open the camera").click()
        shop.wait_for_state("fault")
        assert shop.told("face-error")[0]["fault"] == "unsupported"
        assert shop.told("face-capture") == []
        assert shop.page.get_by_label("Choose a file").count() == 1


@pytest.mark.slow
def test_a_phone_on_its_side_is_turned_first(browser, site):
    phone = {"viewport": {"width": 740, "height": 360}, "has_touch": True, "is_mobile": True}
    with tab(browser, site.at(), **phone) as shop:
        shop.page.evaluate(_PRESS_START)
        shop.page.get_by_text("Turn your phone upright").first.wait_for()
        shop.page.wait_for_timeout(1200)  # longer than a photo needs
        assert shop.told("face-capture") == []
        assert shop.violations() == []
        shop.page.set_viewport_size({"width": 360, "height": 740})
        shop.wait_for_state("taken")


@pytest.mark.slow
def test_who_leaves_the_page_goes_on_where_they_want(browser, site):
    with tab(browser, site.at('hold-ms="600000"')) as shop:
        shop.page.evaluate(_PRESS_START)
        shop.wait_for_state("guiding")
        shop.page.evaluate(
            "Object.defineProperty(document, 'hidden', {value: true, configurable: true});"
            "document.dispatchEvent(new Event('visibilitychange')); delete document.hidden"
        )
        assert shop.told("face-error")[0]["fault"] == "lost"
        assert shop.violations() == []
        button(shop.page, "Go on").click()
        shop.wait_for_state("guiding")


@pytest.mark.slow
def test_a_camera_that_is_unplugged_is_said(browser, site):
    with tab(browser, site.at('hold-ms="600000"', script=_KEEP_STREAM)) as shop:
        shop.page.evaluate(_PRESS_START)
        shop.wait_for_state("guiding")
        shop.page.evaluate("opened.getVideoTracks()[0].dispatchEvent(new Event('ended'))")
        assert shop.told("face-error")[0]["fault"] == "ended"
        assert shop.violations() == []


@pytest.mark.slow
def test_the_camera_is_closed_as_soon_as_the_picture_is_taken(browser, site):
    with tab(browser, site.at(script=_KEEP_STREAM)) as shop:
        shop.page.evaluate(_PRESS_START)
        shop.wait_for_state("taken")
        assert shop.page.evaluate("opened.getTracks().map(track => track.readyState)") == ["ended"]


@pytest.mark.slow
def test_without_the_detector_there_is_a_button(browser, site):
    with tab(browser, site.at('detector-url="/nothing.bin"'), expected="404") as shop:
        shop.page.evaluate(_PRESS_START)
        button(shop.page, "Take it now").wait_for()
        assert shop.violations() == []
        button(shop.page, "Take it now").click()
        shop.wait_for_state("taken")
        assert shop.told("face-hint")[0]["hint"] == "no_guide"


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("de-AT", "Kamera öffnen"),
        pytest.param("fr", "Ouvrir la caméra", marks=pytest.mark.slow),
        pytest.param("es", "Abrir la cámara", marks=pytest.mark.slow),
        pytest.param("pt", "Abrir a câmara", marks=pytest.mark.slow),
        pytest.param("it", "Apri la fotocamera", marks=pytest.mark.slow),
        pytest.param("xx", "Open the camera", marks=pytest.mark.slow),
    ],
)
def test_it_speaks_the_pages_language(browser, site, language, text):
    with tab(browser, site.at(language=language)) as shop:
        assert button(shop.page, text).is_visible()


@pytest.mark.slow
def test_single_texts_can_be_replaced(browser, site):
    with tab(
        browser, site.at(script="document.querySelector('face-liveness-capture').texts = {good: 'Lovely.'}")
    ) as shop:
        shop.page.evaluate(_PRESS_START)
        shop.wait_for_state("taken")
        assert [hint["text"] for hint in shop.told("face-hint")][-1] == "Lovely."


def test_keyboard_alone_takes_a_photo_and_hints_are_read_out(browser, site):
    with tab(browser, site.at('hold-ms="3000"'), reduced_motion="reduce") as shop:
        shop.page.keyboard.press("Tab")
        shop.page.keyboard.press("Enter")
        shop.wait_for_state("guiding")
        status = shop.page.get_by_role("status")
        assert status.get_attribute("aria-live") == "polite"
        shop.wait_for(f"{_SHADOW}.querySelector('[role=status]').textContent === 'Good. Stay like that.'")
        assert shop.page.evaluate(f"getComputedStyle({_SHADOW}.querySelector('.oval')).transitionDuration") == "0s"
        assert shop.violations() == []
        shop.wait_for_state("taken")
        focused = f"{_SHADOW}.activeElement?.textContent"
        assert shop.page.evaluate(focused) == "Take another one"


_SHADOW = "document.querySelector('face-liveness-capture').shadowRoot"
