import pytest

from liveness_service.rates import parse_rate


@pytest.mark.parametrize(
    ("text", "amount", "seconds"),
    [("100/minute", 100, 60), ("10/second", 10, 1), ("1000/5 minutes", 1000, 300), ("5 per hour", 5, 3600)],
)
def test_rates_are_read_as_people_write_them(text, amount, seconds):
    item = parse_rate(text)
    assert (item.amount, item.get_expiry()) == (amount, seconds)


@pytest.mark.parametrize("text", ["", "100", "minute", "100/", "/minute", "-1/minute", "100/fortnight", "0/minute"])
def test_what_is_no_rate_is_refused(text):
    with pytest.raises(ValueError, match="rate"):
        parse_rate(text)


def test_two_rates_are_not_silently_one():
    with pytest.raises(ValueError, match="one rate only"):
        parse_rate("100/minute;5/second")
