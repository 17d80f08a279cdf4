"""deploy/draw_dashboard.py: both dashboards become pictures of what Prometheus has."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.deploy.compose import ROOT

ASKED: list[str] = []
LABELS = {"name": "mini", "version": "3", "method": "Encode", "stage": "fit"}


class Prometheus(BaseHTTPRequestHandler):
    """Has two values of everything, the second no number."""

    def do_GET(self) -> None:
        at = urlsplit(self.path)
        ASKED.append(parse_qs(at.query)["query"][0])
        now = time.time()
        told = (
            {"values": [[now - 60, "2.5"], [now, "NaN"]]}
            if at.path.endswith("_range")
            else {"value": [now, "1"]}
        )
        self.send_response(200)
        self.end_headers()
        result = [{"metric": LABELS, **told}]
        self.wfile.write(json.dumps({"data": {"result": result}}).encode())

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def prometheus() -> Iterator[str]:
    ASKED.clear()
    with HTTPServer(("127.0.0.1", 0), Prometheus) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def draw(*told: str | Path) -> None:
    command = [sys.executable, ROOT / "deploy" / "draw_dashboard.py", *told]
    subprocess.run(command, check=True)


@pytest.mark.parametrize("name", ["service", "trainer"])
def test_a_dashboard_becomes_a_picture_with_all_panels(
    name: str, prometheus: str, tmp_path: Path
) -> None:
    dashboard = ROOT / "deploy" / "grafana" / "dashboards" / f"{name}.json"
    picture = tmp_path / "drawn.svg"
    draw(dashboard, picture, "--prometheus", prometheus)
    drawn = picture.read_text()
    panels = json.loads(dashboard.read_text())["panels"]
    # An SVG of Matplotlib's says each text that it draws in a comment.
    assert [p["title"] for p in panels if f"<!-- {p['title']} -->" not in drawn] == []
    assert {"service": "mini@3", "trainer": "fit"}[name] in drawn
    assert len(ASKED) == sum(len(panel.get("targets", [])) for panel in panels)
    assert not [query for query in ASKED if "$" in query]


def test_one_row_is_drawn_without_the_others(prometheus: str, tmp_path: Path) -> None:
    dashboard = ROOT / "deploy" / "grafana" / "dashboards" / "service.json"
    picture = tmp_path / "drawn.svg"
    draw(dashboard, picture, "--prometheus", prometheus, "--row", "Machine")
    assert "<!-- Free disk -->" in picture.read_text()
    assert "<!-- Time of calls -->" not in picture.read_text()
