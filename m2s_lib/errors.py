"""The one exception that users are meant to read."""


class M2SError(ValueError):
    """Bad input, said in full: what is wrong, where (film, shot, file, column), what was expected, what to
    do next."""
