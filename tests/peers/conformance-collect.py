"""Folds the conformance suite's records into one stable JSON file (called by conformance.sh).

    conformance-collect.py <requirements folder> <folder with one folder of records per set> <out.json>

A folder of records called `stable` is of the suite's last stable version, which has no requirement sets: all its scenarios are scored.

Writes {set: {scenario: {scored, passed, failed, warned, skipped, checks: {check id: {status: count}}}}}, sorted; `scored`
is whether the revision requires the scenario. Exits 1 when a scenario that the requirement set names left no record: a run
that died must not look like a run with nothing to say.
"""

import collections
import json
import pathlib
import re
import sys

import yaml

# Scenarios of the server half of 0.1.16, `--suite all`.
STABLE = 32

RECORD = re.compile(r"^server-(?P<scenario>.+)-\d{4}-\d{2}-\d{2}T\d{2}-\d{2}-\d{2}-\d{3}Z$")


def expected(requirement_file: pathlib.Path) -> dict[str, bool]:
    """The server scenarios a requirement set runs, and whether each is scored."""
    document = yaml.safe_load(requirement_file.read_text(encoding="utf-8"))
    scored = {scenario: True for scenario in document["server"]}
    return scored | {entry["scenario"]: False for entry in document["not_scored"] if entry["leg"] == "server"}


def summary(checks: list[dict], scored: bool) -> dict:
    """The counts of one scenario."""
    by_id: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    for check in checks:
        by_id[check["id"]][check["status"]] += 1
    total = sum(by_id.values(), collections.Counter())
    return {
        "scored": scored,
        "passed": total["SUCCESS"],
        "failed": total["FAILURE"],
        "warned": total["WARNING"],
        "skipped": total["SKIPPED"],
        "checks": {check: dict(sorted(statuses.items())) for check, statuses in sorted(by_id.items())},
    }


def collected(records: pathlib.Path, wanted: dict[str, bool] | None) -> dict[str, dict]:
    """The scenarios of one folder; without `wanted` every one is scored."""
    found = {}
    for folder in sorted(records.glob("server-*")):
        match = RECORD.match(folder.name)
        checks = folder / "checks.json"
        if match and checks.is_file():
            scenario = match["scenario"]
            scored = True if wanted is None else wanted.get(scenario, False)
            found[scenario] = summary(json.loads(checks.read_text(encoding="utf-8")), scored)
    return dict(sorted(found.items()))


def main() -> int:
    requirements, records, out = map(pathlib.Path, sys.argv[1:4])
    result: dict[str, dict] = {}
    lost = []
    for requirement_file in sorted(requirements.glob("*.yaml")):
        name = requirement_file.stem
        wanted = expected(requirement_file)
        result[name] = collected(records / name, wanted)
        lost += [f"{name} {scenario}" for scenario in wanted if scenario not in result[name]]
    stable = collected(records / "stable", None)
    result["stable"] = stable
    if len(stable) < STABLE:
        lost.append(f"{STABLE - len(stable)} scenarios of the stable version")
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for name, scenarios in result.items():
        passed, failed = (sum(entry[key] for entry in scenarios.values()) for key in ("passed", "failed"))
        print(f"{name}: {len(scenarios)} scenarios, {passed} checks passed, {failed} failed")
    for scenario in lost:
        print(f"conformance: no record of {scenario}", file=sys.stderr)
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
