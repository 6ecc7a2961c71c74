"""Which precision a study computes in: by its workers' machines, kept with the study, refused where they are unlike."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from components import config
from components.config.errors import BadInput
from components.config.settings import RecursionSettings
from components.environment import Machine
from components.families.precision import Computing, agreed, check_worker, settle, unlike
from components.families.vae.training import Recipe as VaeRecipe
from components.recursion.family import GuardFailure, Pool, Step
from components.regimes import Regime
from components.store import Store
from tests.families import RECIPE, autoencoder, language
from tests.studies import Place

EPYC = Machine("AMD EPYC (avx2)", "emulated_avx2")
ZEN4 = Machine("AMD EPYC (avx2, avx512_f, avx512_bf16)", "avx512_bf16")
XEON = Machine("Intel Xeon (avx2, avx512_f, avx512_bf16, amx_bf16)", "amx_bf16")
H100 = Machine("NVIDIA H100 (compute capability 9.0)", "cuda")
T4 = Machine("Tesla T4 (compute capability 7.5)", "emulated_cuda")
AUTO, FP32, BF16 = ({"train.precision": value, "generate.precision": "fp32"} for value in ("auto", "fp32", "bf16"))


@pytest.mark.parametrize(
    ("wanted", "machines", "answer"),
    [
        (AUTO, [EPYC], Computing("fp32", "emulated_avx2")),
        (AUTO, [XEON, XEON], Computing("bf16", "amx_bf16")),
        (AUTO, [H100], Computing("bf16", "cuda")),
        (AUTO, [T4, EPYC], Computing("fp32", "emulated_cuda")),  # fp32 all of them
        (BF16, [EPYC], Computing("fp32", "emulated_avx2")),
        (FP32, [EPYC, XEON, H100], Computing("fp32", "")),
    ],
)
def test_machines_that_agree_give_the_answer(
    wanted: dict[str, str], machines: list[Machine], answer: Computing
) -> None:
    assert settle(wanted, {f"node{place}": one for place, one in enumerate(machines)}) == answer


@pytest.mark.parametrize(
    ("wanted", "machines"),
    [(AUTO, [EPYC, XEON]), (AUTO, [H100, T4]), (AUTO, [XEON, ZEN4]), (BF16, [EPYC, XEON]), (BF16, [XEON, ZEN4])],
)
def test_unlike_machines_are_refused_in_one_line_that_names_two_of_them(
    wanted: dict[str, str], machines: list[Machine]
) -> None:
    first, second = machines
    with pytest.raises(BadInput) as refused:
        settle(wanted, {"a (10.0.0.1)": first, "b (10.0.0.2)": first, "c (10.0.0.3)": second})
    line = str(refused.value)
    assert line.startswith(f"train.precision = {wanted['train.precision']}: ")
    assert (
        f"{first.bf16} on {first.processor} (a (10.0.0.1)) and {second.bf16} on {second.processor} (c (10.0.0.3))"
        in line
    )
    assert "train.precision=fp32, or machines of one kind" in line
    assert "\n" not in line


def test_a_cluster_that_has_no_machine_yet_can_only_be_asked_for_fp32_or_continue() -> None:
    with pytest.raises(BadInput, match="give fp32, or start one"):
        settle(AUTO, {})
    assert settle(FP32, {}).precision("fp32") == "fp32"
    assert settle(AUTO, {}, Computing("bf16", "cuda")) == Computing("bf16", "cuda")


def test_a_study_begun_in_bf16_is_continued_by_the_same_arithmetic_and_refused_by_another() -> None:
    begun = Computing("bf16", "amx_bf16")
    assert settle(AUTO, {"other (10.0.0.9)": XEON}, begun) == begun
    for other in (EPYC, ZEN4, H100):
        with pytest.raises(BadInput) as refused:
            settle(AUTO, {"this machine": other}, begun)
        line = str(refused.value)
        assert "this study was begun in bf16 by amx_bf16" in line
        assert f"this machine multiplies by {other.bf16} on {other.processor}" in line
        assert "continue it on machines with amx_bf16, or give train.precision=fp32" in line


def test_a_study_begun_in_fp32_is_continued_in_fp32_by_any_machine() -> None:
    begun = Computing("fp32", "emulated_avx2")
    assert settle(AUTO, {"this machine": XEON}, begun).precision("auto") == "fp32"
    assert settle(AUTO, {"a": XEON, "b": EPYC}, begun) == begun


def test_the_answer_is_kept_with_the_study_whatever_seeds_generations_store_and_cluster(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))

    def ask(machine: Machine, *arguments: str, keep: bool = True) -> Computing:
        settings = config.load(RecursionSettings, ["--preset", "smoke", *arguments]).model_dump(mode="json")
        return agreed(store, settings, AUTO, {"this machine": machine}, keep)

    assert ask(XEON, keep=False) == Computing("bf16", "amx_bf16")  # a plan alone leaves nothing
    assert ask(EPYC) == Computing("fp32", "emulated_avx2")
    same = ("--seeds", "5", "--generations", "7", "--store.path", "elsewhere", "--cluster.concurrent_chains", "2")
    assert ask(XEON, *same, "--tracking.models", "none") == Computing("fp32", "emulated_avx2")
    assert ask(XEON, "--train.learning_rate", "0.5") == Computing("bf16", "amx_bf16")  # another study


def test_a_mixed_cluster_in_fp32_is_said_in_one_line_and_one_kind_is_not() -> None:
    line = unlike({"a": EPYC, "b": XEON, "c": EPYC})
    assert EPYC.processor in line
    assert XEON.processor in line
    assert "conditions may run on different ones" in line
    assert "\n" not in line
    assert unlike({"a": EPYC, "b": EPYC}) == ""


def test_a_worker_that_joined_later_and_multiplies_otherwise_refuses() -> None:
    check_worker("fp32", "amx_bf16", EPYC)
    check_worker("bf16", "amx_bf16", XEON)
    with pytest.raises(GuardFailure, match=r"emulated_avx2 on AMD EPYC .* its study by amx_bf16"):
        check_worker("bf16", "amx_bf16", EPYC)


def test_the_arithmetic_is_a_part_of_what_was_computed_in_bf16_and_of_nothing_else(tmp_path: Path) -> None:
    plain = language(tmp_path)
    fitted = replace(plain, recipe=replace(RECIPE, precision="bf16"))
    written = replace(plain, decoding=replace(plain.decoding, precision="bf16"))
    for family, phases in ((plain, set()), (fitted, {"fit"}), (written, {"sample"})):
        amx, none = (replace(family, arithmetic=one).settings for one in ("amx_bf16", "emulated_avx2"))
        assert {kind for kind in amx if amx[kind] != none[kind]} == phases
        assert {kind for kind in amx if "arithmetic" in amx[kind]} == phases
    pictures = autoencoder(tmp_path)
    for precision, phases in (("fp32", set()), ("bf16", {"fit"})):
        family = replace(pictures, recipe=VaeRecipe(precision=precision))  # type: ignore[arg-type]
        amx, none = (replace(family, arithmetic=one).settings for one in ("amx_bf16", "emulated_avx2"))
        assert {kind for kind in amx if amx[kind] != none[kind]} == phases


def test_a_fit_in_bf16_on_another_arithmetic_ends_before_it_begins(tmp_path: Path) -> None:
    family = replace(language(tmp_path), recipe=replace(RECIPE, precision="bf16"), arithmetic="another")
    step = Step(0, np.random.SeedSequence(0))
    composed = tmp_path / "composed"
    composed.mkdir()
    family.compose(Regime("replace"), Pool(), composed, step)
    with pytest.raises(GuardFailure, match="its study by another"):
        family.fit(composed, Pool(), None, tmp_path / "fit", step)
    assert not (tmp_path / "fit").exists()


def test_a_command_on_a_machine_that_multiplies_otherwise_than_its_study_ends_in_one_line(
    prepared: Place, tmp_path: Path
) -> None:
    place = prepared.copy_to(tmp_path)
    settings = config.load(RecursionSettings, place.arguments("--train.precision", "auto"))
    wanted = {"train.precision": "auto"}
    elsewhere = {"this machine": Machine("a processor that is not here", "arithmetic_that_is_not_here")}
    agreed(Store.open(str(place.store)), settings.model_dump(mode="json"), wanted, elsewhere, keep=True)
    ended = place.run("--train.precision", "auto", "--generations", "0")
    assert ended.returncode == 2
    (line,) = ended.stderr.strip().splitlines()
    assert line.startswith("train.precision = auto: this study was begun in bf16 by arithmetic_that_is_not_here")
    assert not list(place.store.glob("fit/*"))
