"""What a user did wrong, in one line: the field, its value, and what would be right."""

import unicodedata


class BadInput(ValueError):
    """A setting (or a file, a server, a machine that a setting names) that cannot work.

    Pipelines print it as one line and exit with status 2 before anything is computed; every other
    exception is a bug of ours and shows its traceback.
    """

    def __init__(self, field: str, value: object, remedy: str) -> None:
        self.field, self.value, self.remedy = field, value, remedy
        super().__init__(f"{_visible(field)} = {_visible(str(value))}: {remedy}")

    def __reduce__(
        self,
    ) -> tuple[type["BadInput"], tuple[str, object, str]]:  # Ray carries it from a worker to the driver
        return (BadInput, (self.field, self.value, self.remedy))


def is_control(character: str) -> bool:
    """Whether it is no text: NUL, newlines, a terminal's escapes, bytes of a name that is no UTF-8."""
    return unicodedata.category(character) in ("Cc", "Cs")


def _visible(text: str) -> str:
    """Without newlines, which would make two lines of one, and without what a terminal takes for orders."""
    return "".join(repr(character)[1:-1] if is_control(character) else character for character in text)
