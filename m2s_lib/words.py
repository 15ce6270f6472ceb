"""What numbers, encoders and keys are called where people read them."""

import math
import re

_ENCODERS = (
    (r"\b(?:raw )?E_shot\b(?: mean)?", "looks (E_shot)"),
    (r"\bE_movie\b", "film model (E_movie)"),
    (r"\bE_scene\b", "scene model (E_scene)"),
    (r"^colour$", "colours"),
    (r"^(imagenet|timm:\S+|open_clip:\S+) mean$", r"pictures (\1)"),
)
_KEYS = {
    "cowatch": "co-watch",
    "random_metadata": "random metadata",
    "shot_encoder": "E_shot",
    "shot_encoder_whitened": "E_shot whitened",
    "way_speaking": "way of speaking",
}


def plain_words(key: object) -> str:
    """A key of tables as people say it.

    >>> plain_words("cowatch"), plain_words("like_ratio"), plain_words("LVU way_speaking")
    ('co-watch', 'like ratio', 'LVU way of speaking')
    """
    text = str(key)
    for raw, words in _KEYS.items():
        text = re.sub(rf"\b{raw}\b", words, text)
    return text if " " in text or "E_" in text else text.replace("_", " ")


def encoder_words(name: str) -> str:
    """An encoder's name in plain words with the paper's term beside them.

    >>> encoder_words("E_movie, cowatch"), encoder_words("raw E_shot"), encoder_words("colour")
    ('film model (E_movie), co-watch', 'looks (E_shot)', 'colours')
    """
    text = plain_words(name)
    for pattern, words in _ENCODERS:
        text = re.sub(pattern, words, text)
    return text


def counted(n: int, word: str) -> str:
    """'1 number', '2 numbers', '1,234 numbers'."""
    return f"{n:,} {word}{'' if n == 1 else 's'}"


def nearness_words(share: float, count: int, things: str) -> str:
    """How near something is among others.

    Args:
        share: of the others that are less near, 0..1. count: of all. things: what they are, in the plural.

    >>> nearness_words(0.9984, 2499, "pairs"), nearness_words(2498 / 2499, 2499, "pairs")
    ('nearer than 99.8 % of 2,499 pairs', 'the nearest of 2,499 pairs')
    """
    if round(share * count) >= count - 1:
        return f"the nearest of {count:,} {things}"
    scale = 10 if share < 0.999 else 1000
    percent = math.floor(100 * scale * share) / scale  # never rounded up to 100 %
    return f"nearer than {percent:g} % of {count:,} {things}"


_ROWS = ("the base setting", "half of the films", "a quarter of the films", "a tenth of the films",
         "a hundredth of the films", "one shot", "four shots", "sixteen shots", "three frames a shot",
         "random film pairs", "genre", "synopsis", "genre and synopsis", "CLIP's weights",
         "MViTv2-S")  # fmt: skip


def row_words(text: str) -> str:
    """Words in the place of the row numbers of the paper's Table 1.

    >>> row_words("row 1 against row 10")
    'the base setting against random film pairs'
    """

    def words(match: re.Match) -> str:
        number = int(match[1])
        return _ROWS[number - 1] if 1 <= number <= len(_ROWS) else match[0]

    return re.sub(r"\brow (\d+)\b", words, text)
