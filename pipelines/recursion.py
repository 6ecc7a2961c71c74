"""`mlflow run . -e recursion`: language models trained on what the last generation wrote (paper section 5.2).

    settings -> corpus -> base model (or one per seed) -> chains (conditions x seeds) -> figures 10, 11, 15, report, table

Everything that can be wrong with the input is found before the cluster starts.
"""

import sys
from collections.abc import Sequence

from components import config, tracking
from components.config.settings import RecursionSettings
from components.store import Store
from pipelines.again import command_digest, told_again
from pipelines.recursion_chains import check_settings, prepare_corpus
from pipelines.recursion_plan import make_plan, print_plan
from pipelines.study import PROJECT, ask_workers, closing, remembered, run_command, study_identity, study_name, told


def recursion(arguments: Sequence[str]) -> None:
    """Run the study that the arguments describe.

    Raises:
        BadInput: something about the settings, or what they name, cannot work; nothing was started.
        cluster.Failed: a chain did not come to its end.
    """
    settings = config.load(RecursionSettings, arguments)
    store = Store.open(settings.store.path, settings.store.cache)
    computing, capacity = ask_workers(settings, store)
    tracker = tracking.connect(settings.tracking, "recursion", PROJECT)
    models = check_settings(settings)
    plan = make_plan(settings, store, prepare_corpus(settings, store), models, computing, capacity)
    print_plan(settings, plan)
    if settings.dry_run:
        return
    store.check_room(plan.bytes)
    identity = study_identity("recursion", [work.chain.identity for work in plan.chains], settings.generations)
    name, shown = study_name(settings, identity), settings.model_dump(mode="json")
    command = command_digest(shown)
    if plan.complete and told_again(tracker, identity, command):
        return
    # Not before: a plan draws no figure and writes no page, and what does takes seconds to load.
    from pipelines.recursion_run import run_study

    with store.only_one(identity), remembered(store, settings), told(store, settings, name) as tell:
        study = tracking.open_study(
            tracker,
            name=f"{settings.preset}, {len(plan.chains)} chains to generation {settings.generations}",
            family="language",
            identity=identity,
            config=config.to_yaml(settings),
            settings=shown,
            command=command,
        )
        with closing(study):
            run_study(settings, store, plan, study, tell)


if __name__ == "__main__":
    run_command(recursion, sys.argv[1:])
