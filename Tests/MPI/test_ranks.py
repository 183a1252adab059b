"""What ranks of mpirun write and print is what one process does, byte for byte.

Usage: test_ranks.py PLAIN SHARED [unittest's options]; PLAIN is the program as it is built by default,
SHARED the one with the package's trait 'MPI'. Where two hosts cannot be made, their tests are skipped;
with CONDI_REQUIRE_HOSTS=1 they fail instead.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

from checkpoints import write_sharded
from hosts import Hosts
from launcher import Outcome, Programs

ROOT = Path(__file__).resolve().parents[2]
SWINIR = ROOT / "Examples/swinir_light_x2.pth"
COUNTS = (1, 2, 4)


class RankTests(unittest.TestCase):
    programs: Programs

    @classmethod
    def setUpClass(cls) -> None:
        cls.temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.temporary.cleanup)
        cls.folder = Path(cls.temporary.name)
        cls.many = write_sharded(cls.folder / "many", layers=40, rows=24, columns=40)
        cls.slow = write_sharded(cls.folder / "slow", layers=24, rows=1400, columns=900)

    def setUp(self) -> None:
        # A place of its own, whose path is the same for the plain program and for ranks.
        self.place = self.folder / self.id().rsplit(".", 1)[-1]
        self.place.mkdir()
        self.output = self.place / "out.condi"

    def names(self) -> list[str]:
        return sorted(path.name for path in self.place.iterdir())

    def expect(self, outcome: Outcome, code: int = 0) -> Outcome:
        self.assertEqual(outcome.code, code, outcome.errors)
        return outcome

    def expect_one_error(self, outcome: Outcome, start: str, words: str) -> None:
        self.assertEqual(outcome.code, 2, outcome.errors)
        self.assertEqual(len(outcome.own_errors), 1, outcome.errors)
        line = outcome.own_errors[0].removeprefix("condi-convert: ")
        self.assertTrue(line.startswith(start), line)
        self.assertIn(words.lower(), line.lower())

    def converted(self, model: Path, output: Path, *options) -> tuple[bytes, str]:
        """By one process: the bytes, and the report. The output is gone afterwards."""
        outcome = self.expect(self.programs.alone("convert", model, output, *options))
        found = output.read_bytes(), outcome.output
        output.unlink()
        return found

    def expect_same(self, model: Path, output: Path, *options, counts=COUNTS) -> None:
        expected, report = self.converted(model, output, *options)
        for count in counts:
            with self.subTest(model=model.name, ranks=count, options=options):
                outcome = self.expect(
                    self.programs.ranks(count, "convert", model, output, *options))
                self.assertEqual(output.read_bytes(), expected)
                self.assertEqual(outcome.output, report)
                output.unlink()
                self.assertEqual(self.names(), [])


class ConversionTests(RankTests):
    def test_bits(self) -> None:
        for bits in (2, 3, 4):
            self.expect_same(self.many, self.output, "--bits", bits, "--format", "json")

    def test_nested_checkpoint(self) -> None:
        self.expect_same(SWINIR, self.output, "--bits", 2, "--granularity", "group:20")

    def test_threads(self) -> None:
        for threads in (1, 3):
            self.expect_same(
                self.many, self.output, "--bits", 2, "--threads", threads, counts=(2, 3))

    def test_conditioned_weights(self) -> None:
        self.expect_same(
            SWINIR, self.output, "--bits", 2, "--method", "best", "--format", "json", counts=(2,))

    def test_safetensors(self) -> None:
        for model in (self.many, SWINIR):
            self.expect_same(model, self.place / "out.safetensors", "--quiet")

    def test_journal(self) -> None:
        self.expect_same(self.many, self.output, "--bits", 2, "--journal", counts=(2, 4))

    def test_more_ranks_than_tensors(self) -> None:
        single = ROOT / "Tests/Fixtures/safetensors/float32.safetensors"
        self.expect_same(single, self.place / "out.safetensors", "--quiet", counts=(4,))

    def test_an_output_is_replaced_with_force_only(self) -> None:
        self.output.write_bytes(b"earlier")
        arguments = ("convert", self.many, self.output, "--bits", 2)
        outcome = self.expect(self.programs.ranks(2, *arguments), 2)
        self.assertEqual(len(outcome.own_errors), 1, outcome.errors)
        self.assertEqual(self.output.read_bytes(), b"earlier")
        self.expect(self.programs.ranks(2, *arguments, "--force"))
        self.assertNotEqual(self.output.read_bytes(), b"earlier")
        self.assertEqual(self.names(), ["out.condi"])


class ReportTests(RankTests):
    def expect_same_report(self, *arguments, code: int = 0, counts=COUNTS) -> None:
        alone = self.expect(self.programs.alone(*arguments), code)
        for count in counts:
            with self.subTest(arguments=arguments, ranks=count):
                outcome = self.expect(self.programs.ranks(count, *arguments), code)
                self.assertEqual(outcome.output, alone.output)
                self.assertEqual(outcome.own_errors, alone.own_errors)

    def test_inspect(self) -> None:
        for options in (
            ["--format", "json"], ["--split-qkv", "--sort", "condition", "--limit", "5"],
            ["--extremes", "--format", "csv", "--threads", "1"],
            ["--singular-values", "--format", "json", "--layers", "*layers.0.*.weight"],
        ):
            self.expect_same_report("inspect", SWINIR, *options)
        self.expect_same_report("inspect", self.many, "--format", "json")
        self.expect_same_report("inspect", self.many, SWINIR, counts=(2,))

    def test_large_matrices(self) -> None:
        for threads in (1, 2):
            self.expect_same_report(
                "inspect", self.slow, "--layers", "layers.[0-3].*", "--format", "json", "--threads",
                threads, counts=(2, 4))

    def test_rules(self) -> None:
        rule = ("--fail-if", "condition > 2", "--junit", self.place / "rules.xml")
        self.expect_same_report("inspect", self.many, *rule, code=1, counts=(2,))
        self.assertEqual(self.names(), ["rules.xml"])

    def test_verify(self) -> None:
        self.expect(self.programs.alone("convert", SWINIR, self.output, "--bits", 2, "--quiet"))
        self.expect_same_report("verify", self.output, "--format", "json")
        self.expect_same_report(
            "verify", self.output, "--reference", SWINIR, "--format", "json", "--min-ratio",
            "paper=3.3", "--max-condition", "1e9")
        self.expect_same_report(
            "verify", self.output, "--reference", SWINIR, "--min-sqnr", 90, code=1, counts=(2,))
        self.expect_same_report(
            "verify", self.output, "--reference", SWINIR, "--reproduce", counts=(2,))

    def test_damage(self) -> None:
        self.expect(self.programs.alone("convert", SWINIR, self.output, "--bits", 2, "--quiet"))
        whole = self.output.read_bytes()
        for place in (20, 70_000, len(whole) // 2, len(whole) - 9):
            damaged = bytearray(whole)
            damaged[place] ^= 1
            self.output.write_bytes(damaged)
            self.expect_same_report("verify", self.output, code=2, counts=(2, 4))
            self.expect_same_report(
                "verify", self.output, "--reference", SWINIR, "--repairable", code=2, counts=(2,))


class MannersTests(RankTests):
    """Nothing is done or said by every rank."""

    def test_what_is_not_shared_is_done_once(self) -> None:
        lone = "condi-convert: rank 0 works alone: "
        target = self.place / "out.npz"
        outcome = self.expect(self.programs.ranks(3, "convert", self.many, target, "--quiet"))
        self.assertEqual(outcome.own_errors, [])
        target.unlink()
        outcome = self.expect(self.programs.ranks(3, "diff", SWINIR, SWINIR))
        self.assertEqual(outcome.output, self.programs.alone("diff", SWINIR, SWINIR).output)
        self.assertEqual(
            outcome.own_errors, [f"{lone}ranks cannot share this command"])
        outcome = self.expect(
            self.programs.ranks(2, "inspect", "-", given=SWINIR.read_bytes()))
        self.assertEqual(outcome.own_errors, [f"{lone}only rank 0 receives standard input"])
        # But for its name, it is the report of the file.
        self.assertEqual(
            outcome.output.splitlines()[1:],
            self.programs.alone("inspect", SWINIR).output.splitlines()[1:])

    def test_a_model_that_stays_in_memory(self) -> None:
        options = ("--bits", 2, "--target-size", 1_300_000)
        expected, report = self.converted(SWINIR, self.output, *options)
        outcome = self.expect(self.programs.ranks(3, "convert", SWINIR, self.output, *options))
        self.assertEqual(self.output.read_bytes(), expected)
        self.assertEqual(outcome.output, report)
        self.assertEqual(
            [line for line in outcome.own_errors if "alone" in line],
            ["condi-convert: rank 0 works alone: packing with a calibration or --target-size is not "
             "shared"])

    def test_tasks_of_slurm_that_know_nothing_of_one_another(self) -> None:
        for command, code in (["convert", self.many, self.output, "--bits", "2"], 64), (
                ["diff", SWINIR, SWINIR], 0):
            outcome = self.programs.run(
                [self.programs.shared, *map(str, command)], SLURM_STEP_NUM_TASKS="4")
            self.assertEqual(outcome.code, code, outcome.errors)

    def test_wrong_usage_and_help(self) -> None:
        outcome = self.programs.ranks(3, "convert", "--bits")
        self.assertEqual(outcome.code, 64, outcome.errors)
        self.assertEqual(outcome.errors.count("Usage:"), 1, outcome.errors)
        outcome = self.expect(self.programs.ranks(3, "inspect", "--help"))
        self.assertEqual(outcome.output, self.programs.alone("inspect", "--help").output)
        refused = self.programs.ranks(
            2, "convert", self.many, self.output, "--bits", 2, "--consume-input")
        self.assertEqual(refused.code, 64, refused.errors)

    def test_missing_inputs_are_said_once(self) -> None:
        for arguments in (["inspect", "gone.pth"], ["verify", "gone.condi"],
                          ["convert", "gone.pth", self.output, "--bits", "2"]):
            alone = self.programs.alone(*arguments)
            outcome = self.programs.ranks(4, *arguments)
            self.assertEqual((outcome.code, outcome.own_errors), (alone.code, alone.own_errors))
        self.assertEqual(self.names(), [])

    def test_each_rank_is_a_job(self) -> None:
        expected, _ = self.converted(self.many, self.output, "--bits", 2)
        plan = f"{self.output}.plan.json"
        self.expect(self.programs.alone("plan", self.many, self.output, "--bits", 2))
        self.expect(self.programs.ranks(3, "run", plan))
        self.assertIn("out.condi.job-3-of-3", self.names())
        self.expect(self.programs.alone("finish", plan))
        self.assertEqual(self.output.read_bytes(), expected)

    def test_without_a_launcher_it_is_the_plain_program(self) -> None:
        outcome = self.programs.run([self.programs.shared, "inspect", str(SWINIR)])
        self.assertEqual(outcome, self.programs.alone("inspect", SWINIR))


class FailureTests(RankTests):
    def arguments(self, *options) -> tuple:
        # Searched bounds: some seconds of work, to be interrupted.
        return ("convert", self.slow, self.output, "--bits", 2, "--method", "dobi",
                "--threads", 1, *options)

    def test_a_rank_that_cannot_write(self) -> None:
        # A full disk, as one rank sees it.
        for count, rank in ((2, 1), (4, 2)):
            with self.subTest(ranks=count, rank=rank):
                outcome = self.programs.ranks(
                    count, "convert", self.slow, self.output, "--bits", 2,
                    before=f"[ $rank != {rank} ] || ulimit -f 1")
                self.expect_one_error(outcome, f"rank {rank}: {self.output}.part: ", "too large")
                self.assertEqual(self.names(), [])

    def test_an_output_that_is_too_large(self) -> None:
        # Rank 0 finds it before the others hear of anything.
        output = self.place / "out.safetensors"
        outcome = self.programs.ranks(
            3, "convert", self.slow, output, before="ulimit -f 40000")
        self.expect_one_error(outcome, f"{output}.part: ", "too large")
        self.assertEqual(self.names(), [])

    def test_a_rank_that_cannot_read(self) -> None:
        # A folder that one rank does not see.
        for command in (["inspect", "slow"], ["inspect", "many", "slow", "--format", "json"]):
            outcome = self.programs.ranks(
                4, *command, before=f"cd {self.folder}; [ $rank != 2 ] || cd /")
            self.expect_one_error(outcome, f"rank 2: {command[1]}: ", "No such file")
            self.assertEqual(outcome.output, "")

    def started(self, count: int, *options):
        """A conversion whose ranks have written their process numbers, and its partial file."""
        # The ranks yield to this program, which is to act while they work.
        process = self.programs.start(
            count, *self.arguments(*options),
            before=f"echo $$ >{self.place}/$rank.pid; renice -n 10 -p $$ >/dev/null")
        part = Path(f"{self.output}.part")
        for _ in range(2000):
            if part.exists() or process.poll() is not None:
                break
            time.sleep(0.01)
        return process

    def pids(self) -> list[int]:
        found = []
        for path in sorted(self.place.glob("*.pid")):
            found.append(int(path.read_text()))
            path.unlink()
        return found

    def test_a_rank_that_is_ended(self) -> None:
        for number, victim in ((signal.SIGTERM, 1), (signal.SIGKILL, 2), (signal.SIGKILL, 0)):
            with self.subTest(signal=number, rank=victim):
                process = self.started(3)
                ranks = self.pids()
                # One that knows nothing of the file yet cannot remove it.
                while not all(self.holds_part(rank) for rank in ranks):
                    self.assertIsNone(process.poll(), "it ended before the signal")
                    time.sleep(0.001)
                for rank in ranks:
                    os.kill(rank, signal.SIGSTOP)
                os.kill(ranks[victim], number)
                self.resume(ranks)
                output, errors = process.communicate(timeout=60)
                self.assertEqual(process.returncode, 128 + number, errors)
                self.assertEqual(output, "")
                self.assertIn(f"process rank {victim} ", errors)
                self.assertEqual(self.names(), [])

    def test_killed_and_continued(self) -> None:
        _, model, output, *options = self.arguments()
        expected, report = self.converted(model, output, *options)
        words = "continuing an earlier run, which has done"
        for last, counts in (("alone", (3, 2)), ("ranks", (4, 3))):
            for attempt, count in enumerate(counts):
                done = self.journaled()
                process = self.started(count, "--journal")
                while self.journaled() <= done:
                    self.assertIsNone(process.poll(), "it ended before it could be killed")
                    time.sleep(0.001)
                # However fast the machine is, none gets further until the blow has fallen.
                ranks = self.pids()
                for rank in ranks:
                    os.kill(rank, signal.SIGSTOP)
                try:
                    # One rank, or mpirun itself, which its ranks notice.
                    os.kill(process.pid if attempt == 1 else ranks[-1], signal.SIGKILL)
                    process.wait(timeout=60)
                finally:
                    self.resume(ranks)
                _, errors = process.communicate(timeout=60)
                self.assertEqual(words in errors, attempt > 0, errors)
                self.wait_for_end(ranks)
                self.assertFalse(self.output.exists())
                self.assertIn("out.condi.part", self.names())
            # What could be continued is not overwritten by the way.
            refused = self.programs.ranks(2, *self.arguments("--no-journal"))
            self.expect_one_error(refused, f"{self.output}.part: ", "continue it with --journal")
            # Either program goes on where ranks stopped.
            arguments = self.arguments("--journal")
            outcome = self.expect(
                self.programs.alone(*arguments) if last == "alone"
                else self.programs.ranks(2, *arguments))
            self.assertEqual(outcome.output, report)
            self.assertIn(words, outcome.errors)
            self.assertEqual(self.output.read_bytes(), expected)
            self.assertEqual(self.names(), ["out.condi"])
            self.output.unlink()

    @staticmethod
    def resume(ranks: list[int]) -> None:
        """Lets ranks that were stopped go on, where mpirun has not ended them."""
        for rank in ranks:
            with contextlib.suppress(ProcessLookupError):
                os.kill(rank, signal.SIGCONT)

    def holds_part(self, rank: int) -> bool:
        try:
            files = [file.readlink() for file in Path(f"/proc/{rank}/fd").iterdir()]
        except FileNotFoundError:
            return False
        return Path(f"{self.output}.part") in files

    def journaled(self) -> int:
        """How many records journals name."""
        journals = self.place.glob("out.condi.journal*")
        return sum(path.read_bytes().count(b'"record"') for path in journals)

    def wait_for_end(self, ranks: list[int]) -> None:
        """Ranks whose mpirun was killed end on their own, which takes a moment."""
        for _ in range(600):
            if not any(Path(f"/proc/{rank}/exe").exists() for rank in ranks):
                return
            time.sleep(0.1)
        self.fail("ranks go on without mpirun")


class HostTests(RankTests):
    """The counter, the results and the end of a rank go over TCP here."""

    def setUp(self) -> None:
        super().setUp()
        try:
            self.hosts = self.enterContext(Hosts(self.place))
        except (subprocess.CalledProcessError, FileNotFoundError) as error:
            reason = f"network namespaces need root and iproute2: {error}"
            if os.environ.get("CONDI_REQUIRE_HOSTS") == "1":
                self.fail(f"{reason}; CONDI_REQUIRE_HOSTS=1 makes this a failure")
            self.skipTest(reason)

    def across(self, ranks_each: int, *arguments, before: str = "") -> Outcome:
        program = self.programs.program(arguments, before)
        return self.programs.run(self.hosts.command(ranks_each, program))

    def test_conversions(self) -> None:
        for model, options in ((self.many, ["--bits", 3]), (self.slow, ["--bits", 2, "--journal"])):
            expected, report = self.converted(model, self.output, *options)
            for ranks_each in (1, 2):
                with self.subTest(model=model.name, ranks_each=ranks_each):
                    outcome = self.expect(
                        self.across(ranks_each, "convert", model, self.output, *options))
                    self.assertEqual(self.output.read_bytes(), expected)
                    self.assertEqual(outcome.output, report)
                    self.output.unlink()

    def test_reports(self) -> None:
        self.expect(self.programs.alone("convert", SWINIR, self.output, "--bits", 2, "--quiet"))
        for arguments in (["inspect", SWINIR, "--format", "json"],
                          ["verify", self.output, "--reference", SWINIR, "--format", "json"]):
            alone = self.expect(self.programs.alone(*arguments))
            outcome = self.expect(self.across(2, *arguments))
            self.assertEqual(outcome.output, alone.output)

    def test_a_rank_that_cannot_write(self) -> None:
        outcome = self.across(
            2, "convert", self.slow, self.output, "--bits", 2, "--threads", 1,
            before="[ $rank != 3 ] || ulimit -f 1")
        self.expect_one_error(outcome, f"rank 3: {self.output}.part: ", "too large")
        self.assertEqual(self.names(), ["agent"])


if __name__ == "__main__":
    RankTests.programs = Programs(Path(sys.argv[1]), Path(sys.argv[2]))
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)
