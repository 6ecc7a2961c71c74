"""The search space: what may be written after `search.<field>=`, and what is refused in one line."""

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from components.config.errors import BadInput
from components.config.settings import ConditionSettings
from components.config.small_families import GaussianCondition
from components.sweep import space

PLAIN = ConditionSettings()


@pytest.mark.parametrize(
    ("text", "distribution"),
    [
        ("uniform(0,1)", FloatDistribution(0, 1)),
        (" uniform( 0.25 , 0.5 ) ", FloatDistribution(0.25, 0.5)),
        ("loguniform(1e-5,1e-2)", FloatDistribution(1e-5, 1e-2, log=True)),
        ("quniform(0,1,0.05)", FloatDistribution(0, 1, step=0.05)),
        ("randint(1,10)", IntDistribution(1, 10)),
        ("choice(replace,subsample,accumulate)", CategoricalDistribution(("replace", "subsample", "accumulate"))),
        ("choice(0, 0.1, 1)", CategoricalDistribution((0, 0.1, 1))),
        ([0, 0.1], CategoricalDistribution((0, 0.1))),
    ],
)
def test_a_range_is_written_as_ray_tune_names_it(text, distribution):
    assert space.parse({"real_fraction": text}) == {"real_fraction": distribution}


@pytest.mark.parametrize(
    ("field", "text", "says"),
    [
        ("real_fraction", "uniform(1,0)", "from 1 down to 0: the lower end comes first"),
        ("real_fraction", "uniform(0.5,0.5)", "there is nothing to search"),
        ("real_fraction", "uniform(0,1.5)", "1.5 cannot be: input should be less than or equal to 1"),
        ("real_fraction", "uniform(0)", "uniform takes two numbers: low, high"),
        ("real_fraction", "uniform(0,.inf)", "is no number"),
        ("real_fraction", "uniform(0,half)", "half is no number"),
        ("real_fraction", "quniform(0,1,0.3)", "steps of 0.3 do not lead from 0 to 1"),
        ("real_fraction", "normal(0,1)", "a range is needed: uniform"),
        ("real_fraction", "0.5", "a range is needed: uniform"),
        ("real_fraction", "choice()", "nothing to choose from"),
        ("real_fraction", "choice(0,0)", "a value is there twice"),
        ("epochs", "uniform(1,10)", "cannot be: input should be a valid integer"),
        ("epochs", "randint(0,10)", "0 cannot be: input should be greater than or equal to 1"),
        ("epochs", "randint(1,9.5)", "9.5 is no whole number"),
        ("learning_rate", "loguniform(0,1)", "a logarithm needs a lower end above 0"),
        (
            "regime",
            "choice(replace,forget)",
            "forget cannot be: input should be 'replace', 'subsample' or 'accumulate'",
        ),
        ("momentum", "uniform(0,1)", "a condition has no such field; there are regime, real_fraction, epochs"),
    ],
)
def test_what_makes_no_sense_is_refused_with_field_value_and_remedy(field, text, says):
    search = {field: text}
    with pytest.raises(BadInput) as refused:
        space.check(space.parse(search), search, PLAIN)
    assert str(refused.value).startswith(f"search.{field} = {text}: ")
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_fields_that_cannot_go_together_are_refused_before_anything_is_tried():
    search = {"real_fraction": "uniform(0,1)", "growth": "uniform(0,1)"}
    with pytest.raises(BadInput, match="belongs to growth=0"):
        space.check(space.parse(search), search, GaussianCondition())


def test_a_real_fraction_that_no_regime_keeps_is_refused():
    search = {"regime": "choice(subsample,accumulate)", "real_fraction": "uniform(0,1)"}
    with pytest.raises(BadInput, match="keeps a real fraction"):
        space.check(space.parse(search), search, PLAIN)
    with pytest.raises(BadInput, match="belongs to regime=replace"):
        space.check(
            space.parse({"real_fraction": "uniform(0,1)"}),
            search,
            ConditionSettings.model_validate({"regime": "subsample"}),
        )


def test_nothing_to_search_is_refused():
    with pytest.raises(BadInput, match="nothing is searched"):
        space.parse({})


def test_a_real_fraction_is_asked_for_where_the_regime_keeps_one():
    search = {"real_fraction": "uniform(0,1)", "epochs": "randint(1,3)", "regime": "choice(replace,accumulate)"}
    searched = space.parse(search)
    space.check(searched, search, PLAIN)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    points = [space.suggest(searched, study.ask(), {}) for _ in range(40)]
    assert {point["regime"] for point in points} == {"replace", "accumulate"}
    assert all(("real_fraction" in point) == (point["regime"] == "replace") for point in points)
    assert {point["epochs"] for point in points} == {1, 2, 3}  # both ends belong to it


def test_steps_give_the_numbers_that_a_person_would_write():
    searched = space.parse({"real_fraction": "quniform(0,1,0.05)"})
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = {space.suggest(searched, study.ask(), {})["real_fraction"] for _ in range(200)}
    assert drawn == {round(0.05 * step, 2) for step in range(21)}


def test_a_grid_has_every_different_point_once():
    search = {"real_fraction": "quniform(0,1,0.5)", "regime": "choice(replace,accumulate)", "epochs": "choice(1,2)"}
    points = space.grid(space.parse(search), search, {})
    assert len(points) == 3 * 2 + 2  # accumulate has no real fraction
    assert len({tuple(sorted(point.items())) for point in points}) == len(points)


def test_a_grid_of_endless_values_is_refused():
    search = {"real_fraction": "uniform(0,1)"}
    with pytest.raises(BadInput, match="a grid takes choice"):
        space.grid(space.parse(search), search, {})


def test_the_papers_two_settings_come_first():
    search = {"real_fraction": "uniform(0,1)", "regime": "choice(accumulate,replace)"}
    first = space.anchors(space.parse(search))
    assert first == [{"regime": "replace", "real_fraction": 0}, {"regime": "replace", "real_fraction": 0.1}]
    assert space.anchors(space.parse({"real_fraction": "quniform(0,1,0.25)"}))[1] == {"real_fraction": 0.25}
    assert space.anchors(space.parse({"real_fraction": "choice(0,1)"})) == []
    assert space.anchors(space.parse({"epochs": "randint(1,2)"})) == []


def test_points_drawn_for_a_plan_are_of_the_space_and_the_same_at_every_call():
    parsed = space.parse(
        {"regime": "choice(replace,accumulate)", "real_fraction": "uniform(0.2,0.4)", "epochs": "randint(2,5)"}
    )
    points = space.draw(parsed, {}, 200)
    assert points == space.draw(parsed, {}, 200)
    assert {point["regime"] for point in points} == {"replace", "accumulate"}
    assert all(("real_fraction" in point) == (point["regime"] == "replace") for point in points)
    assert {point["epochs"] for point in points} == {2, 3, 4, 5}
    assert all(0.2 <= point["real_fraction"] <= 0.4 for point in points if "real_fraction" in point)


def test_the_search_of_regimes_decides_whatever_the_condition_says():
    searched = {"regime": "choice(replace,subsample)", "real_fraction": "uniform(0,1)"}
    space.check(space.parse(searched), searched, ConditionSettings(regime="accumulate"))
