"""One idea per demo. ``python -m demos`` serves them all; each also runs alone, ``python -m demos.raw_echo``,
and by aiohttp's command line, ``python -m aiohttp.web -H 127.0.0.1 -P 8080 demos.raw_echo:init``."""
