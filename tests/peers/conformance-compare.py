#!/usr/bin/env python3
"""Compares two files of conformance.sh: a direct run and one through Keepgate.

    conformance-compare.py <direct.json> <gateway.json>

Prints a table and exits 1 if, in any scenario, the gateway has fewer passes, more failures, or lacks a check that the
direct run made. Checks are compared by id because the suite leaves out a check it cannot reach, and exits 0 all the same.
Exits 1 too if a scored scenario fails in the direct run: two equally dead servers would compare as equal.
"""

import json
import sys


def missing_and_worse(direct: dict, gateway: dict) -> list[str]:
    """What the gateway run lost in one scenario, in words."""
    losses = []
    for check, statuses in direct["checks"].items():
        through = gateway["checks"].get(check)
        if through is None:
            losses.append(f"{check}: missing")
        elif through.get("SUCCESS", 0) < statuses.get("SUCCESS", 0):
            losses.append(f"{check}: {statuses} became {through}")
        elif through.get("FAILURE", 0) > statuses.get("FAILURE", 0):
            losses.append(f"{check}: {statuses} became {through}")
    new_failures = set(gateway["checks"]) - set(direct["checks"])
    losses += [f"{check}: new failure" for check in sorted(new_failures) if gateway["checks"][check].get("FAILURE")]
    return losses


def main() -> int:
    if len(sys.argv) != 3:
        print("usage: conformance-compare.py <direct.json> <gateway.json>", file=sys.stderr)
        return 2
    direct, gateway = (json.load(open(path, encoding="utf-8")) for path in sys.argv[1:])
    empty = {"passed": 0, "failed": 0, "checks": {}}
    lost = 0
    broken: list[str] = []
    if not any(direct.values()):
        print("the direct run holds no scenario: nothing was compared", file=sys.stderr)
        return 1
    for name, scenarios in direct.items():
        broken += [f"{name} {scenario}" for scenario, entry in scenarios.items() if entry["scored"] and entry["failed"]]
        print(f"\n{name:<50} {'direct':>12} {'gateway':>12}")
        for scenario, before in scenarios.items():
            after = gateway.get(name, {}).get(scenario, empty)
            losses = missing_and_worse(before, after)
            cells = [f"{entry['passed']} ok {entry['failed']} bad" for entry in (before, after)]
            print(f"  {scenario:<48} {cells[0]:>12} {cells[1]:>12} {'  LOST' if losses else ''}")
            for loss in losses:
                print(f"      {loss}")
            lost += bool(losses)
        totals = [sum(entry["passed"] for entry in side.get(name, {}).values()) for side in (direct, gateway)]
        print(f"  {'passed in all':<48} {totals[0]:>12} {totals[1]:>12}")
    print(f"\n{lost} scenarios lost something through the gateway" if lost else "\nnothing lost through the gateway")
    for scenario in broken:
        print(f"the direct run itself fails a required scenario: {scenario}", file=sys.stderr)
    return 1 if lost or broken else 0


if __name__ == "__main__":
    sys.exit(main())
