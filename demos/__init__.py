"""Each demo shows one idea.

``python -m demos`` serves all of them. Each also runs alone, with ``python -m demos.raw_echo``, or with aiohttp's
command line, ``python -m aiohttp.web -H 127.0.0.1 -P 8080 demos.raw_echo:init``.
"""
