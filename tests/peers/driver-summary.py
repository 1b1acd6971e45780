"""Prints one line about a driver's report and the failed steps in full (called by drivers.sh).

    driver-summary.py <title> <the driver's exit code> <report.json>

Exits 1 unless the driver exited 0 and left a report in which no step failed and at least one passed.
"""

import json
import sys


def main() -> int:
    title, code, path = sys.argv[1:4]
    try:
        with open(path, encoding="utf-8") as file:
            report = json.load(file)
    except ValueError:
        print(f"{title:<24} left no report (exit code {code})")
        return 1
    by_outcome: dict = {True: [], False: [], "skipped": []}
    for step, outcome in report.items():
        by_outcome[outcome["ok"]].append(step)
    passed, failed, skipped = by_outcome[True], by_outcome[False], by_outcome["skipped"]
    revision = report.get("connect", {}).get("detail")
    revision = revision.get("revision") if isinstance(revision, dict) else "not connected"
    line = f"{title:<24} {revision:<12} {len(passed):>3} passed {len(failed):>2} failed"
    print(f"{line} {len(skipped):>2} skipped {' '.join(skipped)}".rstrip())
    for step in failed:
        print(f"    {step}: {report[step]['detail']}")
    return 0 if code == "0" and passed and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
