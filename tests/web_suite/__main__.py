"""Compares our environment with Chromium, request by request: `make web-suite`."""

import argparse
import sys

from tests import chromium
from tests.web_suite.cases import Case
from tests.web_suite.drivers import browser, sent_by_environment
from tests.web_suite.echo_server import EchoServer, echo_server
from tests.web_suite.payloads import Payload, record, recorded
from tests.web_suite.suite import CASES


def main() -> int:
    """Prints a table of the cases that differ, and returns 1 if one differs without a reason."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", action="store_true", help="store what Chromium sends, for the unit tests")
    parser.add_argument("--stored", action="store_true", help="compare with what was stored; needs no Chromium")
    parser.add_argument("--only", default="", help="only cases whose name contains this")
    options = parser.parse_args()
    if not options.stored and chromium.find_chromium() is None:
        print(f"skipped: {chromium.SKIP_REASON}", file=sys.stderr)
        return 0
    cases = [case for case in CASES if options.only in case.name]
    with echo_server() as server:
        theirs = recorded() if options.stored else _by_chromium(cases, server, store=options.record)
        ours = {case.name: sent_by_environment(case, server) for case in cases}
    return _report(cases, ours, theirs)


def _by_chromium(cases: list[Case], server: EchoServer, *, store: bool) -> dict[str, Payload | None]:
    with browser() as chromium_page:
        found = {case.name: chromium_page.sent(case, server) for case in cases}
        if store:
            record(found, chromium_page.version)
    return found


def _report(cases: list[Case], ours: dict[str, Payload | None], theirs: dict[str, Payload | None]) -> int:
    equal = unexplained = 0
    for case in cases:
        if ours[case.name] == theirs[case.name]:
            equal += 1
            continue
        unexplained += not case.differs
        print(f"{case.name}: {case.differs or 'NOT EQUAL'}")
        print(f"  chromium: {theirs[case.name] or 'sends nothing'!s:.600}")
        print(f"  ours:     {ours[case.name] or 'sends nothing'!s:.600}")
    explained = len(cases) - equal - unexplained
    print(f"{len(cases)} cases: {equal} equal, {explained} differ for a reason, {unexplained} differ without one")
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
