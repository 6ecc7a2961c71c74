"""Everything MLflow: study > chain > generation runs, sweep > trial > chain, lineage and the model registry (design.md, the contract).

The only room that imports mlflow. One process a study writes; all calls name their run, none uses MLflow's
notion of an active one.
"""

import os

# Read by MLflow when it is imported or first used, hence before the imports below. No telemetry, no address printed
# for every run that ends (a study has dozens; its own is printed by the pipeline). Few retries: a server that is
# away must not hold the study for MLflow's default of minutes a call; `record` is repeated by its caller instead.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # of files that are there in a moment

from components.tracking.again import earlier
from components.tracking.connection import Reading, Tracking, TrackingUnavailable, connect, connect_to_read
from components.tracking.curves import has_point, record_curve
from components.tracking.generations import record
from components.tracking.reading import FilesUnreadable, attach, fetch, find_studies, lineage, read_back
from components.tracking.studies import Status, Study, address, close_study, end_chain, open_study
from components.tracking.trials import end_trial, ended_trials, mark_best, open_trial, record_report

__all__ = [
    "FilesUnreadable",
    "Reading",
    "Status",
    "Study",
    "Tracking",
    "TrackingUnavailable",
    "address",
    "attach",
    "close_study",
    "connect",
    "connect_to_read",
    "earlier",
    "end_chain",
    "end_trial",
    "ended_trials",
    "fetch",
    "find_studies",
    "has_point",
    "lineage",
    "mark_best",
    "open_study",
    "open_trial",
    "read_back",
    "record",
    "record_curve",
    "record_report",
]
