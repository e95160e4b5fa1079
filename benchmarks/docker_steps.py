"""The Dockerfile without an engine: its steps in a root file system made by debootstrap, under chroot, and then the image's own commands.

    python benchmarks/docker_steps.py --root /tmp/pneumodet-image

As root, on Debian or Ubuntu, with debootstrap and util-linux. Nothing but the folder is written: what is mounted, is mounted in a name space of its own,
which ends with the command. In place of ``FROM python:3.11…-slim-bookworm`` stands Debian's bookworm with its own Python 3.11 as an environment in
/usr/local, with that image's releases of pip and setuptools. What an engine does beside (layers, networks, seccomp, cgroups) is not tried.

After the steps the commands run as a container's would: by the Dockerfile's user and by a user id that is in no list, without any capability, with the root
read-only and /tmp in memory; a short run of the whole workflow; and the worker of deploy/compose.yml by its command, environment and health check.
Printed are what failed, seconds and sizes; ``report.json`` beside the root has them too. Exit code 1 where something failed.
"""

import argparse
import dataclasses
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT / "benchmarks"))

import dockerfile  # noqa: E402

MIRROR = "http://deb.debian.org/debian"

PACKAGES = ("ca-certificates", "python3", "python3-venv", "netbase", "tzdata")
"""Debian's, that the image of Python has too, or in place of what it compiles."""

PIP = ("pip==24.0", "setuptools==79.0.1", "wheel==0.45.1")
"""As they are in the image of Python 3.11."""

BASE_PATH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"

OTHER_USER = 4321
"""A user id without an entry in /etc/passwd, as ``docker run --user`` gives."""

LIMIT_BYTES = {"cpu": 4_000_000_000, "gpu": None}
"""Device -> the most that the root file system may take."""

TAIL = 1500
"""Characters of a failed command's output that are shown."""


@dataclasses.dataclass
class Image:
    """What the steps have made so far.

    Attributes:
      root: folder of the root file system.
      environment: of ENV.
      arguments: of ARG; steps see them, containers do not.
      folder: of WORKDIR.
      shell: of SHELL.
      user: of USER.
      volumes: of VOLUME.
      command: of CMD.
    """

    root: Path
    environment: dict[str, str] = dataclasses.field(default_factory=lambda: {"PATH": BASE_PATH, "LANG": "C.UTF-8"})
    arguments: dict[str, str] = dataclasses.field(default_factory=dict)
    folder: str = "/"
    shell: tuple[str, ...] = ("/bin/sh", "-c")
    user: int = 0
    volumes: tuple[str, ...] = ()
    command: tuple[str, ...] = ()

    def inside(self, path: str) -> Path:
        """Return the path outside of a path in the image, relative ones from WORKDIR."""
        return self.root / os.path.join(self.folder, path).lstrip("/")


@dataclasses.dataclass
class Report:
    """What was done, in order: name, whether it succeeded, seconds, and a note."""

    rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def add(self, name: str, ok: bool, seconds: float, note: str = "") -> bool:
        """Add a row and print it."""
        self.rows.append({"name": name, "ok": ok, "seconds": round(seconds, 1), "note": note})
        print(f"{'ok' if ok else 'FAILED':6s} {seconds:7.1f} s  {name}{'  ' + note if note else ''}", flush=True)
        return ok

    def command(self, name: str, arguments: Sequence[str], *, seconds: float = 1800) -> str:
        """Run a command that must succeed; return its output, nothing where it failed."""
        begin = time.monotonic()
        try:
            done = subprocess.run(arguments, capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL, check=False)
            ended, output = done.returncode, done.stdout + done.stderr
        except subprocess.TimeoutExpired as error:
            ended, output = -1, f"not done after {seconds:.0f} s: {error.stdout!r}"
        ok = ended == 0
        self.add(name, ok, time.monotonic() - begin)
        if not ok:
            print(f"       exit code {ended}:\n{output[-TAIL:]}", flush=True)
        return output if ok else ""

    @property
    def failed(self) -> list[str]:
        """Names of what failed."""
        return [row["name"] for row in self.rows if not row["ok"]]


def entered(image: Image, command: Sequence[str], *, environment: Mapping[str, str], folder: str, mounts: Sequence[str] = ()) -> list[str]:
    """Return the command that runs another one in the image, in name spaces of its own: whatever is mounted or left running ends with it.

    Args:
      image: where.
      command: what runs.
      environment: all of its variables.
      folder: its working folder, in the image.
      mounts: shell commands before it; ``$ROOT`` is the root.
    """
    variables = " ".join(shlex.quote(f"{name}={value}") for name, value in environment.items())
    lines = [
        "set -e",
        f"ROOT={shlex.quote(str(image.root))}",
        "mount --make-rprivate /",
        # a mount of its own, so that it alone can be made read-only
        'mount --bind "$ROOT" "$ROOT"',
        'mount -t proc proc "$ROOT/proc"',
        'mount --rbind /dev "$ROOT/dev"',
        *mounts,
        f'exec env -i {variables} chroot "$ROOT" /usr/bin/env --chdir={shlex.quote(folder)} {shlex.join(command)}',
    ]
    return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "/bin/sh", "-c", "\n".join(lines)]


def container(
    image: Image,
    command: Sequence[str],
    *,
    user: int | None = None,
    read_only: bool = True,
    environment: Mapping[str, str] | None = None,
    binds: Mapping[str, Path] | None = None,
) -> list[str]:
    """Return the command that runs another one as a container of the image: without capabilities, by a user, the root read-only.

    Args:
      image: where.
      command: what runs.
      user: its number; None: the image's.
      read_only: whether the root is; /tmp is in memory then.
      environment: beside the image's.
      binds: path in the image -> folder or file outside that is seen there.
    """
    mounts = [f'mount --rbind {shlex.quote(str(outside))} "$ROOT{inside}"' for inside, outside in (binds or {}).items()]
    if read_only:
        mounts = ['mount -o remount,bind,ro "$ROOT"', 'mount -t tmpfs -o mode=1777 tmpfs "$ROOT/tmp"', *mounts]
    number = str(image.user if user is None else user)
    dropped = [
        "setpriv",
        f"--reuid={number}",
        f"--regid={number}",
        "--clear-groups",
        "--no-new-privs",
        "--bounding-set=-all",
        "--inh-caps=-all",
    ]
    variables = image.environment | {"HOME": "/"} | dict(environment or {})
    return entered(image, [*dropped, "--", *command], environment=variables, folder=image.folder, mounts=mounts)


def make_base(image: Image, report: Report, *, mirror: str, certificates: Path | None) -> None:
    """Make what stands for the FROM line."""
    debootstrap = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", "bookworm", str(image.root), mirror]
    report.command("debootstrap bookworm", debootstrap)
    if report.failed:
        return
    # what the published image does not have either
    for path in (image.root / "var/cache/apt/archives").glob("*.deb"):
        path.unlink()
    for name in ("resolv.conf", "hosts"):
        shutil.copyfile(f"/etc/{name}", image.root / "etc" / name)
    if certificates:
        shutil.copyfile(certificates, image.root / "usr/local/share/ca-certificates/outside.crt")
        report.command("certificates", entered(image, ["update-ca-certificates"], environment=image.environment, folder="/"))
    run_as_root = image.environment | outside(certificates)
    report.command(
        "Python 3.11 in /usr/local", entered(image, ["python3", "-m", "venv", "/usr/local"], environment=run_as_root, folder="/")
    )
    pip = ["/usr/local/bin/pip", "install", "--no-cache-dir", "--quiet", *PIP]
    report.command("the image's pip and setuptools", entered(image, pip, environment=run_as_root, folder="/"))


def outside(certificates: Path | None) -> dict[str, str]:
    """Return variables of this machine's network that a step needs and an image does not keep."""
    proxies = {name: value for name, value in os.environ.items() if name.lower() in ("http_proxy", "https_proxy", "no_proxy")}
    return proxies | ({"PIP_CERT": "/etc/ssl/certs/ca-certificates.crt"} if certificates else {})


def carry_out(
    image: Image, report: Report, read: Sequence[dockerfile.Instruction], *, given: Mapping[str, str], network: dict[str, str]
) -> None:
    """Carry out the instructions but FROM, and stop at the first that fails.

    Args:
      image: changed by them.
      report: gets a row for each that takes time.
      read: the instructions.
      given: --build-arg.
      network: variables of this machine for RUN.
    """
    dockerignore = (PROJECT / ".dockerignore").read_text()
    for one in read:
        if one.keyword == "ARG":
            name, _, default = one.arguments.partition("=")
            image.arguments[name] = given.get(name, default)
        elif one.keyword == "ENV":
            image.environment |= one.pairs(image.environment | image.arguments)
        elif one.keyword == "SHELL":
            image.shell = tuple(one.words())
        elif one.keyword == "WORKDIR":
            image.folder = os.path.join(image.folder, one.arguments)
            image.inside(".").mkdir(parents=True, exist_ok=True)
        elif one.keyword == "COPY":
            count = sum(_copy(image, source, one.words()[-1], dockerignore) for source in one.words()[:-1])
            report.add(f"COPY {one.arguments}", count > 0, 0, f"{count} files")
        elif one.keyword == "RUN":
            variables = network | image.environment | image.arguments | {"HOME": "/root"}
            step = entered(image, [*image.shell, one.arguments], environment=variables, folder=image.folder)
            report.command(f"RUN {one.arguments[:60]}…", step, seconds=3600)
        elif one.keyword == "USER":
            image.user = int(one.arguments)
        elif one.keyword == "VOLUME":
            image.volumes = tuple(one.words())
        elif one.keyword == "CMD":
            image.command = tuple(one.words())
        if report.failed:
            return


def _copy(image: Image, source: str, target: str, dockerignore: str) -> int:
    """Copy a file, or what is in a folder, as COPY does; return the number of files. They belong to root, whatever they are outside."""
    given, into = PROJECT / source, image.inside(target)
    paths = sorted(path for path in given.rglob("*") if path.is_file()) if given.is_dir() else [given]
    kept = [path for path in paths if not dockerfile.ignored(path.relative_to(PROJECT).as_posix(), dockerignore)]
    # a file's target without a slash at its end is the file itself
    alone = not given.is_dir() and not target.endswith("/")
    above = given if given.is_dir() else given.parent
    for path in kept:
        place = into if alone else into / path.relative_to(above)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
        os.chown(place, 0, 0)
    return len(kept)


def size(path: Path) -> int:
    """Return the bytes of a folder on disk; hard links count once, what is mounted does not."""
    done = subprocess.run(["du", "-sx", "--block-size=1", str(path)], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[0])


def largest(image: Image, count: int = 10) -> dict[str, int]:
    """Return name -> bytes of the largest packages."""
    (folder,) = image.root.glob("usr/local/lib/python3.*/site-packages")
    sizes = {path.name: size(path) for path in folder.iterdir() if path.is_dir()}
    return dict(sorted(sizes.items(), key=lambda item: -item[1])[:count])


def check(image: Image, report: Report, workspace: Path, *, steps: int) -> None:
    """Run what people run in the image."""
    for user in (image.user, OTHER_USER):
        owned = workspace / str(user)
        owned.mkdir(parents=True)
        os.chown(owned, user, user)
        mine = {"/workspace": owned}
        text = (
            "id -u; if touch /app/x /usr/local/x 2>/dev/null; then exit 3; fi; touch /workspace/x /tmp/x; grep -h CapEff /proc/self/status"
        )
        note = " ".join(report.command(f"user {user}: read-only root", container(image, ["sh", "-c", text], user=user, binds=mine)).split())
        if note and not note.startswith(str(user)) or note and int(note.split()[-1], 16):
            report.add(f"user {user}: number and capabilities", False, 0, note)
        report.command(f"user {user}: {' '.join(image.command)}", container(image, image.command, user=user, binds=mine))
        report.command(f"user {user}: pneumodet doctor", container(image, ["pneumodet", "doctor"], user=user, binds=mine))
    binds = {"/workspace": workspace / str(image.user)}
    report.command("pip check", container(image, ["pip", "check"], binds=binds))
    for script in sorted(path.stem for path in image.inside("tools").glob("*.py")):
        report.command(f"tools/{script}.py --help", container(image, ["python", f"tools/{script}.py", "--help"], binds=binds))
    # the program that EXPOSE is for
    report.command("tensorboard --version", container(image, ["tensorboard", "--version"], binds=binds))
    for name, command in workflow(steps):
        report.command(name, container(image, command, binds=binds))


def workflow(steps: int) -> list[tuple[str, list[str]]]:
    """Return (name, command) of a short run of everything, on radiographs that are made up."""
    made = "from pathlib import Path; from pneumodet.data import synthetic; synthetic.make_dataset(Path('/workspace/source'), exams=24, size=256)"
    small = [f"--set=model.ssd.image_resizer.fixed_shape_resizer.{name}=96" for name in ("height", "width")]
    records = "--dicom-dir /workspace/source/{dicom} --labels /workspace/source/{labels} --output-dir /workspace/records"
    given = records.format(dicom="stage_2_train_images", labels="stage_2_train_labels.csv").split()
    train = ["pneumodet", "train", "--config", "ssd_mobilenet", "--data", "/workspace/records", "--run", "first", f"--steps={steps}"]
    train += ["--pretrained", "none"]  # nothing outside is reached
    formats = "savedmodel,onnx,tflite"
    return [
        ("made-up radiographs", ["python", "-c", made]),
        ("make-tfrecords", ["pneumodet", "make-tfrecords", *given]),
        (f"train, {steps} steps", [*train, "--batch-size=4", *small]),
        ("evaluate", ["pneumodet", "evaluate", "--run", "first"]),
        ("export", ["pneumodet", "export", "--run", "first", "--formats", formats]),
        (
            "predict",
            [
                "pneumodet",
                "predict",
                "--model",
                "/workspace/first/export",
                "--input",
                "/workspace/source",
                "--output-dir",
                "/workspace/predictions",
            ],
        ),
    ]


def worker_of(compose: Mapping[str, Any]) -> dict[str, Any]:
    """Return command, environment, health check and what is hardened of the worker in a compose file.

    Raises:
      ValueError: it is not hardened as ``container`` runs it.
    """
    worker = compose["services"]["worker"]
    hardened = {"read_only": True, "tmpfs": ["/tmp"], "cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"]}
    unlike = [name for name, value in hardened.items() if worker.get(name) != value]
    if unlike:
        raise ValueError(f"deploy/compose.yml: the worker's {', '.join(unlike)} is not as it is tried here: {hardened}")
    environment = {
        name: value.partition(":-")[2].rstrip("}") if value.startswith("${") else value for name, value in worker["environment"].items()
    }
    kind, *health = worker["healthcheck"]["test"]
    if kind != "CMD":
        raise ValueError(f"deploy/compose.yml: the health check is of the kind {kind}, must be CMD")
    return {"command": worker["command"], "environment": environment, "health": health}


def check_compose(image: Image, report: Report, workspace: Path) -> None:
    """Run the worker of deploy/compose.yml beside a PACS that is away, ask its health check, and end it as an engine does."""
    import yaml

    worker = worker_of(yaml.safe_load((PROJECT / "deploy/compose.yml").read_text()))
    owned = workspace / str(image.user)
    (image.root / "model").mkdir(exist_ok=True)
    secret = image.root / "run/secrets/pacs_password"
    secret.parent.mkdir(parents=True, exist_ok=True)
    secret.write_text("made up\n")
    hosts = image.root / "etc/hosts"
    # nothing listens there: a PACS that is away is no reason for the worker to end
    hosts.write_text(hosts.read_text() + "127.0.0.1 orthanc\n")
    binds = {"/workspace": owned, "/model": owned / "first/export"}
    begin = time.monotonic()
    command = container(image, worker["command"], environment=worker["environment"], binds=binds)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        asked = container(image, worker["health"], binds={"/workspace": owned})
        healthy = False
        while not healthy and process.poll() is None and time.monotonic() < begin + 120:
            healthy = subprocess.run(asked, capture_output=True, check=False).returncode == 0
        report.add("compose: healthy", healthy, time.monotonic() - begin)
        begin = time.monotonic()
        # the worker is a child of unshare, which does not pass signals on
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        # none where it has ended by itself
        for child in children.read_text().split() if children.is_file() else []:
            os.kill(int(child), 15)
        try:
            output, _ = process.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
        if not report.add("compose: ends at SIGTERM", process.returncode == 0, time.monotonic() - begin, f"exit code {process.returncode}"):
            print(output[-TAIL:])


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="new folder of the root file system; about 4 GB, 10 with --device gpu")
    parser.add_argument("--device", choices=tuple(LIMIT_BYTES), default="cpu", help="the Dockerfile's DEVICE (default cpu)")
    parser.add_argument("--mirror", default=MIRROR, help=f"of Debian's packages (default {MIRROR})")
    parser.add_argument("--certificates", type=Path, help="PEM file of a proxy that signs connections by itself")
    parser.add_argument("--steps", type=int, default=4, help="steps of the short training (default 4)")
    parser.add_argument("--checks-only", action="store_true", help="the root is there from an earlier call: only run the commands in it")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out the steps, run the checks, print sizes."""
    args = build_parser().parse_args(argv)
    lacking = [name for name in ("debootstrap", "unshare", "chroot", "du") if not shutil.which(name)]
    if lacking or os.geteuid():
        print(f"This needs root, debootstrap and util-linux; lacking: {', '.join(lacking) or 'root'}.", file=sys.stderr)
        return 2
    image, report = Image(args.root.resolve()), Report()
    read = dockerfile.instructions((PROJECT / "Dockerfile").read_text())
    given = {"DEVICE": args.device}
    if args.checks_only:
        carry_out(image, Report(), [one for one in read if one.keyword not in ("RUN", "COPY", "FROM")], given=given, network={})
    else:
        if args.root.exists() and any(args.root.iterdir()):
            print(f"{args.root} is not empty. Name a new folder.", file=sys.stderr)
            return 2
        args.root.mkdir(parents=True, exist_ok=True)
        make_base(image, report, mirror=args.mirror, certificates=args.certificates)
        base = size(image.root)
        if not report.failed:
            steps = [one for one in read if one.keyword != "FROM"]
            carry_out(image, report, steps, given=given, network=outside(args.certificates))
        if not report.failed:
            whole, limit = size(image.root), LIMIT_BYTES[args.device]
            note = f"{whole / 1e9:.2f} GB, of which {base / 1e9:.2f} the base; at most {'-' if limit is None else f'{limit / 1e9:.0f}'}"
            report.add("size", limit is None or whole < limit, 0, note)
    if not report.failed or args.checks_only or report.failed == ["size"]:
        for name, count in largest(image).items():
            print(f"       {count / 1e6:8.0f} MB  {name}")
        workspace = image.root.with_name(image.root.name + "-workspace")
        shutil.rmtree(workspace, ignore_errors=True)
        check(image, report, workspace, steps=args.steps)
        check_compose(image, report, workspace)
    path = image.root.with_name(image.root.name + "-report.json")
    path.write_text(json.dumps({"device": args.device, "rows": report.rows}, indent=2) + "\n")
    print(f"{len(report.rows) - len(report.failed)} of {len(report.rows)} succeeded; {path}")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
