"""``python -m aiohttp_rawws.recording FILE`` prints a recording as a table, or as an HTTP Archive."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence

from .har import to_har
from .lines import read
from .records import Record
from .text import table


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit status."""
    parser = argparse.ArgumentParser("python -m aiohttp_rawws.recording", description="Show a recording.")
    parser.add_argument("file", help="the recording, a file of JSON lines")
    parser.add_argument("--har", action="store_true", help="print an HTTP Archive (HAR 1.2) instead of a table")
    parser.add_argument("--connection", type=int, metavar="N", help="only the connection with this number")
    given = parser.parse_args(arguments)
    try:
        show(given.file, given.connection, as_archive=given.har)
        print(end="", flush=True)
    except BrokenPipeError:  # of `| head`
        discard_output()
        return 1
    except (OSError, ValueError) as exc:
        print(exc, file=sys.stderr)
        if isinstance(exc, OSError) and exc.filename is None:  # it is about the output
            discard_output()
        return 2
    return 0


def show(file: str, connection: int | None, *, as_archive: bool) -> None:
    """Print the recording.

    Raises:
        OSError: The file cannot be read, or the output cannot be written.
        ValueError: It is no recording, or has no such connection.
    """
    count = 0

    def chosen() -> Iterator[Record]:
        nonlocal count
        for record in read(file):
            if connection in (None, record.connection):
                count += 1
                yield record

    if as_archive:
        archive = to_har(chosen())
        if count or connection is None:
            print(json.dumps(archive, indent=2))
    else:
        for line in table(chosen()):
            print(line)
    if not count and connection is not None:
        raise ValueError(f"{file} has no connection {connection}")


def discard_output() -> None:
    """Keep Python from writing at its end what could not be written."""
    with contextlib.suppress(OSError, ValueError):  # there is no file below, as in tests
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
