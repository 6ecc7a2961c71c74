"""The Hugging Face Hub: whether it answers, asked once and briefly.

Its libraries ask five times with growing pauses, which costs a machine without network half a minute for the data and
three quarters of one for the tokenizer before an error shows. Whoever loads something by name asks here first.
"""

import logging
from functools import cache

from huggingface_hub import constants, get_session

SECONDS = 5

logger = logging.getLogger(__name__)


@cache
def reachable() -> bool:
    """Whether the Hub (or the mirror in `HF_ENDPOINT`) answers within 5 seconds; any answer counts, also a refusal."""
    if constants.is_offline_mode():
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=SECONDS)
    except Exception as error:  # its type belongs to whichever HTTP library huggingface_hub is built on
        logger.info("%s does not answer: %s", constants.ENDPOINT, error)
        return False
    return True
