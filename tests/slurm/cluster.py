"""A real SLURM on this machine: one slurmctld and two slurmd nodes with two stand-in GPUs each.

All of it lies in one folder and is found through SLURM_CONF alone: an installed SLURM's /etc/slurm is neither read nor
written, its daemons and its munge key are not touched. It runs as any user.
"""

import contextlib
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

NODES = ("node1", "node2")
GPUS = ("/dev/null", "/dev/zero")  # SLURM wants character devices; nobody opens these two for what they are
PROGRAMS = ("slurmctld", "slurmd", "munged", "mungekey", "sbatch", "scontrol")
CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
# A job that was on a node that went down may start again after 10 seconds; the default is two minutes.
AuthInfo=socket={folder}/munge.socket,cred_expire=10
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=0
SchedulerParameters=bf_interval=1,sched_min_interval=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
# Each node says that it has what it is given here, whatever the machine has.
SlurmdParameters=config_overrides
MinJobAge=900
KillWait=2
OverTimeLimit=0
SlurmdTimeout=20
GresTypes=gpu
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=4 RealMemory=16000 Gres=gpu:2
NodeName=node2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=4 RealMemory=16000 Gres=gpu:2
PartitionName=gpu Nodes=node1,node2 Default=YES MaxTime=60
"""


@dataclass
class Cluster:
    """The daemons by name, and where they live."""

    folder: Path
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to find this cluster, and nothing of one that the tests themselves run in."""
        own = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH", "CUDA"))}
        return own | {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def call(self, *command: str) -> str:
        """The output of one of SLURM's commands."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout

    def jobs(self) -> list[dict[str, str]]:
        """Every job that the controller remembers: the fields of `scontrol show job`."""
        lines = self.call("scontrol", "show", "job", "-d", "-o").splitlines()
        jobs = [line for line in lines if line.startswith("JobId=")]  # or "No jobs in the system"
        return [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in jobs]

    def start(self) -> None:
        """Start the daemons and wait until both nodes take jobs."""
        key, address = self.folder / "munge.key", f"--socket={self.folder}/munge.socket"
        subprocess.run(["mungekey", "--create", f"--keyfile={key}"], check=True)
        files = [f"--{name}={self.folder}/munge.{name[:4]}" for name in ("pid-file", "log-file", "seed-file")]
        self._run("munged", "--foreground", "--force", address, f"--key-file={key}", *files)
        wait_for((self.folder / "munge.socket").exists, "munge's socket")
        self._run("slurmctld", "-D")
        for node in NODES:
            self.start_node(node)
        wait_for(lambda: self._states() == dict.fromkeys(NODES, "idle"), "two idle nodes")

    def start_node(self, node: str) -> None:
        (self.folder / node).mkdir(exist_ok=True)
        self._run(node, "-D", "-N", node, program="slurmd")

    def kill_node(self, node: str) -> None:
        """As when the power fails: the daemon and all that runs under it, without a word to the controller."""
        daemon = self.daemons.pop(node)
        daemon.kill()
        daemon.wait(10)
        jobs = [process for process in self._processes() if process.environ().get("SLURMD_NODENAME") == node]
        parents = {parent for process in jobs for parent in process.parents()}
        for step in (parent for parent in parents if parent.name() == "slurmstepd"):
            step.kill()  # first: it would report that its job has failed
        for process in jobs:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def stop(self) -> None:
        """Stop all that runs, and all that was left running, whatever state it is in."""
        if "slurmctld" in self.daemons:
            cancel = ["scancel", "--full", "--partition=gpu"]
            subprocess.run(cancel, env=self.environment, capture_output=True, timeout=20, check=False)
        for daemon in reversed(list(self.daemons.values())):
            daemon.terminate()
        for daemon in self.daemons.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.wait(5)
        for process in self._processes():
            with contextlib.suppress(psutil.Error):
                process.kill()
        for daemon in self.daemons.values():
            daemon.wait(10)

    def _run(self, name: str, *options: str, program: str = "") -> None:
        log = (self.folder / f"{name}.out").open("ab")
        command = [program or name, *options]
        self.daemons[name] = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log, cwd=self.folder)

    def _states(self) -> dict[str, str]:
        done = subprocess.run(
            ["sinfo", "-h", "-N", "-o", "%N %t"], env=self.environment, capture_output=True, text=True
        )
        return dict(line.split() for line in done.stdout.splitlines())

    def _processes(self) -> Iterator[psutil.Process]:
        """Everything on this machine that belongs to this cluster."""
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("SLURM_CONF") == self.environment["SLURM_CONF"]:
                    yield process


@contextlib.contextmanager
def running() -> Iterator[Cluster]:
    """A cluster of its own, stopped and removed at the end."""
    with tempfile.TemporaryDirectory(prefix="slurm-", ignore_cleanup_errors=True) as name:  # short: sockets lie in it
        folder = Path(name)
        (folder / "state").mkdir()
        fields = {"host": socket.gethostname().split(".")[0], "user": psutil.Process().username(), "folder": folder}
        (folder / "slurm.conf").write_text(CONF.format(ports=free_ports(3), **fields))
        gres = [f"NodeName={node} Name=gpu File={device}\n" for node in NODES for device in GPUS]
        (folder / "gres.conf").write_text("AutoDetect=off\n" + "".join(gres))
        cluster = Cluster(folder)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def wait_for(condition: object, what: str, seconds: float = 60) -> None:
    """Until `condition()` holds."""
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, f"waited {seconds} s in vain for {what}"
        time.sleep(0.2)
