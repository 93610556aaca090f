"""``python -m aiohttp_rawws.recording FILE`` prints a recording as a table, or as an HTTP Archive."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from .har import to_har
from .lines import read
from .text import table


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit status."""
    parser = argparse.ArgumentParser("python -m aiohttp_rawws.recording", description="Show a recording.")
    parser.add_argument("file", help="the recording, a file of JSON lines")
    parser.add_argument("--har", action="store_true", help="print an HTTP Archive (HAR 1.2) instead of a table")
    parser.add_argument("--connection", type=int, metavar="N", help="only the connection with this number")
    given = parser.parse_args(arguments)
    records = (record for record in read(given.file) if given.connection in (None, record.connection))
    try:
        if given.har:
            json.dump(to_har(records), sys.stdout, indent=2)
            print()
        else:
            for line in table(records):
                print(line)
    except BrokenPipeError:  # of `| head`
        sys.stderr.close()
        return 1
    except (OSError, ValueError) as exc:
        print(exc, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
