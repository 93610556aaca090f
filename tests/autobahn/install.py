"""Finding the Autobahn suite, and installing it if it is missing.

The suite runs on Python 2.7 only. ``WSTEST`` names an installed ``wstest`` (or a script that runs one in a container,
with the current folder mounted and the host's network). Otherwise it is installed into ``AUTOBAHN_HOME``, by default
a folder in the user's cache. A ``python2.7`` that works is taken as it is; Debian and root can add one.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

SUITE = "autobahntestsuite==0.8.2"
VIRTUALENV = "virtualenv<20.22"  # the last ones that can make an environment of Python 2.7
PYTHON27_FROM = "bullseye"  # the last Debian release that has it
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
APT = Path("/etc/apt")
ARCHIVE = r"(?:^URIs:|^deb(?:\s+\[[^]]*\])?)\s+(\w+://\S+/debian)/?(?=\s)"  # in the sources of apt, either format
LONGEST = 900.0  # seconds that one step of the installation may take


class NotInstalled(Exception):
    """The suite is not there and cannot be installed; the text says what is missing."""


def home() -> Path:
    """The scratch folder: the suite and the reports of its runs."""
    if named := os.environ.get("AUTOBAHN_HOME"):
        return Path(named).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aiohttp-rawws" / "autobahn"


def find_suite() -> str:
    """The ``wstest`` to run. It is installed first if there is none."""
    if named := os.environ.get("WSTEST"):
        if found := shutil.which(named):
            return os.path.abspath(found)
        raise NotInstalled(f"WSTEST={named} cannot be run")
    environment = home() / "python2.7"
    wstest = environment / "bin" / "wstest"
    if not wstest.exists():
        print(f"installing {SUITE} into {environment}", flush=True)
        install(environment)
    return str(wstest)


def install(environment: Path) -> None:
    python27 = working_python27()
    if python27 is None:
        add_python27()
        python27 = working_python27()
    if python27 is None:
        raise NotInstalled("the python2.7 that was installed does not run")
    maker = home() / "virtualenv"
    run(sys.executable, "-m", "venv", "--clear", maker)
    run(maker / "bin" / "python", "-m", "pip", "install", "-q", VIRTUALENV)
    shutil.rmtree(environment, ignore_errors=True)
    try:
        run(maker / "bin" / "virtualenv", "-q", "-p", python27, environment)
        run(environment / "bin" / "python", "-m", "pip", "install", "-q", SUITE)
    except BaseException:
        shutil.rmtree(environment, ignore_errors=True)
        raise


def working_python27() -> str | None:
    # The first on PATH may be a launcher with nothing behind it, hence every candidate is asked.
    for name in (os.environ.get("PYTHON27"), "python2.7", "/usr/bin/python2.7"):
        if name and (path := shutil.which(name)) and answers(path):
            return path
    return None


def answers(python: str) -> bool:
    code = "import sys, zlib, ssl; sys.exit(sys.version_info[:2] != (2, 7))"
    done = subprocess.run([python, "-c", code], check=False, capture_output=True, timeout=60)
    return done.returncode == 0


def add_python27() -> None:
    """Install python2.7 with apt; the extra source and the lists of packages live in the scratch folder alone."""
    if not shutil.which("apt-get") or not Path(KEYRING).exists():
        raise NotInstalled("no python2.7 here and this is no Debian: set WSTEST=/path/to/wstest")
    if os.geteuid() != 0:
        raise NotInstalled("no python2.7 here and installing it needs root: set WSTEST=/path/to/wstest")
    scratch = home() / "apt"
    (scratch / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    own = APT / "sources.list"
    sources = scratch / "sources.list"
    extra = f"deb [signed-by={KEYRING}] {mirror()} {PYTHON27_FROM} main\n"
    sources.write_text((own.read_text() + "\n" if own.exists() else "") + extra)
    options = ["-q", "-o", f"Dir::Etc::SourceList={sources}", "-o", f"Dir::State::Lists={scratch / 'lists'}"]
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        # If another source of the machine is out of reach, the installation may still succeed.
        run("apt-get", "update", *options, env=env, check=False)
        # -dev: the suite's accelerators are compiled on the spot.
        packages = ["python2.7", "python2.7-dev"]
        run("apt-get", "install", "-y", "--no-install-recommends", *options, *packages, env=env)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def mirror() -> str:
    """The Debian archive that this machine's own apt sources name."""
    lists = [APT / "sources.list", *sorted((APT / "sources.list.d").glob("*.list"))]
    lists += sorted((APT / "sources.list.d").glob("*.sources"))
    for path in lists:
        if not path.exists():
            continue
        text = re.sub(r"#.*", "", path.read_text())
        if found := re.search(ARCHIVE, text, re.MULTILINE):
            return found[1]
    raise NotInstalled("this machine's apt sources name no Debian archive: set WSTEST=/path/to/wstest")


def run(*command: str | Path, env: dict[str, str] | None = None, check: bool = True) -> None:
    text = list(map(str, command))
    done = subprocess.run(text, check=False, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LONGEST)
    if check and done.returncode:
        raise NotInstalled(f"{' '.join(text)}\n{done.stdout.decode(errors='replace')[-2000:]}")
