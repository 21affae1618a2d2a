import pytest

from liveness_service.access.slots import Uploads
from liveness_service.errors import OverloadedError, TooManyAtOnceError


def test_uploads_are_limited_in_all_and_for_each_caller():
    uploads = Uploads(3, 2, 1000)
    with uploads.take("a"), uploads.take("a") as second:
        with (
            pytest.raises(TooManyAtOnceError, match=r"2 uploads of a .*LIVENESS_MAX_UPLOADS_PER_KEY"),
            uploads.take("a"),
        ):
            pass
        with uploads.take("b"):
            with pytest.raises(OverloadedError, match=r"3 uploads .*LIVENESS_MAX_UPLOADS "), uploads.take("c"):
                pass
            assert uploads.arriving == 3
            second.arrived()
            with uploads.take("c"):
                assert uploads.arriving == 3
    assert uploads.arriving == 0


def test_without_a_limit_of_their_own_callers_have_half_of_the_places():
    uploads = Uploads(4, None, 1000)
    with uploads.take("a"), uploads.take("a"), pytest.raises(TooManyAtOnceError), uploads.take("a"):
        pass
    with Uploads(1, None, 1000).take("a"):
        pass


def test_bytes_are_held_until_the_answer_and_not_one_more_than_the_limit():
    uploads = Uploads(8, None, 100)
    with uploads.take("a") as first, uploads.take("b") as other:
        first.announce(50)
        with pytest.raises(TooManyAtOnceError, match="LIVENESS_MAX_HELD_BYTES"):
            first.announce(51)
        first.grow(40)
        first.arrived()
        first.grow(10)
        with pytest.raises(TooManyAtOnceError, match="50 bytes"):
            first.grow(1)
        other.grow(49)
        with uploads.take("c") as third:
            third.grow(1)
            with pytest.raises(OverloadedError, match="100 bytes"):
                third.grow(1)
        assert uploads.held_bytes == 99
    assert uploads.held_bytes == 0
    assert not uploads._bytes
