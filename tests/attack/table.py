"""Attacks the API of a running server and prints a table of what was sent and what came back.

`python -m tests.attack.table` starts an API on an embedded store, with a broker and a worker of its own. Exits 1 if
one attack does not hold.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.attack import bodies, browsers, cursors, exports, framing, messages, objects, outbound, tokens
from tests.attack.attack import HEADING, LAYOUT, Attack, run
from tests.attack.target import target
from understudy.deploy.broker import BrokerServer
from understudy.deploy.migrate import migrate
from understudy.settings import Settings

_MODULES = (framing, bodies, objects, tokens, browsers, cursors, exports, outbound, messages)
ATTACKS: Sequence[Attack] = [attack for module in _MODULES for attack in module.ATTACKS]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.attack.table", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--only", action="append", help="only attacks whose name contains this; may be repeated")
    options = parser.parse_args()
    attacks = [attack for attack in ATTACKS if any(part in attack.name for part in options.only or [""])]
    if not attacks:
        parser.error("no attack has such a name")
    os.environ["PYTHONPATH"] = str(Path(__file__).parent.parent / "plugins")
    failed = False
    with tempfile.TemporaryDirectory(prefix="attack-") as folder, BrokerServer(Path(folder) / "broker") as broker:
        settings = Settings(data_dir=Path(folder), broker_url=broker.url)
        migrate(settings)
        with target(settings) as attacked:
            print(LAYOUT.format(*HEADING))  # noqa: T201
            for attack in attacks:
                result = run(attack, attacked)
                failed = failed or not result.holds
                print(result.line(), flush=True)  # noqa: T201
                for answer in result.failures[1:]:
                    print(f"{'':39} {answer.sent!r:.100}: {answer.came!r:.200}")  # noqa: T201
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
