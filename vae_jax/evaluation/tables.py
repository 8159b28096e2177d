"""Tables as text for a terminal."""

from collections.abc import Iterable, Sequence

Cell = str | float | Sequence[float] | None


def format_table(rows: Iterable[Sequence[Cell]], widths: Sequence[int]) -> str:
    """Aligns the first column left and the others right; a row may be shorter, and an empty one is an empty line."""
    lines = []
    for row in rows:
        first, *others = [*map(format_cell, row), ""]
        padded = [f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=False)]
        lines.append("".join([f"{first:<{widths[0]}}", *padded]).rstrip())
    return "\n".join(lines)


def format_cell(cell: Cell) -> str:
    """Formats a figure: "-" for None, yes or no, four decimals of a float, "low .. high" of an interval."""
    if cell is None:
        return "-"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, float):
        return f"{cell:z.4f}"
    return str(cell) if isinstance(cell, str | int) else f"{cell[0]:z.3f} .. {cell[1]:z.3f}"
