"""A process that reads MIDI files for another: bytes in, packed verdicts out, until its input ends.

A request and a reply are a length of four bytes and so many bytes. `WorkerPool` in `reading.py` is its other end.
"""

from __future__ import annotations

import os
import signal
import struct
import sys

from vae_jax.data import parsing

LENGTH = struct.Struct("<I")
READY = b"vae_jax reads\n"


def main() -> None:
    """Answers requests until there are no more; an end of this process is the answer that a file was too much."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to every process of the terminal; the other end decides.
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # What a library prints is no reply.
    replies.write(READY)
    replies.flush()
    while len(header := requests.read(LENGTH.size)) == LENGTH.size:
        (size,) = LENGTH.unpack(header)
        data = requests.read(size)
        if len(data) < size:
            break
        packed = parsing.pack(parsing.judge(data))
        replies.write(LENGTH.pack(len(packed)) + packed)
        replies.flush()


if __name__ == "__main__":
    main()
