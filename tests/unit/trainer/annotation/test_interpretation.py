"""A language model is asked over HTTP, and scored on what it was not shown."""

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import numpy as np
import pytest
from tests.unit.trainer.annotation.test_annotate import draw, plant, silent

from ribolex.errors import InvalidRequestError, NotReadyError
from ribolex.trainer.annotation import Controls, annotate
from ribolex.trainer.annotation.endpoint import Endpoint
from ribolex.trainer.annotation.interpretation import read_values


class Fake:
    """Answers as such endpoints do, with what `reply` makes of a question."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.failures: list[tuple[int, str]] = []
        self.raw: bytes | None = None
        self.url = ""

    def reply(self, question: str) -> str:
        """Names tRNA as soon as active ones are tRNAs; predicts by what it is told."""
        if question.startswith("A feature of a neural network fires in some"):
            active = [
                line
                for line in question.splitlines()
                if line.startswith("activation")
                and not line.startswith("activation 0.00")
            ]
            is_trna = all("Gene;tRNA" in line for line in active)
            return "It fires in\n tRNAs." if is_trna else "It fires on G."
        lines = re.findall(r"^\d+\. (.*)$", question, re.MULTILINE)
        is_about_trna = "tRNAs" in question
        guesses = [
            float("Gene;tRNA" in line) if is_about_trna else line.count("G") / 30
            for line in lines
        ]
        return f"Here you are: {json.dumps(guesses)}"


@pytest.fixture
def fake() -> Iterator[Fake]:
    state = Fake()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.keys.append(self.headers.get("Authorization"))
            if state.failures:
                status, wait = state.failures.pop(0)
                self.send_response(status)
                self.send_header("Retry-After", wait)
                self.end_headers()
                return
            state.asked.append({"path": self.path, **body})
            content = state.reply(body["messages"][0]["content"])
            answer = {"choices": [{"message": {"content": content}}]}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(state.raw or json.dumps(answer).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}/v1"
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


def test_labels_are_scored_on_held_out_rnas_beside_another_features(fake: Fake) -> None:
    rnas = draw(600)
    sae, activations = plant(rnas)
    endpoint = Endpoint(fake.url, "a-model", "secret")
    table = annotate(sae, activations, rnas, silent, Controls(llm=endpoint, n_asked=99))
    profiles = table.profiles
    assert profiles is not None
    assert profiles.suggestion[2] == "It fires in tRNAs."
    assert profiles.suggestion_score[2] > 0.7
    assert profiles.suggestion_control[2] < profiles.suggestion_score[2] - 0.2
    assert profiles.suggestion[5] == ""  # fires nowhere
    assert np.isnan(profiles.suggestion_score[5])
    asked = [each["messages"][0]["content"] for each in fake.asked]
    n_asked = sum(map(bool, profiles.suggestion))
    assert (
        len(asked)
        == 3 * n_asked
        == 3 * table.basis["features a language model was asked about"]
    )
    assert {each["path"] for each in fake.asked} == {"/v1/chat/completions"}
    assert {(each["model"], each["temperature"]) for each in fake.asked} == {
        ("a-model", 0)
    }
    assert set(fake.keys) == {"Bearer secret"}
    # Held out means held out: no RNA's activation is in a question for predictions.
    predictions = [each for each in asked if "How strongly" in each]
    assert len(predictions) == 2 * n_asked
    assert not any("activation 0." in each for each in predictions)


def test_passing_failures_are_tried_again(fake: Fake) -> None:
    fake.failures = [(503, "0"), (429, "0")]
    endpoint = Endpoint(fake.url, "m", wait_s=0.001)
    assert endpoint.ask("How strongly\n1. GG").startswith("Here you are")
    assert fake.keys == [None] * 3


def test_refusals_are_told_at_once_and_without_the_key(fake: Fake) -> None:
    fake.failures = [(401, "0")] * 9
    with pytest.raises(NotReadyError, match="401") as caught:
        Endpoint(fake.url, "m", "secret").ask("?")
    assert len(fake.keys) == 1
    assert "secret" not in str(caught.value) + repr(Endpoint(fake.url, "m", "secret"))


@pytest.mark.parametrize(
    "raw", [b"<html>", b"[]", b'{"choices": []}', b'{"choices": [{"message": {}}]}']
)
def test_answers_of_another_kind_are_refused(fake: Fake, raw: bytes) -> None:
    fake.raw = raw
    with pytest.raises(NotReadyError, match="does not answer"):
        Endpoint(fake.url, "m", wait_s=0.001).ask("?")


def test_only_http_is_asked() -> None:
    with pytest.raises(InvalidRequestError, match="file:///etc/passwd"):
        Endpoint("file:///etc/passwd", "m")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("[0.5, 1]", [0.5, 1]),
        ("```json\n[0, 7]\n```", [0, 1]),
        ("[0.5]", None),
        ("[0.5, null]", None),
        ("[NaN, 0.5]", [0, 0.5]),
        ("none", None),
        ("[1, 2", None),
    ],
)
def test_numbers_are_read_from_answers(
    answer: str, expected: list[float] | None
) -> None:
    found = read_values(answer, 2)
    assert (None if found is None else found.tolist()) == expected
