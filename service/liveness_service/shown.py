"""How a message shows what a client sent."""


def shown(text: str) -> str:
    """What a client sent, for a message that is logged, too: at most 40 characters, those outside ASCII as `?`.

    A client that mixes things up may send its picture as a parameter, and no picture is written anywhere.
    """
    readable = "".join(character if " " <= character <= "~" else "?" for character in text[:40])
    return readable + ("…" if len(text) > 40 else "")
