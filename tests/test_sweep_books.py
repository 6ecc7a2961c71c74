"""A sweep's books: real Optuna studies in a real database, opened again as after a kill."""

from pathlib import Path

import numpy as np
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from components.config.errors import BadInput
from components.sweep import books, space
from components.sweep.objectives import diverged

SEARCH = {"real_fraction": "uniform(0,1)", "epochs": "randint(1,10)"}
SPACE = space.parse(SEARCH)
ONE, TWO = ("collapse",), ("collapse", "cost")


def open_(folder: Path, sampler: str = "tpe", objectives: tuple[str, ...] = TWO, first: tuple = ()) -> books.Books:
    return books.open_books(folder, sampler, 0, objectives, first)


def ask(book: books.Books, most: int = 100) -> tuple[int, space.Point] | None:
    return book.next(most, lambda trial: space.suggest(SPACE, trial, {}))


def numbers(point: space.Point, generation: int) -> dict[str, float]:
    collapse = generation * (1 - point["real_fraction"])
    return report(collapse, 100 * point["real_fraction"] * generation, generation)


def report(collapse: float, cost: float, generation: int = 3, test_collapse: float | None = None) -> dict[str, float]:
    """A trial's numbers: `collapse` on the validation split, and on the test split unless another one is given."""
    reported = collapse if test_collapse is None else test_collapse
    return {
        "generation": generation,
        "collapse": reported,
        "cost": cost,
        "validation_collapse": collapse,
        "error/0": np.exp(reported),
        "validation/0": np.exp(collapse),
    }


def run(book: books.Books, trials: int, generations: int = 3, stop_at: int | None = None) -> list[space.Point]:
    points = []
    while asked := ask(book, trials):
        number, point = asked
        points.append(point)
        pruned = stop_at is not None and number % 2 == 1
        for generation in range((stop_at if pruned else generations) + 1):
            book.report(number, numbers(point, generation))
        book.prune(number) if pruned else book.complete(number)
    return points


@pytest.mark.parametrize("objectives", [ONE, TWO])
@pytest.mark.parametrize("sampler", ["tpe", "random", "gp"])
def test_a_sweep_that_was_stopped_asks_what_one_that_was_not_asks(tmp_path, sampler, objectives):
    """Past the trials drawn at random, so the sampler's own part is held too."""
    count = books.STARTING + 3
    whole = run(open_(tmp_path / "whole", sampler, objectives), count, stop_at=1)
    stopped = []
    for most in range(1, count + 1):  # opened anew for every trial
        stopped += run(open_(tmp_path / "stopped", sampler, objectives), most, stop_at=1)
    assert stopped == whole
    assert len({point["real_fraction"] for point in whole}) == count  # and no trial comes twice


def test_a_trial_that_ran_when_all_was_killed_is_asked_for_first_with_its_point(tmp_path):
    book = open_(tmp_path)
    first, second = ask(book), ask(book)
    book.report(second[0], numbers(second[1], 0))
    again = open_(tmp_path)
    assert [ask(again, 2), ask(again, 2)] == [first, second]
    assert ask(again, 2) is None
    assert list(again.reports(second[0])) == [0]


def test_more_trials_later_are_only_those_that_are_new(tmp_path):
    run(open_(tmp_path), 5)
    book = open_(tmp_path)
    assert run(book, 5) == []
    assert len(run(book, 8)) == 3
    assert [one.number for one in book.frozen()] == list(range(8))


def test_a_pruned_trial_is_not_taken_for_one_whose_collapse_is_small(tmp_path):
    """Its last report, from an early generation, would beat every trial that came to the end."""
    book = open_(tmp_path, objectives=ONE)
    run(book, 6, stop_at=1)
    states = [book.state(one.number) for one in book.frozen()]
    assert states == ["completed", "pruned"] * 3
    assert book.best(0.1) % 2 == 0
    assert book.best(0.1) == book.study.best_trial.number
    assert book.at(1, but=0) == [[book.reports(number)[1]["collapse"]] for number in range(1, 6)]


def test_a_report_that_comes_again_stands_once(tmp_path):
    book = open_(tmp_path, objectives=ONE)
    number, point = ask(book)
    for _ in range(2):
        book.report(number, numbers(point, 0))
    assert list(book.reports(number)) == [0]
    assert book.frozen()[number].intermediate_values == {0: 0.0}


def test_a_trial_that_passed_a_rung_has_passed_it_also_after_a_kill(tmp_path):
    book = open_(tmp_path)
    number, _ = ask(book)
    book.let_pass(number, 1)
    again = open_(tmp_path)
    assert again.passed(number, 1)
    assert not again.passed(number, 2)


def test_of_several_objectives_the_best_is_the_cheapest_trial_that_loses_little(tmp_path):
    book = open_(tmp_path)
    values = {0: (2.0, 0.0), 1: (0.09, 500.0), 2: (0.05, 800.0), 3: (0.3, 900.0)}
    for number, (collapse, cost) in values.items():
        ask(book)
        book.report(number, report(collapse, cost))
        book.complete(number)
    assert sorted(book.front()) == [0, 1, 2]
    assert book.best(threshold=0.1) == 1
    assert book.best(threshold=0.01) == 2  # none loses so little: the one that loses least


def test_points_to_be_tried_first_are_tried_once(tmp_path):
    first = ({"real_fraction": 0.0}, {"real_fraction": 0.1})
    book = open_(tmp_path, first=first)
    assert [ask(book)[1]["real_fraction"] for _ in range(2)] == [0.0, 0.1]
    again = open_(tmp_path, first=first)
    asked = [ask(again)[1]["real_fraction"] for _ in range(4)]  # the two that were running, then new ones
    assert asked[:2] == [0.0, 0.1]
    assert not set(asked[2:]) & {0.0, 0.1}


def test_another_search_space_is_refused_and_what_differs_is_said(tmp_path):
    folder = tmp_path / "mine"
    settings = {"search": SEARCH, "generations": 3, "condition": {}}
    assert books.begun(folder, settings) == []
    books.keep_settings(folder, settings)
    book = open_(folder)
    run(book, 2)
    ask(book)
    assert books.begun(folder, settings) == ["completed", "completed", "running"]
    other = settings | {"search": SEARCH | {"epochs": "randint(1,5)"}}
    with pytest.raises(BadInput) as refused:
        books.begun(folder, other)
    assert str(refused.value) == (
        "search.epochs = randint(1,5): the sweep mine in this store was begun with randint(1,10); give that, or another "
        "name"
    )


def test_a_folder_that_holds_other_objectives_is_refused_too(tmp_path):
    books.keep_settings(tmp_path, {"objectives": ["collapse", "cost"]})
    with pytest.raises(BadInput, match=r"objectives = \['collapse'\]"):
        books.begun(tmp_path, {"objectives": ["collapse"]})


def test_a_kill_between_the_database_and_the_study_in_it_loses_nothing(tmp_path):
    folder = tmp_path / "mine"
    books.keep_settings(folder, {"generations": 3})
    RDBStorage(f"sqlite:///{folder / books.DATABASE}")
    assert books.begun(folder, {"generations": 3}) == []
    assert len(run(open_(folder), 2)) == 2


def test_the_same_range_with_other_spaces_is_the_same_range(tmp_path):
    books.keep_settings(tmp_path, {"search": {"epochs": "randint(1, 10)"}})
    assert books.begun(tmp_path, {"search": {"epochs": "randint(1,10)"}}) == []


def test_points_stand_in_line_once_however_often_the_books_are_opened(tmp_path):
    first = tuple({"real_fraction": place / 10, "epochs": 1} for place in range(4))
    for _ in range(2):
        open_(tmp_path, "grid", first=first[:2])
    book = open_(tmp_path, "grid", first=first)
    asked = [ask(book)[1]["real_fraction"] for _ in range(4)]
    assert asked == [0.0, 0.1, 0.2, 0.3]
    assert not [one for one in open_(tmp_path, "grid", first=first).frozen() if one.state == TrialState.WAITING]


@pytest.mark.parametrize("objectives", [("collapse", "cost"), ("cost", "collapse")])
def test_the_best_of_two_objectives_is_the_cheapest_under_the_threshold_in_whatever_order(tmp_path, objectives):
    book = open_(tmp_path, objectives=objectives)
    for collapse, cost in ((0.9, 0), (0.09, 50), (0.01, 90)):
        number, _ = ask(book)
        book.report(number, report(collapse, cost))
        book.complete(number)
    assert book.best(0.1) == 1
    assert [book.best(0.1, last) for last in range(3)] == [0, 1, 1]
    assert book.best(0.001) == 2  # none loses so little: the one that loses least, whatever comes first


@pytest.mark.parametrize("objectives", [ONE, TWO])
def test_optuna_and_pruning_are_told_the_validation_split_and_the_reports_keep_both(tmp_path, objectives):
    """Trial 0 is the worst on the validation split and the best on the test split; trial 2 the other way round."""
    book = open_(tmp_path, objectives=objectives)
    for validation, test in ((0.3, 0.01), (0.2, 0.02), (0.01, 0.3)):
        number, _ = ask(book)
        for generation in (1, 3):
            book.report(number, report(validation, 50.0, generation, test))
        book.complete(number)
    assert [trial.values[0] for trial in book.frozen()] == [0.3, 0.2, 0.01]
    assert [values[0] for values in book.at(1, but=-1)] == [0.3, 0.2, 0.01]
    if objectives == ONE:
        assert [trial.intermediate_values for trial in book.frozen()] == [{1: v, 3: v} for v in (0.3, 0.2, 0.01)]
    assert book.best(0.1) == 2
    assert book.front() == [2]
    assert [book.reports(number)[3]["collapse"] for number in range(3)] == [0.01, 0.02, 0.3]


@pytest.mark.parametrize("objectives", [ONE, TWO])
@pytest.mark.parametrize("sampler", ["tpe", "random", "gp"])
def test_a_trial_that_diverged_is_an_answer_that_samplers_learn_from_and_never_the_best(tmp_path, sampler, objectives):
    book = open_(tmp_path, sampler, objectives)
    for number in range(books.STARTING + 4):
        asked, point = ask(book)
        broken = number in (0, 3)
        book.report(asked, diverged([0], 3, "the loss is nan") if broken else numbers(point, 3))
        book.complete(asked)
        assert book.state(asked) == "completed"
    assert not {0, 3} & {book.best(0.1), *book.front()}
    assert book.reports(3)[3]["diverged"] == "the loss is nan"
    again = open_(tmp_path, sampler, objectives)
    assert np.isinf(again.reports(3)[3]["collapse"])
    assert [one.values for one in again.frozen()][3] == [np.inf] * len(objectives)


def test_where_every_trial_diverged_none_is_the_best(tmp_path):
    book = open_(tmp_path)
    number, _ = ask(book)
    book.report(number, diverged([0], 3, "the loss is nan"))
    book.complete(number)
    assert book.best(0.1) is None
    assert book.front() == []


def test_books_that_were_chosen_on_the_test_split_are_refused_in_one_line(tmp_path):
    """Their values are test risks: beside those of new trials they would be compared with validation risks."""
    folder, settings = tmp_path / "mine", {"generations": 3}
    books.keep_settings(folder, settings)
    book = open_(folder)
    number, point = ask(book)
    assert books.begun(folder, settings) == ["running"]  # nothing was reported: nothing can be mixed
    old = {name: value for name, value in numbers(point, 0).items() if not name.startswith("validation")}
    book.trial(number).set_user_attr("generation 0", old)
    with pytest.raises(BadInput) as refused:
        books.begun(folder, settings)
    assert str(refused.value) == (
        "name = mine: this sweep was begun by a version that chose its trials on the test split; give another name: what "
        "its chains computed is found in the store"
    )


def test_books_keep_an_identity_of_their_own(tmp_path):
    assert open_(tmp_path / "a").identity == open_(tmp_path / "a").identity != open_(tmp_path / "b").identity
