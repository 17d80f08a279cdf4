"""A plain server of the same model and dictionary, as one would write it first.

Sequences of all callers wait in one line, first come first served; whenever the model
is free, up to 32 of them are padded to the longest and computed, in one thread. No
token budget, no packing, no lanes, no bound on the line, no cancelling. PyTorch's own
attention with a mask, as far as the dictionary's layer; the contract is Ribolex' own
EncoderService, so one client measures both. Answers are the same to rounding, which
bench/serving_load.py checks.

    python bench/peers/padded_server.py --address-file FILE
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import torch

import ribolex_bundle
from ribolex.dictionary import Codes, Dictionary, pool, squares
from ribolex.lm import load_lm, load_network
from ribolex.registry import open_registry
from ribolex.rna import tokenise
from ribolex.rna.alphabet import PAD
from ribolex.server.convert.encoder import decode_options, encode_answer
from ribolex.server.dictionaries import choose_default
from ribolex.server.engine.encoding import Encoding
from ribolex.server.engine.front import Answer
from ribolex.server.services.streaming import in_order, until_drained
from ribolex.server.settings import BUNDLED
from ribolex.v1 import encoder_pb2, encoder_pb2_grpc

BATCH = 32
_IN_FLIGHT = 8


class Model:
    """The language model and the dictionary. For one thread."""

    def __init__(self) -> None:
        registry, lm = open_registry(BUNDLED), load_lm(BUNDLED)
        self.dictionary: Dictionary = registry.get(choose_default(registry, lm))
        self._network = load_network(ribolex_bundle.model_path()).eval()

    @torch.inference_mode()
    def encode(self, sequences: Sequence[str]) -> list[Encoding]:
        """Gives the encodings of one padded batch."""
        rows = [torch.from_numpy(tokenise(one)).long() for one in sequences]
        tokens = torch.nn.utils.rnn.pad_sequence(
            rows, batch_first=True, padding_value=PAD
        )
        is_token = torch.arange(tokens.shape[1]) < torch.tensor(
            [[len(r)] for r in rows]
        )
        states = self._states(tokens, is_token)
        lengths = [len(one) for one in sequences]
        x = torch.cat([states[i, 1 : n + 1] for i, n in enumerate(lengths)])
        sae = self.dictionary.sae
        top = sae.encode(x)
        rebuilt = sae.decode(top.indices, top.values)
        errors, spreads = squares(x, rebuilt, self.dictionary.mean, lengths).tolist()
        codes = Codes.from_topk(top.indices.numpy(), top.values.numpy(), sae.n_features)
        out, start = [], 0
        for n, error, spread in zip(lengths, errors, spreads, strict=True):
            own = codes.slice(start, start + n)
            out.append(Encoding(own, pool(own, "max"), error / max(spread, 1e-12)))
            start += n
        return out

    def _states(self, tokens: torch.Tensor, is_token: torch.Tensor) -> torch.Tensor:
        layer, hook = self.dictionary.identity.layer, self.dictionary.identity.hook
        for number, raw in enumerate(self._network.raw_outputs(tokens, is_token), 1):
            if number == layer:
                return raw if hook == "raw" else self._network.normed(layer, raw)
        raise AssertionError("the dictionary fits the model")


class Service(encoder_pb2_grpc.EncoderServiceServicer):
    """Encode and EncodeStream, sequence codes only."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._line: asyncio.Queue[tuple[str, asyncio.Future[Encoding]]]
        self._line = asyncio.Queue()

    async def work(self) -> None:
        """Computes batch after batch, for ever."""
        while True:
            batch = [await self._line.get()]
            while len(batch) < BATCH and not self._line.empty():
                batch.append(self._line.get_nowait())
            sequences = [sequence for sequence, _ in batch]
            done = await asyncio.to_thread(self._model.encode, sequences)
            for (_, future), encoding in zip(batch, done, strict=True):
                if not future.done():
                    future.set_result(encoding)

    async def Encode(  # noqa: N802
        self,
        request: encoder_pb2.EncodeRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> encoder_pb2.EncodeResponse:
        """Encodes one batch of sequences."""
        return await self._encode(request)

    async def EncodeStream(  # noqa: N802
        self,
        request_iterator: AsyncIterator[encoder_pb2.EncodeStreamRequest],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> AsyncIterator[encoder_pb2.EncodeStreamResponse]:
        """Encodes a stream of batches, answers in order."""
        requests = until_drained(request_iterator, asyncio.Event())
        answers = in_order(
            requests, lambda one: self._encode(one.request), in_flight=_IN_FLIGHT
        )
        async for request, response in answers:
            yield encoder_pb2.EncodeStreamResponse(
                request_id=request.request_id, response=response
            )

    async def Embed(  # noqa: N802
        self,
        request: encoder_pb2.EmbedRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> AsyncIterator[encoder_pb2.EmbedResponse]:
        """Is not there."""
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "codes only")
        yield encoder_pb2.EmbedResponse()

    async def _encode(
        self, request: encoder_pb2.EncodeRequest
    ) -> encoder_pb2.EncodeResponse:
        begun_s = time.monotonic()
        loop, sequences = asyncio.get_running_loop(), list(request.sequences)
        futures = [loop.create_future() for _ in sequences]
        for pair in zip(sequences, futures, strict=True):
            self._line.put_nowait(pair)
        outcomes = list(await asyncio.gather(*futures))
        answer = Answer(outcomes, sequences, 0.0, {})
        return encode_answer(
            answer,
            decode_options(request.options),
            self._model.dictionary,
            time.monotonic() - begun_s,
        )


async def main() -> None:
    """Serves until it is told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address-file", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    service = Service(Model())
    server = grpc.aio.server()
    encoder_pb2_grpc.add_EncoderServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    temporary = options.address_file.with_suffix(".new")
    temporary.write_text(f"127.0.0.1:{port}\n")
    temporary.rename(options.address_file)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    work = asyncio.create_task(service.work())
    await asyncio.wait(
        (work, asyncio.create_task(stop.wait())), return_when=asyncio.FIRST_COMPLETED
    )
    if work.done():
        work.result()


if __name__ == "__main__":
    asyncio.run(main())
