"""The compiled core, which is optional: where it cannot be built, the package works in Python alone.

AIOHTTP_RAWWS_NO_EXTENSIONS=1 leaves it out.
"""

import os
import runpy
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, CCompilerError

DIRECTIVES = {
    "language_level": "3",
    "boundscheck": False,
    "wraparound": False,
    "initializedcheck": False,
    "cdivision": True,
    # Annotations are for readers and mypy. As types they would refuse what the Python build takes.
    "annotation_typing": False,
}
# A session whose __init__ failed has None where a C type is expected. That is an AttributeError then, as in Python.
SESSION_DIRECTIVES = DIRECTIVES | {"nonecheck": True}
ROOT = Path(__file__).resolve().parent
PACKAGE = "aiohttp_rawws"


def python_only(why: object) -> None:
    print(f"{PACKAGE}: no compiled core, everything runs in Python ({why})", file=sys.stderr)


def stem(module: str) -> Path:
    return ROOT.joinpath(PACKAGE, *module.split("."))


def source(module: str) -> str:
    """The Cython source of ``module`` if it has one, else its Python source, with the types in the .pxd beside it."""
    path = stem(module).with_suffix(".pyx")
    return str((path if path.exists() else path.with_suffix(".py")).relative_to(ROOT))


def extensions() -> list[Extension]:
    if os.environ.get("AIOHTTP_RAWWS_NO_EXTENSIONS"):
        python_only("AIOHTTP_RAWWS_NO_EXTENSIONS is set")
        return []
    try:
        from Cython.Build import cythonize
    except ImportError:
        python_only("Cython is not installed")
        return []
    modules = runpy.run_path(str(ROOT / PACKAGE / "_build.py"))["MODULES"]
    headers = [str(path.relative_to(ROOT)) for path in ROOT.glob(f"{PACKAGE}/*/*.h")]
    # cythonize() does not track what one .pxd takes from another: compile all again when any of them has changed.
    newest_pxd = max(path.stat().st_mtime for path in ROOT.glob(f"{PACKAGE}/*/*.pxd"))
    generated = [path.stat().st_mtime for path in ROOT.glob("build/cython/**/*.c")]
    flags = [] if sys.platform == "win32" else ["-O3"]
    force = bool(generated) and newest_pxd > min(generated)

    def compiled(layer: str, directives: dict[str, object]) -> list[Extension]:
        return cythonize(
            [
                Extension(
                    f"{PACKAGE}.{module}",
                    [source(module)],
                    include_dirs=[str(stem(module).parent.relative_to(ROOT))],
                    depends=headers,
                    extra_compile_args=flags,
                )
                for module in modules
                if module.startswith(f"{layer}.")
            ],
            build_dir="build/cython",
            compiler_directives=directives,
            force=force,
            quiet=True,
        )

    return compiled("wire", DIRECTIVES) + compiled("session", SESSION_DIRECTIVES)


class OptionalBuild(build_ext):
    def run(self) -> None:
        try:
            super().run()
        except (BaseError, CCompilerError, OSError) as exc:
            python_only(f"building it failed: {type(exc).__name__}")
            # All of it or nothing: half a core cannot be imported.
            for extension in self.extensions:
                Path(self.get_ext_fullpath(extension.name)).unlink(missing_ok=True)
            self.extensions = []


os.chdir(ROOT)
setup(ext_modules=extensions(), cmdclass={"build_ext": OptionalBuild})
