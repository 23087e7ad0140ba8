import subprocess
import sys
from pathlib import Path

import pytest

FULL = Path("/dev/full")
pytestmark = pytest.mark.skipif(not FULL.exists(), reason="no /dev/full")


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["cohort", "--help"]])
def test_output_to_a_full_disk_ends_in_one_message(words):
    with FULL.open("w") as full:
        command = [sys.executable, "-c", "from fusion_ln.cli.main import cli; cli()", *words]
        run = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert run.returncode == 1
    assert run.stderr == (
        "Error: output of this command: No space left on device.\n    Free some space, or write it to another place.\n"
    )


def test_a_log_on_a_full_disk_ends_no_training():
    with FULL.open("w") as full:
        code = "from fusion_ln.progress import say; say('fold 1 of 5'); print('trained')"
        run = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=full, text=True, check=False)
    assert run.stdout == "trained\n"
