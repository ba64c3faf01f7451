"""A Slurm of one node in a folder of its own: munged, slurmctld and slurmd with their own ports, as long as it is entered."""
import os
import pathlib
import platform
import subprocess
import time

import ranks

PROGRAMS = ["munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol"]
CONFIG = """
ClusterName=meshplan
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
SlurmctldPort={controller_port}
SlurmdPort={node_port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
JobRequeue=1
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,batch_sched_delay=0
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class Slurm:
    def __init__(self, folder: pathlib.Path, cpus: int):
        self.folder = folder
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf")}
        (folder / "state").mkdir(parents=True)
        (folder / "spool").mkdir()
        key = folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        folder.chmod(0o700)
        config = CONFIG.format(folder=folder, host=platform.node().split(".")[0], cpus=cpus, controller_port=ranks.free_port(),
                               node_port=ranks.free_port())
        (folder / "slurm.conf").write_text(config)

    def __enter__(self):
        daemons = [["munged", "--foreground", "--force", *(f"--{name}={self.folder}/{file}" for name, file in {
                        "key-file": "munge.key", "socket": "munge.sock", "pid-file": "munged.pid", "log-file": "munged.log",
                        "seed-file": "munged.seed"}.items())],
                   ["slurmctld", "-D", "-c", "-f", self.environment["SLURM_CONF"]],
                   ["slurmd", "-D", "-f", self.environment["SLURM_CONF"]]]
        self.daemons = []
        for command in daemons:
            self.daemons.append(subprocess.Popen(command, env=os.environ | self.environment, stdout=subprocess.DEVNULL,
                                                 stderr=subprocess.DEVNULL))
            if command[0] == "munged":
                self.wait_until(lambda: (self.folder / "munge.sock").exists(), "munged's socket")
        self.wait_until(lambda: "idle" in self.run("sinfo", "-h", "-o", "%T", check=False), "an idle node")
        return self

    def __exit__(self, *_):
        self.run("scancel", "--user=root", check=False)
        for daemon in reversed(self.daemons):
            daemon.terminate()
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def wait_until(self, what, name: str, timeout: float = 90):
        deadline = time.monotonic() + timeout
        while not what():
            if time.monotonic() > deadline:
                logs = {log.name: log.read_text()[-2000:] for log in self.folder.glob("*.log")}
                raise TimeoutError(f"no {name} within {timeout} s: {logs}")
            time.sleep(0.2)

    def run(self, *words: str, check: bool = True, **more) -> str:
        ended = subprocess.run(words, capture_output=True, text=True, env=os.environ | self.environment, timeout=240, **more)
        assert ended.returncode == 0 or not check, ended.stdout + ended.stderr
        return ended.stdout

    def state(self, job: str) -> str:
        """PENDING, RUNNING, COMPLETED, FAILED, ..."""
        fields = self.run("scontrol", "show", "job", job, "--oneliner", check=False).split()
        return next((field.split("=")[1] for field in fields if field.startswith("JobState=")), "")

    def wait_for_end(self, job: str) -> str:
        self.wait_until(lambda: self.state(job) not in ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING"), f"end of job {job}", 240)
        return self.state(job)
