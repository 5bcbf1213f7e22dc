"""Hosts on one machine: network namespaces with addresses of their own and a link that can be cut, else just processes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

OBJECT_STORE_BYTES = 100_000_000

SECOND_NODE = f"""\
import signal, sys
from ray._private.node import Node
from ray._private.parameter import RayParams
# `ray start`, and nothing behind it, refuses a second node where Ray keeps to loopback.
address = sys.argv[2].removeprefix("--address=")
Node(RayParams(gcs_address=address, node_ip_address="127.0.0.1", num_cpus=1, include_log_monitor=False,
               object_store_memory={OBJECT_STORE_BYTES}, temp_dir=sys.argv[1]), head=False, shutdown_at_exit=True)
print("Ray runtime started", flush=True)
signal.pause()
"""


class Hosts:
    """A head and one worker host; whatever was started on them ends with them, by its id.

    The folder `own` is another one on each of them, where they are real enough for that.
    """

    head: str
    """The head's address."""
    worker: str
    """The worker host's address."""
    kind: str
    """What a person should know of how the hosts are made."""

    def __init__(self, environment: Mapping[str, str], logs: Path, own: Path) -> None:
        # What a test session has told its own Ray, a token above all, is not for hosts of their own.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        self.environment = {**inherited, **environment}
        self.logs = logs
        self.own = own
        self._started: list[tuple[str, subprocess.Popen[bytes]]] = []

    def inside(self, host: str) -> list[str]:
        """What goes before a command so that it runs on a host."""
        raise NotImplementedError

    def cut(self) -> None:
        """Lets nothing pass between the head and the worker host."""
        raise NotImplementedError

    def restore(self) -> None:
        """Lets everything pass again."""
        raise NotImplementedError

    def start(self, host: str, name: str, *command: str | Path, user: str | None = None) -> subprocess.Popen[bytes]:
        """Starts a command on a host, for another user if one is named; what it prints goes to `<name>.log`."""
        become = ["runuser", "-u", user, "--"] if user else []
        with (self.logs / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [*self.inside(host), *become, *(str(part) for part in command)],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._started.append((host, process))
        return process

    def run(self, host: str, *command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs a command on a host to its end."""
        return subprocess.run(
            [*self.inside(host), *(str(part) for part in command)],
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def log(self, name: str) -> str:
        """What the command called `name` has printed."""
        return (self.logs / f"{name}.log").read_text(errors="replace")

    def start_node(self, host: str, name: str, temp_dir: Path, *options: str) -> subprocess.Popen[bytes]:
        """Starts a Ray node of one CPU on a host; `options` are those of `ray start` that say which cluster it is of."""
        return self.start(
            host, name, *self.ray(host), "start", "--block", "--num-cpus=1",
            "--include-log-monitor=false", f"--object-store-memory={OBJECT_STORE_BYTES}", f"--temp-dir={temp_dir}",
            f"--node-ip-address={host}", *options,
        )  # fmt: skip

    def ray(self, host: str) -> list[str | Path]:
        """Ray's command on a host."""
        return [Path(sys.executable).parent / "ray"]

    def family(self, host: str) -> list[psutil.Process]:
        """The processes that were started on a host, with their children."""
        found: list[psutil.Process] = []
        for where, process in self._started:
            if where == host:
                with contextlib.suppress(psutil.NoSuchProcess):  # it has ended
                    parent = psutil.Process(process.pid)
                    found += [parent, *parent.children(recursive=True)]
        return found

    def close(self) -> None:
        """Ends everything."""
        for host in (self.worker, self.head):
            for process in self.family(host):
                with contextlib.suppress(psutil.NoSuchProcess):  # its parent was ended a moment ago
                    process.kill()
        for _, started in self._started:
            started.wait()


class Namespaces(Hosts):
    """Two network namespaces with a cable between them."""

    head, worker = "10.77.0.1", "10.77.0.2"
    kind = "network namespaces with a link that is really cut"

    def __init__(self, environment: Mapping[str, str], logs: Path, own: Path) -> None:
        super().__init__(environment, logs, own)
        mark = uuid.uuid4().hex[:6]
        self._names = {self.head: f"sweep-head-{mark}", self.worker: f"sweep-work-{mark}"}
        for name in self._names.values():
            _ip("netns", "add", name)
        cable = f"sw{mark}"
        _ip("link", "add", f"{cable}a", "netns", self._names[self.head], "type", "veth", "peer", "name", f"{cable}b",
            "netns", self._names[self.worker])  # fmt: skip
        for end, (address, name) in zip("ab", self._names.items(), strict=True):
            _ip("-n", name, "addr", "add", f"{address}/24", "dev", f"{cable}{end}")
            _ip("-n", name, "link", "set", "lo", "up")
            _ip("-n", name, "link", "set", f"{cable}{end}", "up")
        self._cable = ("-n", self._names[self.head], "link", "set", f"{cable}a")

    def inside(self, host: str) -> list[str]:
        return ["ip", "netns", "exec", self._names[host]]

    def start_node(self, host: str, name: str, temp_dir: Path, *options: str) -> subprocess.Popen[bytes]:
        self.own.mkdir(exist_ok=True)
        return super().start_node(host, name, temp_dir, *options)

    def ray(self, host: str) -> list[str | Path]:
        if host == self.head:
            return super().ray(host)
        # `ip netns exec` gives the command mounts of its own.
        return ["sh", "-c", f'mount -t tmpfs tmpfs "{self.own}" && exec "$@"', "sh", *super().ray(host)]

    def cut(self) -> None:
        _ip(*self._cable, "down")

    def restore(self) -> None:
        _ip(*self._cable, "up")

    def family(self, host: str) -> list[psutil.Process]:
        """All processes of the namespace: a raylet that ends badly leaves some that are nobody's children."""
        listed = subprocess.run(
            ["ip", "netns", "pids", self._names[host]], capture_output=True, text=True, check=False
        ).stdout.split()
        found: list[psutil.Process] = []
        for pid in listed:
            with contextlib.suppress(psutil.NoSuchProcess):  # it has ended
                found.append(psutil.Process(int(pid)))
        return found

    def close(self) -> None:
        super().close()
        for name in self._names.values():
            _ip("netns", "delete", name)


class Loopback(Hosts):
    """Both hosts on loopback; one that is cut off is one whose processes stand still."""

    head, worker = "127.0.0.1", "localhost"
    kind = "raylets on loopback, as network namespaces are not allowed here"

    def __init__(self, environment: Mapping[str, str], logs: Path, own: Path) -> None:
        # Ray listens on loopback only if it believes that it is not on Linux.
        super().__init__({**environment, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}, logs, own)
        self._frozen: list[psutil.Process] = []

    def inside(self, host: str) -> list[str]:
        return []

    def start_node(self, host: str, name: str, temp_dir: Path, *options: str) -> subprocess.Popen[bytes]:
        if host == self.head:
            return super().start_node(host, name, temp_dir, *options)
        return self.start(host, name, sys.executable, "-c", SECOND_NODE, temp_dir, *options)

    def cut(self) -> None:
        self._frozen = self.family(self.worker)
        for process in self._frozen:
            process.send_signal(signal.SIGSTOP)

    def restore(self) -> None:
        for process in self._frozen:
            if process.is_running():
                process.send_signal(signal.SIGCONT)


def make_hosts(environment: Mapping[str, str], logs: Path, *, own: Path) -> Hosts:
    """Returns two hosts, the most real ones that this machine allows (SWEEPER_HOSTS=loopback: the least real ones)."""
    if os.environ.get("SWEEPER_HOSTS") == "loopback":
        return Loopback(environment, logs, own)
    try:
        return Namespaces(environment, logs, own)
    except (OSError, subprocess.CalledProcessError):
        return Loopback(environment, logs, own)


def wait_until(condition: Any, what: str, *, timeout: float = 240) -> None:
    """Waits until a condition holds."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen within {timeout:.0f} s"
        time.sleep(0.2)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
