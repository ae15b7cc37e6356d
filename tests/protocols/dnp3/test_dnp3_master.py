"""Our master against our outstation, each scenario in a process of its own that must end by itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from protocols.dnp3.master_config import MasterConfig

SCENARIOS = Path(__file__).with_name("dnp3_master_scenarios.py")


@pytest.mark.parametrize(
    "name", ["everything", "overflow", "hundred", "endless_restart", "hostile", "serial", "alone", "cancelled", "forgotten"]
)
def test_scenario(name):
    pytest.importorskip("opendnp3", reason="needs yadnp3: pip install 'gridtandem[hil]'")
    done = subprocess.run(
        [sys.executable, "-X", "dev", str(SCENARIOS), name], capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 0 and done.stdout.endswith("ok\n"), f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"


def test_our_master_on_the_outstation_of_yadnp3():
    pytest.importorskip("opendnp3", reason="needs yadnp3: pip install 'gridtandem[hil]'")
    peer = [sys.executable, str(SCENARIOS.with_name("yadnp3_outstation.py"))]
    command = [sys.executable, str(SCENARIOS), "foreign_outstation", *peer]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0 and done.stdout.endswith("ok\n"), f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"


def test_without_the_stack_the_error_says_what_to_install():
    code = "import sys; sys.modules['opendnp3'] = None; import protocols.dnp3; import protocols.dnp3.master"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and "gridtandem[hil]" in done.stderr


def test_a_wrong_time_sync_is_named():
    with pytest.raises(ValueError, match="RTU: time_sync is 'lan', 'delay' or None, not 'gps'"):
        MasterConfig("RTU", time_sync="gps")
