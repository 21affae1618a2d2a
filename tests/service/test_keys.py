import hashlib
import hmac
import re

import pytest

from liveness_service.keys import KeyEntry, KeyRing, Permission, new_key, parse_permissions, parse_points

SCORE = frozenset({Permission.SCORE})
BOTH = frozenset(Permission)


def test_a_new_key_is_found_by_its_entry_and_has_256_random_bits():
    made = [new_key("backend", SCORE) for _ in range(50)]
    ring = KeyRing.parse("\n".join(str(entry) for _, entry in made))
    for key, entry in made:
        assert ring.find(key) == entry
        assert re.fullmatch(r"lv_[A-Za-z0-9_-]{43}", key)
    assert len({key for key, _ in made}) == len({entry.salt for _, entry in made}) == 50


def test_what_is_kept_is_a_salted_hash_and_not_the_key():
    key, entry = new_key("backend", SCORE)
    assert key not in str(entry)
    assert key[3:] not in repr(entry)
    name, permissions, salt, digest = str(entry).split(":")
    assert (name, permissions) == ("backend", "score")
    assert digest == hmac.new(bytes.fromhex(salt), key.encode(), hashlib.sha256).hexdigest()


def test_any_other_key_is_not_found():
    key, entry = new_key("backend", BOTH)
    ring = KeyRing((entry,))
    wrong = ["", " ", key[:-1], key + "x", key.upper(), key[::-1], str(entry), entry.digest.hex(), "x" * 100_000, "ü"]
    wrong.append(new_key("backend", BOTH)[0])
    wrong.append("\udcff")  # a header's byte that is no text
    assert [ring.find(each) for each in wrong] == [None] * len(wrong)
    assert KeyRing().find(key) is None


def test_several_keys_of_one_name_are_accepted_at_once_for_rotation():
    (old, old_entry), (new, new_entry) = new_key("backend", SCORE), new_key("backend", BOTH)
    during = KeyRing((old_entry, new_entry))
    assert during.find(old) == old_entry
    assert during.find(new) == new_entry
    assert during.names == ["backend"]
    assert KeyRing((new_entry,)).find(old) is None


def test_all_entries_are_compared_wherever_the_key_is(monkeypatch):
    made = [new_key(f"key{number}", SCORE) for number in range(5)]
    ring = KeyRing(tuple(entry for _, entry in made))
    compared = []
    real = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda one, other: compared.append(1) or real(one, other))
    for key in (made[0][0], made[4][0], "wrong"):
        compared.clear()
        ring.find(key)
        assert len(compared) == 5


def test_entries_may_be_one_a_line_or_separated_by_blanks():
    entries = [str(new_key(name, SCORE)[1]) for name in ("a", "b", "c")]
    for separator in (" ", "\n", "\r\n", "  \n\n\t"):
        assert KeyRing.parse(separator.join(entries)).names == ["a", "b", "c"]
    assert len(KeyRing.parse(" \n")) == 0


SALT, HASH = "ab" * 16, "cd" * 32


@pytest.mark.parametrize(
    "text",
    [
        "backend:score",
        f"backend:score:{SALT}",
        f"backend:score:{SALT}:{HASH}:more",
        f"backend::{SALT}:{HASH}",
        f"backend:admin:{SALT}:{HASH}",
        f"backend:score+:{SALT}:{HASH}",
        f"backend:score:{SALT}:{HASH[:-2]}",
        f"backend:score:{SALT[:8]}:{HASH}",
        f"backend:score:{SALT}:{'x' * 64}",
        f":score:{SALT}:{HASH}",
        f"none:score:{SALT}:{HASH}",
        f"unknown:score:{SALT}:{HASH}",
        f"a/b:score:{SALT}:{HASH}",
        f"{'x' * 65}:score:{SALT}:{HASH}",
    ],
)
def test_an_entry_of_another_form_is_refused_by_its_place(text):
    good = str(new_key("good", SCORE)[1])
    with pytest.raises(ValueError, match="entry 2: "):
        KeyRing.parse(f"{good} {text}")


def test_a_key_that_was_put_where_its_entry_belongs_is_not_repeated_in_the_message():
    key, entry = new_key("backend", SCORE)
    for text in (key, f"backend:score:{key}", f"backend:score:{SALT}:{key}", f"{key}:score:{SALT}:{HASH}:"):
        with pytest.raises(ValueError, match="entry 1") as raised:
            KeyRing.parse(text)
        assert key not in str(raised.value)
    assert KeyEntry.parse(str(entry)) == entry


def test_permissions_are_written_as_they_are_read():
    for text in ("score", "operations", "score+operations"):
        entry = new_key("x", parse_permissions(text))[1]
        assert str(entry).split(":")[1] == text
    assert parse_permissions("operations+score") == BOTH


def test_points_of_keys_are_read_and_faulty_ones_say_why():
    assert parse_points(" gate=strict\nlobby=lobby-apcer5 ") == {"gate": "strict", "lobby": "lobby-apcer5"}
    assert parse_points("") == {}
    for text, said in (
        ("gate", "KEY=POINT"),
        ("gate=", "KEY=POINT"),
        ("gate=a/b", "KEY=POINT"),
        ("none=strict", "neither none nor unknown"),
        ("gate=a gate=b", "gate is there twice"),
        ("gate=" + "a" * 101, "KEY=POINT"),
    ):
        with pytest.raises(ValueError, match=said):
            parse_points(text)
    assert parse_points("gate=" + "a" * 100)
