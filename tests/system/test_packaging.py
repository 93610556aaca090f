"""setup.py, on a core of one module that takes seconds to build. `make test-dist` checks what is really released."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
import sysconfig
import time
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("setuptools", "77")
pytest.importorskip("Cython")

ROOT = Path(__file__).parents[2]
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
VARIABLES = ("CFLAGS", "LDFLAGS", "AIOHTTP_RAWWS_NO_EXTENSIONS", "AIOHTTP_RAWWS_REQUIRE_COMPILED")

linux = pytest.mark.skipif(sys.platform != "linux", reason="compiler options of Linux")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The project with one small module to compile."""
    return planted(tmp_path)


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = planted(tmp_path_factory.mktemp("built"))
    done = run(tree, "build_ext --inplace")
    assert done.returncode == 0, done.stderr
    if "no compiled core" in done.stderr:
        pytest.skip(f"there is no compiler: {done.stderr[-300:]}")
    return tree


@pytest.fixture
def built(once: Path, tmp_path: Path) -> Path:
    """The same, compiled."""
    return Path(shutil.copytree(once, tmp_path / "built"))


def planted(folder: Path) -> Path:
    for name in ("setup.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    package = folder / "aiohttp_rawws"
    (package / "wire").mkdir(parents=True)
    (package / "__init__.py").write_text('__version__ = "0.1.0"\n')
    (package / "wire" / "__init__.py").touch()
    (package / "_build.py").write_text('MODULES = ("wire.small",)\n')
    (package / "wire" / "small.py").write_text("def double(number):\n    return 2 * number\n")
    (package / "wire" / "small.pxd").write_text("cpdef int double(int number)\n")
    (package / "wire" / "small.h").write_text("/* nothing */\n")
    return folder


def run(tree: Path, command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    return subprocess.run(
        [sys.executable, "setup.py", *command.split()],
        cwd=tree,
        env=environment | variables,
        capture_output=True,
        text=True,
        timeout=50,
    )


def library(tree: Path) -> Path:
    return tree / "aiohttp_rawws" / "wire" / f"small{SUFFIX}"


def wheel(tree: Path) -> Path:
    (path,) = (tree / "dist").glob("*.whl")
    return path


@pytest.mark.interop
class TestCompiled:
    @linux
    def test_no_debug_information(self, built: Path) -> None:
        content = library(built).read_bytes()
        assert b".debug_info" not in content and b".symtab" not in content

    @linux
    def test_debug_information_if_cflags_ask_for_it(self, tree: Path) -> None:
        assert run(tree, "build_ext --inplace", CFLAGS="-g").returncode == 0
        assert b".debug_info" in library(tree).read_bytes()

    def test_built_again_when_a_source_changed(self, built: Path) -> None:
        before = library(built).stat().st_mtime_ns
        assert run(built, "build_ext --inplace").returncode == 0
        assert library(built).stat().st_mtime_ns == before, "nothing has changed"
        for changed in ("small.py", "small.pxd", "small.h"):
            when = time.time()
            for path in built.rglob("*"):
                os.utime(path, (when - 60, when - 60))
            os.utime(built / "aiohttp_rawws" / "wire" / changed, (when, when))
            assert run(built, "build_ext --inplace").returncode == 0
            assert library(built).stat().st_mtime >= when, changed

    def test_a_core_that_cannot_be_built_again_is_removed(self, built: Path) -> None:
        newer = time.time() + 60
        os.utime(built / "aiohttp_rawws" / "wire" / "small.h", (newer, newer))
        done = run(built, "build_ext --inplace", CC="false")
        assert done.returncode == 0 and "no compiled core" in done.stderr
        assert not library(built).exists()


@pytest.mark.interop
class TestWheel:
    def test_with_the_core(self, built: Path) -> None:
        assert run(built, "-q bdist_wheel").returncode == 0
        assert f"-cp{sys.version_info[0]}{sys.version_info[1]}-" in wheel(built).name
        names = zipfile.ZipFile(wheel(built)).namelist()
        assert f"aiohttp_rawws/wire/small{SUFFIX}" in names
        assert not [name for name in names if name.endswith((".c", ".pxd", ".pyx", ".h"))]

    @pytest.mark.parametrize("variables", [{"CC": "false"}, {"AIOHTTP_RAWWS_NO_EXTENSIONS": "1"}], ids="".join)
    def test_without_the_core(self, tree: Path, variables: dict[str, str]) -> None:
        done = run(tree, "-q bdist_wheel", **variables)
        assert done.returncode == 0 and "no compiled core" in done.stderr, done.stderr
        assert wheel(tree).name.endswith("-py3-none-any.whl")
        with zipfile.ZipFile(wheel(tree)) as content:
            assert "aiohttp_rawws/wire/small.py" in content.namelist()
            assert not [name for name in content.namelist() if name.endswith((".so", ".pyd"))]
            (metadata,) = (name for name in content.namelist() if name.endswith("/WHEEL"))
            assert b"Root-Is-Purelib: true" in content.read(metadata)

    def test_a_core_that_is_left_out_is_not_required(self, tree: Path) -> None:
        variables = {"AIOHTTP_RAWWS_NO_EXTENSIONS": "1", "AIOHTTP_RAWWS_REQUIRE_COMPILED": "1"}
        assert run(tree, "-q bdist_wheel", **variables).returncode == 0
        assert wheel(tree).name.endswith("-py3-none-any.whl")

    def test_a_core_that_is_required(self, tree: Path) -> None:
        done = run(tree, "-q bdist_wheel", CC="false", AIOHTTP_RAWWS_REQUIRE_COMPILED="1")
        assert done.returncode
        assert not (tree / "dist").exists()


def long_description() -> str:
    text = runpy.run_path(str(ROOT / "setup.py"))["long_description"]()
    assert isinstance(text, str)
    return text


class TestMetadata:
    def test_the_long_description_has_no_relative_links(self) -> None:
        text = re.sub(r"```.*?```", "", long_description(), flags=re.DOTALL)
        targets = re.findall(r"\]\(([^)]*)\)|\]:\s*(\S+)|(?:src|href)=\"([^\"]*)\"", text)
        assert not [link for link in map("".join, targets) if link and not re.match(r"https?:|mailto:|#", link)]

    def test_the_long_description_keeps_its_text(self) -> None:
        readme = (ROOT / "README.md").read_text(encoding="utf-8")
        assert re.findall(r"^#.*", long_description(), re.MULTILINE) == re.findall(r"^#.*", readme, re.MULTILINE)
        assert re.findall(r"```.*?```", long_description(), re.DOTALL) == re.findall(r"```.*?```", readme, re.DOTALL)


@pytest.mark.parametrize("name", [".ci/tests.mk", ".ci/sanitize", ".ci/test-dist", "pyproject.toml"])
def test_every_test_that_is_named_is_there(name: str) -> None:
    named = re.findall(r"(?:tests/)?(?:\w+/)*test_[\w*]*\.py", (ROOT / name).read_text(encoding="utf-8"))
    assert named
    for pattern in named:
        assert list((ROOT / "tests").glob(pattern.removeprefix("tests/"))), pattern
