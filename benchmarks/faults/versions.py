"""Run the suite from the built wheel, on the lowest and on the newest versions that are admitted.

    python benchmarks/faults/versions.py archives            # what wheel and sdist contain
    python benchmarks/faults/versions.py lowest newest       # the suite, in fresh environments
    python benchmarks/faults/versions.py audit               # known vulnerabilities

``lowest`` installs what ``pyproject.toml`` names as floors, by the extra ``test`` too; ``newest``
whatever pip finds. Both leave torch at what ``constraints.txt`` says: on most platforms other
versions come with gigabytes of CUDA packages, so that its floor and Python's are only declared.
The suite runs outside the checkout, on the installed wheel. Pass on to pytest what comes after
``--``. pip's settings (index, cache) come from its environment variables.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import tomllib

ROOT = Path(__file__).resolve().parents[2]
CONSTRAINTS = ROOT / "constraints.txt"
# Floors that are not installed, and why.
DECLARED = {"torch": "pinned by constraints.txt; other versions bring gigabytes of CUDA packages"}
REQUIREMENT = re.compile(r"([A-Za-z0-9_.-]+)>=([0-9.a-z]+)(?:;\s*python_version >= '([0-9.]+)')?$")


def floors(project: dict) -> dict[str, str]:
    """Return the lowest version of every requirement of the package and its tests, by name."""
    found: dict[str, str] = {}
    for line in project["dependencies"] + project["optional-dependencies"]["test"]:
        name, version, python = REQUIREMENT.match(line).groups()
        if python is None or sys.version_info[:2] >= as_numbers(python):
            found[name] = max(found.get(name, "0"), version, key=as_numbers)
    return found


def as_numbers(version: str) -> tuple[int, ...]:
    """Return a version as numbers to compare."""
    return tuple(int(part) for part in re.findall(r"\d+", version))


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a command and return what it printed; stop everything where it fails."""
    result = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{result.stdout}{result.stderr}")
    return result.stdout


def environment(folder: Path, *requirements: str | Path) -> Path:
    """Make a fresh environment and return its Python."""
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    if requirements:
        run(python, "-m", "pip", "install", "-q", "-c", CONSTRAINTS, *requirements)
    return python


def copy_checkout(folder: Path) -> None:
    """Copy the checkout's files, without what git ignores."""
    files = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    for name in filter(None, files.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)


def copy_tests(folder: Path) -> None:
    """Copy the tests with the pages and scripts that they read, and without the package."""
    copy_checkout(folder)
    shutil.rmtree(folder / "skhug")


def build(folder: Path) -> tuple[Path, Path]:
    """Build from a clean copy of the checkout; return the wheel and the sdist."""
    copy_checkout(folder / "source")
    python = environment(folder / "build", "build")
    run(python, "-m", "build", "--outdir", folder / "dist", folder / "source")
    (wheel,), (sdist,) = ((folder / "dist").glob(f"*{end}") for end in (".whl", ".tar.gz"))
    return wheel, sdist


def check_archives(wheel: Path, sdist: Path) -> None:
    """Compare what wheel and sdist contain with what they should, file by file."""
    package = {path.relative_to(ROOT).as_posix() for path in (ROOT / "skhug").rglob("*.py")}
    package.add("skhug/py.typed")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    info = wheel.name.rsplit("-", 3)[0] + ".dist-info"
    wanted = package | {
        f"{info}/{name}"
        for name in ("METADATA", "RECORD", "WHEEL", "licenses/LICENSE", "top_level.txt")
    }
    compare(wheel.name, names, wanted)
    with tarfile.open(sdist) as archive:
        names = {m.name.partition("/")[2] for m in archive.getmembers() if m.isfile()}
    names = {name for name in names if not name.startswith("skhug.egg-info/")}
    extra = {"CHANGELOG.md", "LICENSE", "MANIFEST.in", "PKG-INFO", "README.md", "pyproject.toml"}
    compare(sdist.name, names, package | extra | {"setup.cfg"})


def compare(what: str, names: set[str], wanted: set[str]) -> None:
    """Stop where an archive lacks a file or has one too many."""
    if names != wanted:
        sys.exit(f"{what} lacks {sorted(wanted - names)} and has {sorted(names - wanted)} too many")
    print(f"{what}: {len(names)} files, as they should be")


def run_suite(python: Path, folder: Path, options: list[str]) -> None:
    """Run the tests on the installed package, from a copy of the checkout without it."""
    folder = folder / "checkout"
    copy_tests(folder)
    where = run(python, "-c", "import skhug; print(skhug.__file__)", cwd=folder)
    if "site-packages" not in where:
        sys.exit(f"the tests would run on {where}, not on the installed wheel")
    command = [python, "-m", "pytest", "-q", "tests", "--pyargs", "skhug", *options]
    print(" ".join(map(str, command)), flush=True)
    if subprocess.run(command, cwd=folder).returncode:
        sys.exit("the suite failed")


def show(python: Path, lowest: dict[str, str]) -> None:
    """Print what is installed beside the floors, and which of those are only declared."""
    listed = run(python, "-m", "pip", "list", "--format=freeze").splitlines()
    installed = dict(line.lower().split("==") for line in listed)
    print(f"Python {sys.version.split()[0]}; the floor of requires-python is only declared")
    for name, floor in sorted(lowest.items()):
        version = installed[name.lower()]
        tested = as_numbers(version)[: len(as_numbers(floor))] == as_numbers(floor)
        print(f"{name:26}{'>=' + floor:12}{version:14}{'tested' if tested else 'only declared'}")
    for name, reason in DECLARED.items():
        print(f"{name}: {reason}")


def lowest(folder: Path, wheel: Path, options: list[str]) -> None:
    """Run the suite on the floors."""
    versions = floors(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"])
    pins = [f"{name}=={v}" for name, v in versions.items() if name not in DECLARED]
    python = environment(folder / "venv", wheel, *pins)
    show(python, versions)
    run_suite(python, folder, options)


def newest(folder: Path, wheel: Path, options: list[str]) -> None:
    """Run the suite on the newest versions."""
    python = environment(folder / "venv", f"{wheel}[test]")
    show(python, floors(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]))
    run_suite(python, folder, options)


def audit(folder: Path, wheel: Path, options: list[str]) -> None:
    """Look up the newest versions of all dependencies in the databases of vulnerabilities."""
    python = environment(folder / "venv", f"{wheel}[test]")
    auditor = environment(folder / "auditor", "pip-audit")
    frozen = folder / "installed.txt"
    lines = run(python, "-m", "pip", "freeze", "--all").splitlines()
    # A local version, such as torch's +cpu, is the public one to the databases.
    frozen.write_text("".join(f"{x.partition('+')[0]}\n" for x in lines if "skhug" not in x))
    command = [auditor, "-m", "pip_audit", "--strict", "--no-deps", "--disable-pip", "-r", frozen]
    if subprocess.run(command).returncode:
        sys.exit("pip-audit found something, or could not look")


TASKS: dict[str, Callable[[Path, Path, list[str]], None]] = {
    "archives": lambda folder, wheel, options: None,
    "lowest": lowest,
    "newest": newest,
    "audit": audit,
}


def main() -> None:
    """Build the archives, check them, and do what is asked for on them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="+", choices=TASKS)
    own, options = sys.argv[1:], ["-m", "not slow"]
    if "--" in own:
        cut = own.index("--")
        own, options = own[:cut], own[cut + 1 :]
    tasks = parser.parse_args(own).tasks
    with tempfile.TemporaryDirectory() as name:
        wheel, sdist = build(Path(name))
        check_archives(wheel, sdist)
        for task in tasks:
            folder = Path(name) / task
            folder.mkdir()
            TASKS[task](folder, wheel, options)


if __name__ == "__main__":
    main()
