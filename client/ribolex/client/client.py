"""The synchronous client: one method for each thing that a server does.

The methods are where their service is: `encoder`, `collection`, `search`, `dictionary`.
"""

from ribolex.client.collection import CollectionCalls
from ribolex.client.connection import DEFAULT_ADDRESS
from ribolex.client.dictionary import DictionaryCalls
from ribolex.client.encoder import EncoderCalls
from ribolex.client.search import SearchCalls

__all__ = ["DEFAULT_ADDRESS", "Client"]


class Client(EncoderCalls, CollectionCalls, SearchCalls, DictionaryCalls):
    """A connection to one server, with all that can be asked over it.

    Thread-safe; connects when first used. Every method blocks, and beside the errors
    named with it may raise NotReadyError, TimedOutError, OverloadedError and
    ServerError.
    """
