"""The compiled core, which is optional: where it cannot be built, the package works in Python alone.

AIOHTTP_RAWWS_NO_EXTENSIONS=1 leaves it out.
"""

import os
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, CCompilerError

# Module and source. A module "_x_c" is made from a .pyx, or from the Python file that is used without a compiler too,
# with the types in "_x_c.pxd" beside it.
MODULES = {
    "aiohttp_rawws.wire._frames_c": "aiohttp_rawws/wire/frames.py",
    "aiohttp_rawws.wire._codec_c": "aiohttp_rawws/wire/_codec_c.pyx",
    "aiohttp_rawws.session._queues_c": "aiohttp_rawws/session/_queues.py",
    "aiohttp_rawws.session._connection_c": "aiohttp_rawws/session/_connection.py",
    "aiohttp_rawws.session._awaitables_c": "aiohttp_rawws/session/_awaitables_c.pyx",
    "aiohttp_rawws.session._raw_c": "aiohttp_rawws/session/_raw.py",
    "aiohttp_rawws.session._messages_c": "aiohttp_rawws/session/_messages.py",
    "aiohttp_rawws.session._managed_c": "aiohttp_rawws/session/_managed.py",
}
DIRECTIVES = {
    "language_level": "3",
    "boundscheck": False,
    "wraparound": False,
    "initializedcheck": False,
    "cdivision": True,
    # Annotations are for readers and mypy. As types they would refuse what the Python build takes.
    "annotation_typing": False,
}
ROOT = Path(__file__).resolve().parent


def python_only(why: object) -> None:
    print(f"aiohttp_rawws: no compiled core, the Python codec is used ({why})", file=sys.stderr)


def extensions() -> list[Extension]:
    if os.environ.get("AIOHTTP_RAWWS_NO_EXTENSIONS"):
        python_only("AIOHTTP_RAWWS_NO_EXTENSIONS is set")
        return []
    try:
        from Cython.Build import cythonize
    except ImportError:
        python_only("Cython is not installed")
        return []
    # cythonize() does not see through "_x_c.pxd": what one module tells the others is no dependency it knows.
    told = max(path.stat().st_mtime for path in ROOT.glob("aiohttp_rawws/*/*.pxd"))
    made = [path.stat().st_mtime for path in ROOT.glob("build/cython/**/*.c")]
    flags = [] if sys.platform == "win32" else ["-O3"]
    modules = [
        Extension(module, [source], extra_compile_args=flags)
        for module, source in MODULES.items()
        if (ROOT / source).exists() and (ROOT / (module.replace(".", "/") + ".pxd")).exists()
    ]
    return cythonize(
        modules,
        build_dir="build/cython",
        compiler_directives=DIRECTIVES,
        force=bool(made) and told > min(made),
        quiet=True,
    )


class OptionalBuild(build_ext):
    def run(self) -> None:
        try:
            super().run()
        except (BaseError, CCompilerError, OSError) as exc:
            python_only(f"building it failed: {type(exc).__name__}")
            # All of it or nothing: half a core would be a third kind of build.
            for extension in self.extensions:
                Path(self.get_ext_fullpath(extension.name)).unlink(missing_ok=True)
            self.extensions = []


os.chdir(ROOT)
setup(ext_modules=extensions(), cmdclass={"build_ext": OptionalBuild})
