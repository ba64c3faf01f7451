"""The scripts of `meshplan submit --to slurm`, run by a Slurm of one node: they give the losses of a plain run, and go on where they were
stopped ahead of the time limit."""
import os
import pathlib
import tempfile
import unittest

import slurm
import submitting

NASTY = "it's a \"run\" #1 $(touch CANARY) \\ `id`"
LONG = 100


class SubmitSlurm(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        reason = submitting.left_out("Slurm", slurm.PROGRAMS) or ("Slurm is left out: its daemons need root" if os.geteuid() != 0 else None)
        if reason:
            print(reason)
            raise unittest.SkipTest(reason)
        cls.work = tempfile.TemporaryDirectory()
        root = pathlib.Path(cls.work.name)
        cls.planned = submitting.Planned(root / "planned", nodes=1, ranks_per_node=4)
        cls.plain = cls.planned.plain_losses(steps=LONG)
        cls.slurm = slurm.Slurm(root / "slurm", cpus=4).__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.slurm.__exit__()
        cls.work.cleanup()

    def submit(self, name: str, *more, **options) -> str:
        said = self.planned.submit("slurm", name, *more, **options, **self.slurm.environment)
        self.assertTrue(said["submitted"])
        return said["output"].split()[-1]

    def output(self, name: str) -> str:
        return "".join(file.read_text() for file in (self.planned.root / f"{name}-job").glob("*.out"))

    def expect_plain_losses(self, name: str, steps: int):
        losses = self.planned.losses(name)
        self.assertEqual([row["step"] for row in self.planned.metrics(name)], list(range(steps)), self.output(name))
        difference = submitting.largest_difference(losses, self.plain[:steps])
        print(f"{name}: largest difference of {steps} losses {difference:g}, tolerance 0")
        self.assertEqual(difference, 0)

    def test_srun_gives_the_losses_of_a_plain_run(self):
        words = ["srun", "-n", "4", "--export=ALL,OMP_NUM_THREADS=1", submitting.MESHPLAN, "train", str(self.planned.plan),
                 *self.planned.flags("srun", 20)]
        self.slurm.run(*words)
        self.expect_plain_losses("srun", 20)

    def test_the_script_gives_the_losses_of_a_plain_run(self):
        job = self.submit("batch", "--job-name", NASTY, steps=20)
        self.assertEqual(self.slurm.run("squeue", "-h", "--states=all", "-j", job, "-o", "%j").strip("\n"), NASTY)
        self.assertEqual(self.slurm.wait_for_end(job), "COMPLETED", self.output("batch"))
        self.expect_plain_losses("batch", 20)
        self.assertFalse(list(self.planned.root.rglob("CANARY")))

    def test_the_script_with_torchrun_gives_them_too(self):
        torchrun = pathlib.Path(os.environ["TORCHRUN"])
        job = self.submit("torchrun", "--launcher", "torchrun", "--torchrun", torchrun, steps=20)
        self.assertEqual(self.slurm.wait_for_end(job), "COMPLETED", self.output("torchrun"))
        self.expect_plain_losses("torchrun", 20)

    def test_a_job_that_is_stopped_ahead_of_its_limit_goes_on(self):
        # A checkpoint a step keeps it from its end until the signal is there.
        job = self.submit("requeued", "--time-limit", "1h", "--checkpoint-interval", "1", "--keep-latest-k", "2", steps=LONG)
        self.slurm.wait_until(lambda: len(self.planned.metrics("requeued")) > 5, "fifth step")
        # What --signal=B:USR1 does when the time is nearly up.
        self.slurm.run("scancel", "--batch", "--signal=USR1", job)
        self.slurm.wait_until(lambda: self.slurm.state(job) == "PENDING", "requeued job")
        stopped_after = len(self.planned.metrics("requeued"))
        self.assertLess(stopped_after, LONG)
        # Slurm lets a requeued job wait for two minutes.
        self.slurm.run("scontrol", "update", f"JobId={job}", "StartTime=now")
        self.assertEqual(self.slurm.wait_for_end(job), "COMPLETED", self.output("requeued"))
        print(f"requeued after step {stopped_after} of {LONG}")
        self.expect_plain_losses("requeued", LONG)
        self.assertIn(f"resuming after step {stopped_after} ", self.output("requeued"))


if __name__ == "__main__":
    unittest.main()
