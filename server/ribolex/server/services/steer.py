"""Steering: one RNA read as it is, with features changed, and with random pushes."""

from __future__ import annotations

import time

from ribolex.errors import InvalidRequestError, SwitchedOffError
from ribolex.server.convert import codes as convert
from ribolex.server.convert.steering import decode_order, encode_steered
from ribolex.server.engine.steering import SteerTask
from ribolex.server.engine.task import cost
from ribolex.server.services.gate import Backend
from ribolex.v1 import steering_pb2


async def steer(
    backend: Backend, request: steering_pb2.SteerRequest, deadline_s: float | None
) -> steering_pb2.SteerResponse:
    """Returns what the model expects with features as they are to be.

    Raises:
        SwitchedOffError: the server was not told to do that.
        RibolexError: what else Steer fails with.
        TimeoutError: the deadline passed.
    """
    begun_s = time.monotonic()
    if not backend.is_steerable:
        raise SwitchedOffError("steering", "--steering")
    ref = request.dictionary
    dictionary = (await backend.dictionaries.fitting(ref.name, ref.version)).dictionary
    order = decode_order(request, dictionary, backend.engine.max_nucleotides)
    text, hidden = order.text, order.hidden
    tasks = [
        SteerTask(text, dictionary, (), hidden),
        SteerTask(text, dictionary, order.interventions, hidden),
    ]
    tasks += [
        SteerTask(text, dictionary, order.interventions, hidden, (order.seed, number))
        for number in range(order.n_controls)
    ]
    n_tokens = len(tasks) * cost(len(text))
    limit = min(backend.max_scan_tokens, backend.engine.max_tokens)
    if n_tokens > limit:
        raise InvalidRequestError(
            "n_controls",
            f"{order.n_controls}, {n_tokens} tokens to read in all, expected at most "
            f"{limit} (--max-scan-tokens, --max-queue-tokens)",
        )
    done = await backend.engine.compute_bulk(tasks, deadline_s)
    before, after, *controls = done.outcomes
    response = encode_steered(
        order, before.letters, after, [one.letters for one in controls], dictionary
    )
    total_s = time.monotonic() - begun_s
    timing = convert.encode_timing(done.queue_s, done.batches, total_s)
    response.timing.CopyFrom(timing)
    convert.check_size(
        response, backend.max_message_bytes, "sequence", "send a shorter one"
    )
    return response
