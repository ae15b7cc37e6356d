"""The bench runs: its figures are read by people, its parts must not rot."""

from __future__ import annotations

import asyncio

from tests.protocols.modbus import bench


def test_bench_runs_short() -> None:
    assert bench.requests_over_optimum(5) <= 1.1
    with bench.Servers(3) as servers:
        ours, bare, ratio = asyncio.run(bench.poll_ratio(servers.ports[0], 0.2))
        assert ours > 0 and bare > 0 and ratio > 0
        share, bad = asyncio.run(bench.park_load(servers.ports, 1))
        assert 0 < share < 1 and bad == 0
