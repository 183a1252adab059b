"""Two hosts on one machine: network namespaces that a pair of virtual Ethernet devices joins."""

import os
import subprocess
from pathlib import Path

# A shell that mpirun takes for ssh: HOST COMMAND...
AGENT = """#!/bin/sh
host=$1; shift
exec ip netns exec "$host" unshare --uts sh -c "hostname $host; $*"
"""


class Hosts:
    """Needs root. Both see the same files, as nodes of a cluster do."""

    def __init__(self, folder: Path) -> None:
        self.names = [f"condi-{os.getpid()}-{side}" for side in ("east", "west")]
        # A network for documentation (RFC 5737), which nothing else uses.
        self.network = "192.0.2.0/24"
        self.agent = folder / "agent"
        self.agent.write_text(AGENT)
        self.agent.chmod(0o755)

    def __enter__(self) -> "Hosts":
        east, west = self.names
        # Names of devices have at most 15 characters.
        devices = [f"c{os.getpid()}{side}" for side in "ew"]
        try:
            for name in self.names:
                self.ip("netns", "add", name)
            self.ip("link", "add", "name", devices[0], "netns", east,
                    "type", "veth", "peer", "name", devices[1], "netns", west)
            for number, (name, device) in enumerate(zip(self.names, devices), start=1):
                self.ip("-n", name, "addr", "add", f"192.0.2.{number}/24", "dev", device)
                self.ip("-n", name, "link", "set", device, "up")
                self.ip("-n", name, "link", "set", "lo", "up")
            # Whether commands can be run there, under names of their own.
            subprocess.run([self.agent, east, "true"], check=True, capture_output=True)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)

    @staticmethod
    def ip(*arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)

    def command(self, ranks_each: int, program: list[str]) -> list[str]:
        """mpirun on the first host, with so many ranks on each."""
        places = ",".join(f"{name}:{ranks_each}" for name in self.names)
        network = [part for kind in ("btl", "oob")
                   for part in ("--mca", f"{kind}_tcp_if_include", self.network)]
        mpirun = ["mpirun", "--host", places, "-np", str(2 * ranks_each), "--bind-to", "none",
                  "--mca", "plm_rsh_agent", str(self.agent), *network, *program]
        quoted = " ".join("'" + part.replace("'", "'\\''") + "'" for part in mpirun)
        return [str(self.agent), self.names[0], f"cd / && exec {quoted}"]
