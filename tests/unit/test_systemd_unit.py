"""The unit file of the service: systemd itself accepts it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

UNIT = Path(__file__).resolve().parents[2] / "conf" / "dynomite-mp.service"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
def test_systemd_finds_nothing_to_complain_about(tmp_path):
    text = UNIT.read_text().replace("/usr/local/bin/dynomite-mp", sys.executable)
    unit = tmp_path / UNIT.name
    unit.write_text(text)
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    complaints = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert complaints == []


def test_a_wrong_configuration_is_not_started_again():
    from dynomite_mp.enums import ExitCode

    assert f"RestartPreventExitStatus={int(ExitCode.CONFIG_INVALID)}" in UNIT.read_text()
