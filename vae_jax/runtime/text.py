"""Words and numbers in messages."""


def quantity(number: int, noun: str) -> str:
    """Returns a number with its noun: "1 piece", "1,200 pieces"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def shorten(text: str, length: int) -> str:
    """Returns a text of at most so many characters, with an ellipsis in the middle of a longer one."""
    tail = (length - 1) // 3
    return text if len(text) <= length else f"{text[: length - 1 - tail]}…{text[len(text) - tail :]}"
