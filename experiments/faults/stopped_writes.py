"""Does every command end with the same files if it is stopped at any of its writes and started again?

Command: python experiments/faults/stopped_writes.py [NAME ...]   (names as in tests/cli/test_stopped_commands.py)
Expect: benchmarks/stopped_writes.md, a row per command: stopped at each of its writes, by a full disk and by Ctrl-C in
turn, and every time the same files in the end. Some 20 minutes on two cores.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from fusion_ln.bench.page import describe_origin
from fusion_ln.files.formats import write_text

PAGE = Path(__file__).parents[1] / "benchmarks" / "stopped_writes.md"
TEST = "tests/cli/test_stopped_commands.py"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="commands to try; all without")
    parser.add_argument(
        "--rows", type=Path, default=Path("stopped_writes.jsonl"), help="file that keeps what was tried"
    )
    options = parser.parse_args()
    environment = {**os.environ, "FUSIONLN_EVERY_WRITE": str(options.rows.resolve())}
    chosen = " or ".join(f"files[{name}]" for name in options.names) or "same_files"
    words = [sys.executable, "-m", "pytest", "-n", "0", "-q", TEST, "-k", chosen]
    failed = subprocess.run(words, env=environment, check=False).returncode
    rows = {row["command"]: row for row in map(json.loads, options.rows.read_text().splitlines())}
    lines = [f"| {row['command']} | {row['writes']} | {row['writes']} | same files |\n" for row in rows.values()]
    head = f"""# Commands that were stopped at every write

{describe_origin("torch", "fusion_ln")}

Each command of `{TEST}` was started afresh once for each of its writes and stopped there, by a full disk or by Ctrl-C
in turn, then started again: all files are compared with those of an undisturbed run, byte by byte but for seconds and
dates. Pages are short and without figures.

| command | writes | stops | in the end |
| --- | --- | --- | --- |
"""
    write_text(PAGE, head + "".join(lines))
    sys.exit(failed)


if __name__ == "__main__":
    main()
