"""Runs multimolecule's RiNALMo as its users do, told what to do over standard input.

Started by bench/lm_throughput.py in an environment of its own; it knows nothing of
Ribolex. One JSON object a line comes in, one goes out:

    {"make": FOLDER, "hidden_size": ..., "num_hidden_layers": ...}   random weights
    {"load": FOLDER, "attention": "eager" | "sdpa", "dtype": "float32", "device": "cpu"}
    {"batches": FILE, "size": 32}                                    prepare, untimed
    {"run": true}                                                    time a pass
    {"states": FILE}                                                 write the outputs
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from multimolecule import (
    RiNALMoConfig,
    RiNALMoForMaskedLM,
    RiNALMoModel,
    RnaTokenizer,
)


class Peer:
    """The model that is loaded, and the padded batches it runs on."""

    def make(self, folder: str, **sizes: int) -> dict[str, Any]:
        """Writes a network of random weights."""
        torch.manual_seed(0)
        RiNALMoForMaskedLM(RiNALMoConfig(**sizes)).save_pretrained(folder)
        return {}

    def load(
        self, folder: str, attention: str, dtype: str, device: str
    ) -> dict[str, Any]:
        """Opens the network of a folder for inference."""
        self._device = torch.device(device)
        self._model = RiNALMoModel.from_pretrained(
            folder,
            attn_implementation=attention,
            dtype=getattr(torch, dtype),
            add_pooling_layer=False,
        )
        self._model.eval().to(self._device)
        return {}

    def batches(self, file: str, size: int) -> dict[str, Any]:
        """Tokenises and pads, in the order of the file."""
        tokenizer = RnaTokenizer()
        sequences = Path(file).read_text().split()
        self._batches = [
            tokenizer(sequences[i : i + size], padding=True, return_tensors="pt")
            for i in range(0, len(sequences), size)
        ]
        n_padded = sum(batch["input_ids"].numel() for batch in self._batches)
        return {"n_padded": n_padded}

    def run(self, _: bool) -> dict[str, float]:
        """Times one pass over the batches."""
        begun = time.perf_counter(), time.process_time()
        with torch.inference_mode():
            for batch in self._batches:
                self._states(batch)
        if self._device.type == "cuda":
            torch.cuda.synchronize()
        wall, cpu = time.perf_counter() - begun[0], time.process_time() - begun[1]
        return {"wall_s": wall, "cpu_s": cpu}

    def states(self, file: str) -> dict[str, Any]:
        """Writes the last layer's output of every nucleotide, RNA by RNA."""
        rows = []
        with torch.inference_mode():
            for batch in self._batches:
                states = self._states(batch).float().cpu()
                lengths = batch["attention_mask"].sum(1).tolist()
                rows += [x[1 : n - 1] for x, n in zip(states, lengths, strict=True)]
        np.save(file, torch.cat(rows).numpy())
        return {}

    def _states(self, batch: Any) -> torch.Tensor:
        out = self._model(
            input_ids=batch["input_ids"].to(self._device),
            attention_mask=batch["attention_mask"].to(self._device),
            use_cache=False,
        )
        states: torch.Tensor = out.last_hidden_state
        return states


def main() -> None:
    """Answers until standard input ends."""
    torch.set_num_threads(1)
    peer = Peer()
    for line in sys.stdin:
        order = json.loads(line)
        (name, first), *rest = order.items()
        answer = getattr(peer, name)(first, **dict(rest))
        print("answer", json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
