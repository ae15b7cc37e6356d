"""Who is blamed, decided on readings made up here: the rules that a few real processes cannot show in every order."""

from __future__ import annotations

from pathlib import Path

from failing import ring

from federates.runtime.diagnosis import Diagnosis, Rank, Reading, Trouble
from federates.runtime.federate import S_NS
from federates.runtime.heartbeat import NOBODY, Beat, State
from federates.runtime.job import Failure, Job

A, B, C = range(3)


class Case:
    """Three processes whose readings a test changes while a clock of its own runs in steps of 50 ms."""

    def __init__(self) -> None:
        federation = ring(watchdog_ns=2 * S_NS, start_limit_ns=10 * S_NS)
        self.diagnosis = Diagnosis(Job.of(federation, "helics", Path("run")))
        self.beats = {"pair": [0, State.BUILDING, NOBODY, 0, False], "single": [0, State.BUILDING, NOBODY, 0, False]}
        self.beats["broker"] = [0, State.WAITING, NOBODY, 0, False]
        self.frozen: set[str] = set()
        self.idle: set[str] = set()
        self.stopped: set[str] = set()
        self.ended: dict[str, str] = {}
        self.failures: dict[str, Failure] = {}
        self.now_s, self.ticks = 100.0, 0

    def does(self, process: str, state: State, federate: int, t_ns: int = S_NS, *, started: bool = True) -> Case:
        """What a process shows from now on; `idle` and `frozen` say whether it goes on changing."""
        self.beats[process] = [self.ticks, state, federate, t_ns, started]
        return self

    def wait(self, seconds: float, poll_s: float = 0.05) -> Trouble | None:
        """Let time go by until a cause is found."""
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self.now_s, self.ticks = self.now_s + poll_s, self.ticks + 1
            if trouble := self.diagnosis.look({name: self._reading(name) for name in self.beats}, self.now_s):
                return trouble
        return None

    def _reading(self, name: str) -> Reading:
        since, state, federate, t_ns, started = self.beats[name]
        alive = 0 if name in self.frozen else self.ticks
        since = since if name in self.idle else self.ticks
        beat = Beat(alive, State(state), federate, t_ns, since, bool(started), t_ns if started else 0)
        return Reading(beat, self.ended.get(name), name in self.stopped, self.failures.get(name))


def running() -> Case:
    """A federation in the middle of its run."""
    case = Case().does("pair", State.WAITING, A).does("single", State.WAITING, C)
    assert case.wait(5) is None
    return case


def test_a_hung_federate_is_blamed_and_its_waiting_victims_are_not() -> None:
    case = running().does("single", State.COMPUTING, C, 7 * S_NS)
    case.idle |= {"pair", "single"}
    assert case.wait(1.9) is None
    trouble = case.wait(1)
    assert trouble and (trouble.federate, trouble.t_ns, trouble.rank) == ("c", 7 * S_NS, Rank.HUNG)


def test_one_who_waits_long_is_not_blamed_while_another_works() -> None:
    case = running()
    case.idle.add("pair")
    assert case.wait(30) is None


def test_a_frozen_victim_of_nobody_is_blamed_even_while_it_waits() -> None:
    case = running()
    case.frozen.add("single")
    case.stopped.add("single")
    case.idle |= {"pair", "single"}
    trouble = case.wait(3)
    assert trouble and trouble.federate == "c" and "SIGSTOP" in trouble.cause


def test_a_broker_that_is_held_is_blamed_though_the_federates_waited_a_little_before() -> None:
    case = running()
    case.idle |= {"pair", "single"}
    assert case.wait(0.3) is None
    case.frozen.add("broker")
    case.stopped.add("broker")
    trouble = case.wait(3)
    assert trouble and trouble.federate == "broker" and "SIGSTOP" in trouble.cause


def test_a_complaint_of_the_runner_waits_for_the_cause() -> None:
    case = running()
    case.failures["pair"] = Failure("runner", None, None, "LostBroker: gone")
    assert case.wait(0.5) is None
    case.failures["single"] = Failure("federate", "c", 3 * S_NS, "ValueError (in step)")
    trouble = case.wait(0.2)
    assert trouble and (trouble.federate, trouble.t_ns) == ("c", 3 * S_NS)


def test_a_complaint_of_the_runner_alone_is_the_cause_in_the_end() -> None:
    case = running()
    case.failures["pair"] = Failure("runner", None, None, "LostBroker: gone")
    trouble = case.wait(3)
    assert trouble and trouble.rank is Rank.SYMPTOM and trouble.exit_code == 3 and "process pair: LostBroker" in trouble.cause


def test_a_complaint_of_the_runner_about_a_process_that_is_held() -> None:
    case = running()
    case.frozen.add("single")
    case.stopped.add("single")
    assert case.wait(0.3) is None
    case.failures["pair"] = Failure("runner", None, None, "LostBroker: gone")
    trouble = case.wait(3)
    assert trouble and trouble.federate == "c"


def test_a_death_is_outranked_by_a_failure_that_explains_it() -> None:
    case = running()
    case.ended["single"] = "its process was killed by SIGABRT"
    assert case.wait(0.1) is None
    case.failures["pair"] = Failure("federate", "b", S_NS, "ValueError (in step)")
    trouble = case.wait(0.1)
    assert trouble and trouble.federate == "b"


def test_a_killed_process_is_named_with_all_that_it_hosts_and_who_was_computing() -> None:
    case = running().does("pair", State.COMPUTING, B, 9 * S_NS)
    case.ended["pair"] = "its process was killed by SIGKILL"
    trouble = case.wait(1)
    assert trouble and (trouble.federate, trouble.t_ns) == ("b", 9 * S_NS)
    assert trouble.who == "process pair (federates a, b; b was computing)"
    case = running()
    case.ended["pair"] = "its process was killed by SIGKILL"
    trouble = case.wait(1)
    assert trouble and trouble.federate is None and trouble.who == "process pair (federates a, b; none was computing)"


def test_a_dead_broker_is_blamed_at_once() -> None:
    case = running()
    case.ended["broker"] = "its process was killed by SIGKILL"
    trouble = case.wait(0.5)
    assert trouble and trouble.federate == "broker" and trouble.exit_code == 3


def test_start_up_is_judged_by_its_own_limit_and_blames_who_is_not_ready() -> None:
    case = Case().does("pair", State.WAITING, A, 0, started=False).does("single", State.COMPUTING, C, 0, started=False)
    case.idle |= {"pair", "single"}
    case.frozen.add("single")  # an import may hold the interpreter for long
    assert case.wait(9) is None
    trouble = case.wait(2)
    assert trouble and trouble.federate == "c" and "start-up took longer than 10 s: it is still in its start" in trouble.cause


def test_one_still_in_its_start_below_one_that_runs_ahead_has_the_time_of_the_start() -> None:
    case = Case().does("pair", State.WAITING, A).does("single", State.COMPUTING, C, 0, started=False)
    case.idle |= {"pair", "single"}
    case.frozen.add("single")
    assert case.wait(9) is None, "the watchdog of 2 s is for steps"
    trouble = case.wait(2)
    assert trouble and trouble.federate == "c" and "start-up took longer than 10 s: it is still in its start" in trouble.cause


def test_one_that_has_started_and_waits_for_one_that_runs_ahead_is_not_slow_to_start() -> None:
    case = Case().does("pair", State.COMPUTING, A).does("single", State.WAITING, C, 0, started=False)
    case.idle.add("single")
    assert case.wait(30) is None
    case.does("pair", State.COMPUTING, A, 7 * S_NS).idle.add("pair")
    trouble = case.wait(3)
    assert trouble and (trouble.federate, trouble.t_ns) == ("a", 7 * S_NS)


def test_a_start_at_which_all_wait_is_nobodys_own_fault() -> None:
    case = Case().does("pair", State.WAITING, A, 0, started=False).does("single", State.WAITING, C, 0, started=False)
    trouble = case.wait(11)
    assert trouble and "wait for HELICS to start" in trouble.cause


def test_a_link_that_does_not_fit_is_2_at_start_and_3_later() -> None:
    misfit = Failure("federation", None, None, "link a.y -> c.x: unit W cannot feed unit V")
    case = Case()
    case.failures["single"] = misfit
    trouble = case.wait(1)
    assert trouble and (trouble.exit_code, trouble.cause) == (2, misfit.cause)
    case = running()
    case.failures["single"] = misfit
    trouble = case.wait(3)
    assert trouble and trouble.exit_code == 3


def test_finished_processes_are_not_missed() -> None:
    case = running().does("single", State.FINISHED, C)
    case.ended["single"] = "its process ended with exit code 0 in the middle of the run"
    case.idle.add("single")
    case.frozen.add("single")
    assert case.wait(5) is None
    case.idle.add("pair")
    trouble = case.wait(3)
    assert trouble and trouble.federate == "a" and "every federate waits" in trouble.cause


def test_writing_the_last_records_has_a_limit_of_its_own() -> None:
    case = running().does("pair", State.CLOSING, A)
    case.idle |= {"pair", "single"}
    assert case.wait(29) is None
    trouble = case.wait(3)
    assert trouble and trouble.federate is None and "process pair has been writing its last records" in trouble.cause


def test_a_machine_that_slept_blames_nobody() -> None:
    case = running().does("pair", State.COMPUTING, B)
    case.idle.add("pair")
    assert case.wait(3600, poll_s=3600) is None
    assert case.wait(0.5) is None
