"""`monitor-auto collect` with the oldest releases that the extra `local` allows; all other tests use the newest."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support.local_collector import event, new_id, running_local_collector
from support.sandbox import ROOT, Sandbox


def oldest() -> list[str]:
    """Return the extra's requirements at their lower bounds."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    extra = text.partition("\nlocal = [")[2].partition("]")[0]
    return [f"{name}=={version}.*" for name, version in re.findall(r'"([a-z]+)>=([\d.]+)"', extra)]


@pytest.mark.slow
def test_the_oldest_releases_that_are_allowed_do_all_that_is_needed(
    sandbox_for: Callable[..., Sandbox], tmp_path: Path
) -> None:
    """pip keeps what is installed as long as the bounds allow it, so the bounds have to be true."""
    versions = oldest()
    assert len(versions) == 2
    sandbox = sandbox_for(sys.executable, *versions)
    with running_local_collector(sandbox, tmp_path) as running:
        session = new_id()
        assert running.post([event(session=session, number=number) for number in range(3)]).status_code == 200
        assert running.post([event(session=session, number=1), {}]).status_code == 207
        assert running.client.post(running.endpoint, content=b"{").status_code == 400
        assert running.client.put(running.endpoint).status_code == 405
        assert len(running.events(session=session)) == 3
        assert running.json("/v1/runs")["runs"][0]["root"] == session
        assert running.get("/v1/runs/none").status_code == 404
        assert running.get("/v1/events?limit=x").status_code == 400
        assert "stored_events_total 3" in running.get("/metrics").text
        assert running.get("/static/app.js").headers["cache-control"] == "no-cache"
        assert running.get("/", headers={"Origin": "https://evil.example"}).status_code == 403
        with running.client.stream("GET", running.base + "/v1/stream") as stream:
            assert next(stream.iter_lines()) == "retry: 2000"
            assert running.end() == 0
