"""What a person reads while a study runs: how far it is and how long still."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from components.recursion.records import Chain, Generation
from components.terminal import StudyProgress, SweepProgress, console

SECONDS = {"measure": 4.0, "sample": 4.0, "fit": 4.0, "compose": 0.0}  # the order of the phases is not that of a plan


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr("components.terminal.study.time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.fixture
def progress(clock: SimpleNamespace) -> StudyProgress:
    """Two chains of two generations, 48 seconds by the plan."""
    phases = {(index, kind): seconds for index in (1, 0) for kind, seconds in SECONDS.items()}
    return StudyProgress({"a": "first seed 0", "b": "second seed 0"}, {"a": phases, "b": phases})


def generation(name: str, index: int) -> Generation:
    return Generation(
        Chain("language", name, 0, name, {}),
        index,
        {"fit": Path("fit")},
        {"seconds/fit": 3.0, "test/perplexity": 40.0},
        {},
    )


def test_nothing_is_promised_before_something_was_computed(progress, clock):
    assert progress.time_left() == "time left not known yet"
    progress.at("a", 0, "fit", 0, 10)
    clock.now += 30
    assert progress.time_left() == "time left not known yet"


def test_the_time_left_is_the_plans_stretched_as_the_work_so_far_was(progress, clock):
    progress.at("a", 0, "fit", 0, 10)
    clock.now += 1
    progress.at("a", 0, "fit", 5, 10)
    assert progress.time_left() == "about 23 s left"  # 46 of the plan's, at twice its speed
    clock.now += 5
    progress.at("a", 0, "fit", 10, 10)
    assert progress.time_left() == "about 66 s left"  # 44, six for four
    clock.now += 42
    progress.at("a", 0, "sample", 10, 10)
    assert progress.time_left() == "about 4 min left"  # 40, six for one


def test_seconds_that_a_plan_measured_count_before_the_work_says_more_and_then_less_and_less(clock):
    phases = {(index, "fit"): 100.0 for index in range(10)}
    progress = StudyProgress({"a": "first seed 0"}, {"a": phases}, planned=True)
    progress.at("a", 0, "fit", 0, 10)
    assert progress.time_left() == "about 17 min left"  # the plan's 1,000 seconds
    clock.now += 200
    progress.at("a", 0, "fit", 10, 10)
    assert (
        progress.time_left() == "about 22 min left"
    )  # 900 at (100 + 200) / (100 + 100), where the work alone says 30 min
    clock.now += 1400
    progress.at("a", 7, "fit", 10, 10)
    assert progress.time_left() == "about 6 min left"  # 200 at (100 + 1600) / (100 + 800)


def test_a_phase_that_told_of_its_beginning_alone_counts_as_work_once_the_chain_has_worked(progress, clock):
    progress.at("a", 0, "fit", 0, 10)
    clock.now += 4
    progress.at("a", 0, "sample", 0, 10)
    clock.now += 4
    progress.at("a", 0, "measure", 0, 10)
    assert progress.time_left() == "about 40 s left"  # 8 of 48 in 8 seconds


def test_a_generation_that_another_chain_computed_counts_as_done_and_not_as_work(progress, clock):
    progress.at("a", 0, "fit", 0, 10)
    clock.now += 12
    progress.finished(generation("a", 0))
    progress.finished(generation("b", 0))
    assert progress.done == {"a": 12, "b": 12}
    assert progress.time_left() == "about 24 s left"


def test_a_phase_that_is_reached_has_those_before_it_behind_it(progress):
    for index, kind, done in ((0, "compose", 0), (0, "fit", 0), (0, "sample", 4), (0, "measure", 8), (1, "sample", 16)):
        progress.at("a", index, kind, 0, 10)
        assert progress.done == {"a": done}
    progress.at("b", 1, "measure", 5, 10)
    assert progress.done == {"a": 16, "b": 22}


def test_a_generation_found_in_the_store_counts_as_done_and_not_as_work(progress, clock):
    for index in (0, 1):
        progress.finished(generation("a", index), found=True)
    progress.finished(generation("b", 0), found=True)
    assert progress.done == {"a": 24, "b": 12}
    assert progress.time_left() == "time left not known yet"
    progress.at("b", 1, "fit", 0, 10)
    clock.now += 8
    progress.at("b", 1, "fit", 10, 10)
    assert progress.time_left() == "about 16 s left"  # 8 of the plan's, at half its speed


def test_a_phase_found_in_the_store_counts_as_done_and_not_as_work(progress, clock):
    progress.at("a", 0, "sample", 0, 10)
    assert progress.done == {"a": 4}
    assert progress.time_left() == "time left not known yet"
    clock.now += 1
    progress.at("a", 0, "sample", 5, 10)
    assert progress.time_left() == "about 21 s left"  # 42 of the plan's, at twice its speed


def test_a_chain_that_is_started_again_takes_back_what_it_has_not_finished(progress, clock):
    progress.at("a", 0, "fit", 0, 10)
    clock.now += 2
    progress.at("a", 0, "fit", 5, 10)
    progress.at("a", 0, "fit", 0, 10)
    assert progress.done == {"a": 0}
    assert progress.time_left() == "about 48 s left"


def test_every_generation_gets_a_line_with_its_numbers_and_the_last_one_ends_it(progress, capsys):
    for name in ("a", "b"):
        for index in (0, 1):
            progress.finished(generation(name, index))
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(";")[0] for line in lines if "done in" in line] == [
        f"{condition} seed 0: generation {index} done in 3 s, test perplexity 40.0"
        for condition in ("first", "second")
        for index in (0, 1)
    ]
    assert progress.time_left() == "nearly done"


@pytest.fixture
def sweep(monkeypatch: pytest.MonkeyPatch, clock: SimpleNamespace) -> SweepProgress:
    """Four trials of generations 0 to 9."""
    monkeypatch.setattr("components.terminal.sweep.time", SimpleNamespace(monotonic=lambda: clock.now))
    return SweepProgress(4, 9, "test perplexity")


def report(progress: SweepProgress, trial: str, generation: int) -> None:
    progress.reached(trial, {"generation": generation, "collapse": 0.5}, 50.0)


def test_a_sweeps_time_left_goes_by_generations_computed_and_by_how_far_trials_come(sweep, clock):
    sweep.begin("trial-0", "real_fraction=0", found=0)
    assert sweep.time_left() == "time left not known yet"
    clock.now += 10
    report(sweep, "trial-0", 9)  # some families report now and then: ten generations in ten seconds
    assert sweep.time_left() == "about 30 s left"
    sweep.ended("trial-0", "completed", None)
    sweep.begin("trial-1", "real_fraction=1", found=0)
    clock.now += 2
    report(sweep, "trial-1", 1)
    sweep.ended("trial-1", "pruned", None)
    assert sweep.time_left() == "about 12 s left"  # two trials of six generations, as they come to on average


def test_trials_side_by_side_share_what_is_left_and_the_time_runs_down_between_reports(sweep, clock):
    for trial in ("trial-0", "trial-1"):
        sweep.begin(trial, "real_fraction=0", found=0)
    clock.now += 2
    report(sweep, "trial-0", 0)  # two seconds a generation, and the other trial is as far
    assert sweep.time_left() == "about 38 s left"  # 18 + 18 + 2 x 20, two at a time
    clock.now += 1
    assert sweep.time_left() == "about 37 s left"


def test_what_the_store_had_is_not_taken_for_work(sweep, clock, capsys):
    sweep.begin("trial-0", "real_fraction=0", found=5)
    assert "generations 0-4 are in the store" in capsys.readouterr().out
    report(sweep, "trial-0", 4)
    assert sweep.time_left() == "time left not known yet"
    clock.now += 5
    report(sweep, "trial-0", 9)
    sweep.ended("trial-0", "completed", None)
    assert sweep.time_left() == "about 30 s left"


def test_a_trial_that_failed_says_why(sweep, capsys):
    sweep.begin("trial-0", "epochs=50", found=0)
    sweep.ended("trial-0", "failed", "generation 0 is no better than its start")
    assert "trial-0 (epochs=50): failed: generation 0 is no better than its start" in capsys.readouterr().out


def test_what_an_error_says_in_brackets_is_text():
    said = "a worker died (No such file [/tmp/x]); [bold]continuing[/bold]"
    with console.capture() as printed:
        console.print(said)
    assert printed.get() == f"{said}\n"
