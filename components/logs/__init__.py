"""What the project's processes say while they work: readable lines at a terminal, a JSON object a line on a cluster.

Every line says where its process is: study, chain, condition, seed, generation, phase, rank. A worker writes to its own
stderr, which Ray keeps on its machine; what it warns of goes to the study's process as well, where a person sees it. What
libraries say that is not meant for that person is named, with a reason, in `noise`.
"""

from components.logs.lines import WORKER_MESSAGE, at, begin, begin_worker, fields, relay, structured, take_over

__all__ = ["WORKER_MESSAGE", "at", "begin", "begin_worker", "fields", "relay", "structured", "take_over"]
