"""Where a row came from, as one number of 64 bits: its file, its line, and whether it is held out."""

LINE_BITS = 40
HELD_OUT = 1 << 63


def place_of(file: int, line: int, *, held_out: bool = False) -> int:
    """Return a row's place as one number: whether it is held out, the file, the line."""
    return (HELD_OUT if held_out else 0) | file << LINE_BITS | line


def file_and_line(place: int) -> tuple[int, int]:
    """Return the number of the file and the line of a place."""
    return (place & ~HELD_OUT) >> LINE_BITS, place & ((1 << LINE_BITS) - 1)
