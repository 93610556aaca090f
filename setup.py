"""The compiled core, which is optional: if it cannot be built, the package works in Python alone.

AIOHTTP_RAWWS_NO_EXTENSIONS=1 leaves it out. AIOHTTP_RAWWS_REQUIRE_COMPILED=1 makes it an error if it cannot be built.
If both are set, a build leaves it out.
Compiled modules carry no debug information, unless CFLAGS ask for it with -g.
"""

import os
import re
import runpy
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, CCompilerError

PACKAGE = "aiohttp_rawws"
ROOT = Path(__file__).resolve().parent
DIRECTIVES = {
    "language_level": "3",
    "boundscheck": False,
    "wraparound": False,
    "initializedcheck": False,
    "cdivision": True,
    # Annotations are for readers and mypy. As types they would refuse what the Python build takes.
    "annotation_typing": False,
    # What can be pickled says so itself. Cython would add methods that only raise, and help() would list them.
    "auto_pickle": False,
}
# A session whose __init__ failed has None where a C type is expected. That is an AttributeError then, as in Python.
SESSION_DIRECTIVES = DIRECTIVES | {"nonecheck": True}


def stem(module: str) -> Path:
    """Path of ``module`` without its suffix."""
    return Path(PACKAGE, *module.split("."))


def source(module: str) -> str:
    """The Cython source of ``module`` if it has one, else its Python source, with the types in the .pxd beside it."""
    path = stem(module).with_suffix(".pyx")
    return str(path if path.exists() else path.with_suffix(".py"))


def flags() -> dict[str, list[str]]:
    if sys.platform == "win32":
        return {}
    if "-g" in os.environ.get("CFLAGS", "").split():
        return {}  # somebody debugs it, and CFLAGS say everything
    # Debug information would be five sixths of a module, and would hold the path of the folder that it was built in.
    # Elsewhere than on Linux the linker has other words for "no symbols", and -g0 leaves little to remove.
    return {
        "extra_compile_args": ["-O3", "-g0"],
        "extra_link_args": ["-Wl,-s"] if sys.platform == "linux" else [],
    }


def extensions() -> list[Extension]:
    modules = runpy.run_path(str(ROOT / PACKAGE / "_build.py"))["MODULES"]
    headers = [str(path) for path in Path(PACKAGE).glob("*/*.h")]
    return [
        Extension(
            f"{PACKAGE}.{module}",
            [source(module)],
            include_dirs=[str(stem(module).parent)],
            depends=["setup.py", *headers],
            **flags(),
        )
        for module in modules
    ]


class BuildCore(build_ext):
    """Builds the whole core or nothing of it: half a core cannot be imported."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count() or 1

    def run(self) -> None:
        inplace = self.inplace
        try:
            if os.environ.get("AIOHTTP_RAWWS_NO_EXTENSIONS"):
                self.inplace = inplace and not self.editable_mode  # an editable install keeps a core that is there
                self.leave_out("AIOHTTP_RAWWS_NO_EXTENSIONS is set")
            else:
                self.translate()
                super().run()
        except (ImportError, BaseError, CCompilerError, OSError) as exc:
            if os.environ.get("AIOHTTP_RAWWS_REQUIRE_COMPILED"):
                raise
            self.inplace = inplace
            self.leave_out(f"building it failed: {type(exc).__name__}: {exc}")

    def translate(self) -> None:
        """Write the C source of each module."""
        from Cython.Build import cythonize

        # cythonize() does not track what one .pxd takes from another, nor the directives: translate all again when any
        # of them has changed.
        newest = max(path.stat().st_mtime for path in (Path("setup.py"), *Path(PACKAGE).glob("*/*.pxd")))
        written = [path.stat().st_mtime for path in Path("build/cython").glob("**/*.c")]
        for layer, directives in (("wire", DIRECTIVES), ("session", SESSION_DIRECTIVES)):
            mine = {ext.name: ext for ext in self.extensions if ext.name.startswith(f"{PACKAGE}.{layer}.")}
            for done in cythonize(
                list(mine.values()),
                nthreads=self.parallel,
                build_dir="build/cython",
                compiler_directives=directives,
                force=bool(written) and newest > min(written),
                quiet=True,
            ):
                mine[done.name].sources = done.sources

    def leave_out(self, why: str) -> None:
        print(f"{PACKAGE}: no compiled core, everything runs in Python ({why})", file=sys.stderr)
        for extension in self.extensions:
            Path(self.get_ext_fullpath(extension.name)).unlink(missing_ok=True)
        self.extensions = self.distribution.ext_modules = []


class NamedWheel(bdist_wheel):
    """A wheel named for what it holds: py3-none-any if there is no compiled core in it."""

    def run_command(self, command: str) -> None:
        super().run_command(command)
        if command == "build":  # setuptools decides before it
            self.root_is_pure = not self.distribution.has_ext_modules()


def long_description() -> str:
    """README.md without its relative links and pictures: an index page has no files beside it."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    target = r"\((?!https?:|mailto:|#)[^)\s]*\)"
    text = re.sub(rf"!\[[^\]]*\]{target}", "", text)
    return re.sub(rf"\[([^\]]*)\]{target}", r"\1", text)


if __name__ == "__main__":
    os.chdir(ROOT)
    setup(
        long_description=long_description(),
        ext_modules=extensions(),
        cmdclass={"build_ext": BuildCore, "bdist_wheel": NamedWheel},
    )
