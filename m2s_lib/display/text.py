"""Text of figures and screens: cut, escaped, times as people write them."""

import html
import math
import re
import unicodedata

NO_PICTURES = "no pictures: features only"


def shorten(text: str, width: int) -> str:
    """Cut `text` to `width` columns, '…' included; 0 leaves it whole."""
    columns = [2 if unicodedata.east_asian_width(ch) in "WF" else 1 for ch in text]
    if not width or sum(columns) <= width:
        return text
    kept, used = 0, 1
    while kept < len(text) and used + columns[kept] <= width:
        used += columns[kept]
        kept += 1
    return text[:kept].rstrip() + "…"


def listed_name(title: str, film_id: str) -> str:
    """A film in a list: its title, and its id where that says more.

    >>> listed_name("Big Buck Bunny", "big_buck_bunny"), listed_name("Vertigo", "v1958")
    ('Big Buck Bunny', 'Vertigo (v1958)')
    """
    a, b = (re.sub(r"[\W_]+", " ", text).strip().casefold() for text in (title, film_id))
    return title if a == b else f"{title} ({film_id})"


def escape_html(value: object) -> str:
    """Text for HTML, inside elements and attributes alike."""
    return html.escape(str(value), quote=True)


def timecode(seconds: float) -> str:
    """Seconds as h:mm:ss, rounded down as players do; '' when unknown.

    >>> timecode(3725.9)
    '1:02:05'
    """
    if not math.isfinite(seconds):
        return ""
    whole = max(0, int(seconds))
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def timecode_pair(start_s: float, end_s: float) -> str:
    """'mm:ss-mm:ss', or 'h:mm:ss-h:mm:ss' from the first hour on; '' when either is unknown.

    >>> timecode_pair(61, 75.5)
    '01:01-01:15'
    """
    first, last = timecode(start_s), timecode(end_s)
    if not first or not last:
        return ""
    if last.startswith("0:"):
        return f"{first[2:]}-{last[2:]}"
    return f"{first}-{last}"
