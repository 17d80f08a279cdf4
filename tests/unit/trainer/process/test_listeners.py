"""What is told of a run: lines, bars, a state file, metrics; each says the same."""

import io
import json
import logging
import urllib.request
from pathlib import Path
from typing import Any, get_args

import pytest
from rich.console import Console

from ribolex.trainer.pipeline import Progress
from ribolex.trainer.process.listeners import (
    Bars,
    JsonLines,
    LogEvents,
    StateFile,
    sentence,
)
from ribolex.trainer.process.metrics import Metrics, serving
from ribolex.trainer.process.reporting import Event, Kind, Listener, Reporter
from ribolex.trainer.process.status import read_status

FIELDS: dict[str, dict[str, Any]] = {
    "run": {"dictionaries": ["one"], "registry": "here", "ranks": 1},
    "published": {"dictionary": "one", "ref": "one@1"},
    "unchanged": {"dictionary": "one", "ref": "one@1"},
    "gate_failed": {
        "dictionary": "one",
        "gate": "fvu",
        "got": 0.75,
        "limit": 0.5,
        "bound": "at_most",
        "candidate": "work/one",
    },
    "failed": {"dictionary": "one", "error": "disk full"},
    "end": {
        "seconds": 1.5,
        "published": 1,
        "unchanged": 0,
        "gate_failed": 1,
        "failed": 1,
    },
    "waiting": {},
    "changed": {"reason": "+10 % nucleotides"},
    "requested": {"dictionary": "one"},
    "stopped": {},
    "serving": {"url": "http://localhost:1/metrics"},
    "log": {"level": "warning", "logger": "x", "message": "look out"},
}


class Seen(Listener):
    """Keeps events."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def take(self, event: Event) -> None:
        self.events.append(event)


def tell_all(reporter: Reporter) -> None:
    """A run with every kind of event."""
    reporter.progress(Progress("corpus", 1000, 0))
    for step in range(0, 101, 10):
        fvu = 1 - step / 200
        reporter.progress(Progress("fit", step, 100, "one", fvu, 3, step * 10))
    for kind, fields in FIELDS.items():
        reporter.tell(kind, **fields)  # type: ignore[arg-type]


def test_a_stage_is_over_when_another_begins_or_anything_else_happens() -> None:
    seen = Seen()
    reporter = Reporter([seen])
    reporter.progress(Progress("fit", 0, 10, "one"))
    reporter.progress(Progress("fit", 10, 10, "one"))
    reporter.tell("log", level="info", logger="x", message="y")
    reporter.progress(Progress("fit", 0, 10, "two"))
    reporter.tell("published", dictionary="two", ref="two@1")
    reporter.end_stage()
    told = [(each.kind, each.stage, each.dictionary) for each in seen.events]
    assert told == [
        ("progress", "fit", "one"),
        ("progress", "fit", "one"),
        ("log", "", ""),
        ("stage", "fit", "one"),
        ("progress", "fit", "two"),
        ("stage", "fit", "two"),
        ("published", "", "two"),
    ]


def test_lines_are_json_and_few() -> None:
    written: list[str] = []
    tell_all(Reporter([JsonLines(written.append)]))
    lines = [json.loads(line) for line in written]
    assert all(line["time"].endswith("Z") for line in lines)
    fit = [line for line in lines if line["event"] == "progress" and "fvu" in line]
    assert [line["done"] for line in fit] == [0, 100]  # the rest came within a second
    assert fit[-1]["fvu"] == 0.5
    assert fit[-1]["dead"] == 3
    assert fit[-1]["rows_per_s"] > 0
    told = [
        line["event"] for line in lines if line["event"] not in ("progress", "stage")
    ]
    assert told == list(FIELDS)
    (gate,) = [line for line in lines if line["event"] == "gate_failed"]
    assert FIELDS["gate_failed"].items() <= gate.items()


def test_every_kind_of_event_has_words() -> None:
    assert {*FIELDS, "progress", "stage"} == set(get_args(Kind))
    said = {
        kind: sentence(Event(kind, fields, 0.0))  # type: ignore[arg-type]
        for kind, fields in FIELDS.items()
    }
    assert said["gate_failed"] == (
        "one is not published: gate fvu got 0.7500, expected at most 0.5; "
        "it lies in work/one"
    )
    assert said["failed"] == "one: failed: disk full"
    assert "1 published" in said["end"]


def test_bars_show_stages_and_sentences() -> None:
    stream = io.StringIO()
    bars = Bars(Console(file=stream, width=200, force_terminal=True))
    tell_all(Reporter([bars]))
    bars.close()
    shown = stream.getvalue()
    assert "fit one" in shown
    assert "FVU 0.500" in shown
    assert "published one@1, and made it current" in shown


def test_log_records_become_lines() -> None:
    seen = Seen()
    handler = LogEvents(Reporter([seen]))
    logger = logging.getLogger("ribolex.test_listeners")
    logger.addHandler(handler)
    try:
        raise ValueError("no")
    except ValueError:
        logger.exception("broken at=%d", 3)
    finally:
        logger.removeHandler(handler)
    (event,) = seen.events
    assert event.fields["message"] == "broken at=3"
    assert "ValueError: no" in str(event.fields["traceback"])


def test_state_says_what_is_going_on(tmp_path: Path) -> None:
    assert "nothing yet" in read_status(tmp_path).sentence()
    reporter = Reporter([StateFile(tmp_path)])
    reporter.progress(Progress("fit", 50, 100, "one", 0.25, 3, 500))
    found = read_status(tmp_path)
    assert not found.is_at_work
    assert "not running; fit one, 50 of 100, FVU 0.250" in found.sentence()
    assert json.loads(found.to_json())["last"]["stage"] == "fit"


def test_metrics_are_served(tmp_path: Path) -> None:
    metrics = Metrics(["one", "two"], tmp_path)
    reporter = Reporter([metrics])
    with serving(metrics, "127.0.0.1", 0) as place:
        reporter.progress(Progress("fit", 0, 100, "one", 0.9, 0, 0))
        reporter.progress(Progress("fit", 50, 100, "one", 0.25, 3, 500))
        during = fetch(place.url)
        tell_all(reporter)
        after = fetch(place.url)
    assert during['ribolex_trainer_stage_active{stage="fit"}'] == 1
    assert during['ribolex_trainer_stage_done_ratio{stage="fit"}'] == 0.5
    assert during["ribolex_trainer_fit_rows_per_second"] > 0
    assert during['ribolex_trainer_fit_fvu_ratio{dictionary="one"}'] == 0.25
    assert during['ribolex_trainer_fit_dead_features{dictionary="one"}'] == 3
    assert during['ribolex_trainer_published_total{dictionary="two"}'] == 0
    free, size = (during[f"ribolex_trainer_disk_{x}_bytes"] for x in ("free", "size"))
    assert 0 < free <= size
    assert after['ribolex_trainer_stage_active{stage="fit"}'] == 0
    for name in ("published", "unchanged", "gate_failures", "failures", "requests"):
        assert after[f'ribolex_trainer_{name}_total{{dictionary="one"}}'] == 1
    last = 'ribolex_trainer_last_success_timestamp_seconds{dictionary="one"}'
    assert last not in during
    assert after[last] > 1e9


def test_documented_metrics_are_those_there_are(tmp_path: Path) -> None:
    docs = Path(__file__).parents[4] / "docs" / "training.md"
    if not docs.exists():
        pytest.skip("run from a distribution without docs")
    text = docs.read_text()
    metrics = Metrics(["one"], tmp_path)
    names = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in metrics.registry.collect()
    }
    assert names == {
        word.strip("`|,. ").split("{")[0]
        for word in text.split()
        if word.strip("`|").startswith(("ribolex_trainer_", "process_"))
    }


def fetch(url: str) -> dict[str, float]:
    with urllib.request.urlopen(url, timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in pairs}
