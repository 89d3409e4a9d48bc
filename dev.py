#!/usr/bin/env python3
"""Set halfmax up in .venv, run it and test it, with nothing but Python 3.11 or newer.

    python3 dev.py run [halfmax run's own arguments]      the main job, from nothing to a report
    python3 dev.py test [pytest's own arguments] [--all]  the tests; --all adds the slow ones
    python3 dev.py setup [--extra NAME]                   only the environment; extras: excel, scverse, test, dev, docs

Every command takes --torch-index URL (or the variable HALFMAX_TORCH_INDEX), --constraints FILE and --venv FOLDER.
Packages come from the index that your pip is configured for; a second call finds the work done and starts at once.
"""

import argparse
import contextlib
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent
OLDEST = (3, 11)
STATE = "halfmax-setup.json"
LOG = "halfmax-setup.log"
EXTRAS = ("excel", "scverse", "test", "dev", "docs")
# Measured on Linux x86-64 with Python 3.11: what a fresh `setup` downloads, and what it then takes on disk.
SIZES = "About 460 MB to download (torch 192, pyarrow 55, polars 50, scipy 35, rdkit 32 MB), 1.8 GB on disk."
NEED_CPU, NEED_CUDA = 3.0, 12.0  # GB free, downloads included
# Compiling every file of these packages takes 80 s, the modules that are ever imported 15 s: so pip compiles none, and
# importing these once, at the end, compiles what counts.
WARM = (
    "torch, pandas, pyarrow.parquet, scipy.stats, sklearn.ensemble, sklearn.linear_model, rdkit.Chem.AllChem, "
    "lightgbm, xgboost, matplotlib.pyplot, typer, rich.progress, pydantic, jinja2, pypi_simple, safetensors.numpy, "
    "halfmax"
)
WARM_TEST = ", pytest, _pytest.pytester, xdist.remote, hypothesis.strategies, hypothesis.extra.numpy"
CPU_HELP = (
    "For the smaller CPU build, give PyTorch's CPU wheel index (see pytorch.org/get-started) as --torch-index URL "
    "or in the variable HALFMAX_TORCH_INDEX."
)


class SetupError(Exception):
    """What stopped the set-up, in one paragraph for the person who typed the command."""


def main(argv: list) -> int:
    """Carry out one command and return its exit status."""
    command, options, rest = parse(argv)
    try:
        check_python()
        python = setup(options, set(options.extra))
    except SetupError as error:
        print(f"\ndev.py stopped: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndev.py was interrupted; the next call mends the half-made environment.", file=sys.stderr)
        return 130
    if command == "setup":
        return 0
    if command == "run":
        return call([str(python.with_name("halfmax")), "run", *rest])
    every = ["-m", "not gpu and not network and not browser"] if options.all else []
    os.chdir(ROOT)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # two workers share the cores
    return call([str(python), "-m", "pytest", "-n", "2", "-q", *every, *rest])


def parse(argv: list) -> tuple:
    """Return the command, dev.py's own options, and the arguments that belong to the program it starts."""
    usage = __doc__.split("\n", 1)[1]
    if not argv or argv[0] not in ("setup", "run", "test"):
        print(usage)
        raise SystemExit(0 if argv and argv[0] in ("-h", "--help") else 2)
    command = argv[0]
    parser = argparse.ArgumentParser(
        prog=f"dev.py {command}", add_help=command == "setup", allow_abbrev=False, usage=usage
    )
    parser.add_argument("--torch-index", default=os.environ.get("HALFMAX_TORCH_INDEX", ""))
    parser.add_argument("--constraints", default="constraints.txt")
    parser.add_argument("--venv", default=".venv")
    parser.set_defaults(extra=["test"] if command == "test" else [])
    if command == "setup":
        parser.add_argument("--extra", action="append", choices=EXTRAS)
        return command, parser.parse_args(argv[1:]), []
    if command == "test":
        parser.add_argument("--all", action="store_true")
    return (command, *parser.parse_known_args(argv[1:]))


def check_python() -> None:
    """Refuse a Python that is too old or cannot make environments."""
    if sys.version_info < OLDEST:
        names = (f"python3.{minor}" for minor in range(11, 20))
        newer = next((name for name in names if shutil.which(name)), "")
        hint = (
            f"{newer} is on your PATH: run `{newer} dev.py ...`." if newer else "Install a newer Python and use that."
        )
        found = ".".join(map(str, sys.version_info[:3]))
        raise SetupError(f"halfmax needs Python 3.11 or newer, and this is {found} ({sys.executable}). {hint}")
    missing = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
    if missing:
        package = f"python3.{sys.version_info.minor}-venv"
        raise SetupError(
            f"this Python ({sys.executable}) lacks the standard module {' and '.join(missing)}, which makes the "
            f"environment. On Debian and Ubuntu it comes with `sudo apt install {package}`; elsewhere install Python "
            "complete, for example from python.org or conda, and run the same command again."
        )


def setup(options: argparse.Namespace, extras: set) -> Path:
    """Make the environment, or find it ready, and return its Python."""
    venv = ROOT / options.venv
    python = venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    constraints = ROOT / options.constraints
    if not constraints.is_file():
        raise SetupError(f"there is no file {constraints}; --constraints takes one of constraints*.txt.")
    key = fingerprint(constraints, options.torch_index)
    if ready(venv, python, key, extras):
        return python
    with one_at_a_time(venv):
        state = read_state(venv)
        if ready(venv, python, key, extras):
            return python
        extras = extras | set(state.get("extras", []))
        started = time.monotonic()
        check_disk(NEED_CPU)
        make_environment(venv, python, state)
        write_state(venv, {"complete": False, "extras": sorted(extras)})
        pip = Pip(python, constraints, venv / LOG)
        announce(pip, options.torch_index)
        if options.torch_index:
            pip.install("torch", "--no-deps", "--index-url", options.torch_index)
        target = f".[{','.join(sorted(extras))}]" if extras else "."
        pip.install("--editable", target)
        build = check_imports(python, WARM + WARM_TEST * bool(extras & {"test", "dev"}))
        write_state(venv, {"complete": True, "key": key, "extras": sorted(extras), "torch": build})
        say(f"halfmax is ready in {options.venv} after {time.monotonic() - started:.0f} s; {build}.")
    return python


def fingerprint(constraints: Path, torch_index: str) -> str:
    """Return what the environment depends on, as one hash: pins, settings, Python, and the place of this folder."""
    told = [str(ROOT), sys.version, torch_index, constraints.read_text(), (ROOT / "pyproject.toml").read_text()]
    return hashlib.sha256("\0".join(told).encode()).hexdigest()


def ready(venv: Path, python: Path, key: str, extras: set) -> bool:
    """Say whether a complete environment for this key already holds the extras."""
    state = read_state(venv)
    return state.get("key") == key and extras <= set(state["extras"]) and python.exists()


def read_state(venv: Path) -> dict:
    """Return what the last set-up wrote, or nothing."""
    try:
        state = json.loads((venv / STATE).read_text())
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) and "extras" in state else {}


def write_state(venv: Path, state: dict) -> None:
    """Write the state in one step, so that a reader never sees half of it."""
    part = venv / (STATE + ".part")
    part.write_text(json.dumps(state) + "\n")
    part.replace(venv / STATE)


@contextlib.contextmanager
def one_at_a_time(venv: Path):
    """Hold a lock, so that two set-ups of the same folder follow each other."""
    try:
        import fcntl
    except ImportError:  # Windows: two set-ups at once are left to the person
        yield
        return
    with venv.with_name(venv.name + ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("Another dev.py is setting up this folder; waiting for it.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def check_disk(need: float) -> None:
    """Refuse to start a set-up that the disk cannot hold."""
    for folder, share in ((ROOT, 1.0), (Path(tempfile.gettempdir()), 0.3)):
        free = shutil.disk_usage(folder).free / 1e9
        if free < need * share:
            raise SetupError(
                f"{free:.1f} GB are free at {folder}, and the set-up needs about {need * share:.1f} GB there. Free "
                "some space, or move this folder (or, for temporary files, the variable TMPDIR) to a larger disk."
            )


def make_environment(venv: Path, python: Path, state: dict) -> None:
    """Make the environment where none is, and make it anew where it is half-made or belongs to another Python."""
    if venv.exists():
        if not (venv / "pyvenv.cfg").exists() and any(venv.iterdir()):
            raise SetupError(f"{venv} exists and is not a Python environment; move it away, or give --venv FOLDER.")
        if state.get("complete", True) and healthy(python):
            return
        say(f"{venv.name} is half-made or was made by another Python: making it anew.")
    else:
        say(f"Making a Python environment in {venv.name}.")
    made = subprocess.run([sys.executable, "-m", "venv", "--clear", str(venv)], capture_output=True, text=True)
    if made.returncode:
        raise SetupError(
            f"Python could not make an environment in {venv}: {(made.stdout + made.stderr).strip()[-600:]} "
            "On Debian and Ubuntu this usually means that the package python3-venv is not installed."
        )


def healthy(python: Path) -> bool:
    """Say whether an environment has this Python's version and a working pip."""
    code = "import pip, sys; print(sys.version)"
    try:
        told = subprocess.run([str(python), "-c", code], capture_output=True, text=True)
    except OSError:
        return False
    return told.returncode == 0 and told.stdout.strip() == sys.version


def announce(pip: "Pip", torch_index: str) -> None:
    """Say which build of torch will come, how large the downloads are, and how to choose."""
    plan = pip.plan_torch(torch_index)
    if "torch" not in plan:
        return
    cuda = any(re.match(r"nvidia|cuda|triton", name) for name in plan)
    if cuda:
        check_disk(NEED_CUDA)
        say(f"torch {plan['torch']} will be the CUDA build: several GB to download, about 8 GB on disk. {CPU_HELP}")
    else:
        kind = "the CPU build" if sys.platform.startswith(("linux", "win")) else "this system's build"
        say(f"torch {plan['torch']} will be {kind}. {SIZES}")


def check_imports(python: Path, modules: str) -> str:
    """Import everything once, and say which build of torch came."""
    say("Checking what came, and compiling it for a quick start.")
    code = f"import {modules}; print(torch.__version__, torch.version.cuda or torch.version.hip or 'CPU')"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    told = subprocess.run([str(python), "-c", code], capture_output=True, text=True, env=environment)
    if told.returncode:
        last = (told.stderr.strip().splitlines() or ["no message"])[-1]
        raise SetupError(f"everything is installed, but it cannot be imported: {last}. {CPU_HELP}")
    version, build = told.stdout.split()[-2:]
    return f"torch {version}, " + ("CPU build" if build == "CPU" else f"GPU build ({build})")


class Pip:
    """The environment's own pip: quiet, with a line of progress, and its failures in plain words."""

    def __init__(self, python: Path, constraints: Path, log: Path) -> None:
        self.base = [str(python), "-m", "pip"]
        self.constraints = ["--constraint", str(constraints)]
        self.log = log
        self.environment = {**os.environ, "PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
        self.log.write_text("")

    def plan_torch(self, torch_index: str) -> dict:
        """Return what installing torch would bring, name to version, without downloading it."""
        report = self.log.with_name("halfmax-plan.json")
        index = ["--no-deps", "--index-url", torch_index] if torch_index else []
        self.run("install", "--dry-run", "--report", str(report), "torch", *index, *self.constraints)
        parts = [item["metadata"] for item in json.loads(report.read_text())["install"]]
        report.unlink()
        return {part["name"].lower(): part["version"] for part in parts}

    def install(self, *what: str) -> None:
        """Install, held to the constraints."""
        self.run("install", "--no-compile", *what, *self.constraints)

    def run(self, *arguments: str) -> None:
        """Run pip, showing one line of progress and keeping its words in the log."""
        command = [*self.base, *arguments, "--progress-bar", "off"]
        lines = []
        with Progress() as progress, self.log.open("a") as log:
            log.write(f"$ pip {' '.join(arguments)}\n")
            process = subprocess.Popen(
                command, cwd=ROOT, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            try:
                for line in process.stdout:
                    log.write(line)
                    lines.append(line.strip())
                    progress.show(lines[-1])
            except BaseException:
                process.terminate()
                process.wait()
                raise
            if process.wait():
                raise SetupError(f"{explain(lines)} Everything pip said is in {self.log}.")


def explain(lines: list) -> str:
    """Turn pip's failure into a sentence on what to do."""
    text = "\n".join(lines)
    wanted = re.findall(r"No matching distribution found for (\S+)", text)
    if "No space left on device" in text:
        return "the disk ran full while packages were installed: free some space and run the same command again."
    if re.search(r"SSLError|CERTIFICATE_VERIFY_FAILED", text):
        return "the package index's certificate was not accepted: name yours with `pip config set global.cert FILE`."
    if re.search(r"connection broken|NameResolution|NewConnection|Timeout|ProxyError|Max retries", text, re.IGNORECASE):
        return (
            "the package index could not be reached. Check the network; behind a proxy or with an index of your own, "
            "set pip up for it (`pip config set global.index-url ...`, or the variable PIP_INDEX_URL), then run the "
            "same command again: what was downloaded is kept."
        )
    if wanted:
        version = ".".join(map(str, sys.version_info[:2]))
        return (
            f"the package index has no {wanted[0]} for Python {version} on this system; Python 3.11 is the tested one."
        )
    errors = [line for line in lines if line.startswith("ERROR")] or lines
    return f"pip failed: {' '.join(errors[-3:])[-600:]}"


class Progress:
    """One line that says what pip is doing and for how long: redrawn on a terminal, sparse elsewhere."""

    def __init__(self) -> None:
        self.words, self.count, self.started = "looking up packages", 0, time.monotonic()
        self.terminal = sys.stdout.isatty()
        self.done = threading.Event()
        self.ticker = threading.Thread(target=self.tick, daemon=True)

    def __enter__(self):
        self.ticker.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.done.set()
        self.ticker.join()
        if self.terminal:
            print("\r\033[K", end="", flush=True)

    def show(self, line: str) -> None:
        """Take note of one line of pip."""
        self.count += line.startswith("Collecting ")
        large = re.match(r"(?:Downloading|Using cached|Processing) \S*?([\w.]+)-\d\S* ?(\(.* [MG]B\))?", line)
        if line.startswith("Installing collected packages"):
            self.words = f"installing {line.count(',') + 1} packages"
        elif large:
            self.words = f"package {self.count}: {large[1]} {large[2] or ''}".rstrip()

    def tick(self) -> None:
        """Redraw the line every second, or print it every half minute where there is no terminal."""
        while not self.done.wait(1 if self.terminal else 30):
            words = f"  {self.words}, {time.monotonic() - self.started:.0f} s"
            print(f"\r\033[K{words[:100]}" if self.terminal else words, end="" if self.terminal else "\n", flush=True)


def say(words: str) -> None:
    """Tell the person something, at once."""
    print(words, flush=True)


def call(command: list) -> int:
    """Run the program itself, on this terminal, and return its exit status."""
    try:
        return subprocess.run(command).returncode
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        print(f"dev.py stopped: {command[0]} does not start ({error}); delete .venv and try again.", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
