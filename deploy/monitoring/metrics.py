"""Holds rules, tests, dashboard, runbook and the list of metrics against one another.

    metrics.py

Every metric used is in metrics.txt or recorded by a rule, every one in metrics.txt is used, every alert has a test and a
section in docs/runbook.md and no section is left over, and every expression of the dashboard is PromQL (asked of
promtool). Exits with 1 and one line for each problem.
"""
import json
import pathlib
import re
import subprocess
import sys
import tempfile

from ruamel.yaml import YAML

HERE = pathlib.Path(__file__).parent
NAME = re.compile(r"\bhotspare[_:][a-z0-9_:]+")
problems: list[str] = []


def load(name: str) -> dict:
    return YAML(typ="safe").load((HERE / name).read_text())


def dashboard_expressions(dashboard: dict) -> list[str]:
    found = [a["expr"] for a in dashboard["annotations"]["list"] if "expr" in a]
    for panel in dashboard["panels"]:
        found += [target["expr"] for target in panel.get("targets", [])]
    return found


def check_layout(dashboard: dict) -> None:
    ids = [panel["id"] for panel in dashboard["panels"]]
    if len(ids) != len(set(ids)):
        problems.append("dashboard: two panels with one id")
    taken: dict[tuple[int, int], str] = {}
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        if panel["type"] != "row" and not panel.get("description"):
            problems.append(f"dashboard: {panel['title']} does not say what it shows")
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                if x > 23 or (x, y) in taken:
                    problems.append(f"dashboard: {panel['title']} overlaps {taken.get((x, y), 'the edge')}")
                    return
                taken[x, y] = panel["title"]


def check_promql(expressions: list[str]) -> None:
    """Grafana's own variables are replaced by values of their kind; the rest must parse."""
    rules = []
    for number, expression in enumerate(expressions):
        plain = expression.replace("$__rate_interval", "1m").replace("$job", "hotspare").replace("$instance", ".*")
        rules.append({"record": f"dashboard:{number}", "expr": plain})
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump({"groups": [{"name": "dashboard", "rules": rules}]}, file)
        file.flush()
        result = subprocess.run(["promtool", "check", "rules", file.name], capture_output=True, text=True)
        if result.returncode:
            problems.append(f"dashboard: {result.stdout}{result.stderr}")


def main() -> int:
    rules = [rule for group in load("hotspare.rules.yaml")["groups"] for rule in group["rules"]]
    dashboard = json.loads((HERE / "hotspare.json").read_text())
    lines = (HERE / "metrics.txt").read_text().splitlines()
    listed = {line.split()[0] for line in lines if line and not line.startswith("#")}
    recorded = {rule["record"] for rule in rules if "record" in rule}
    alerts = {rule["alert"] for rule in rules if "alert" in rule}

    expressions = dashboard_expressions(dashboard)
    used = set()
    for text in [rule["expr"] for rule in rules] + expressions:
        used |= set(NAME.findall(text))
    for name in sorted(used - listed - recorded):
        problems.append(f"{name} is used, but neither in metrics.txt nor recorded")
    for name in sorted(listed - used):
        problems.append(f"{name} is in metrics.txt, but nothing uses it")

    fired = {alert["alertname"] for test in load("hotspare.test.yaml")["tests"] for alert in test["alert_rule_test"] if alert.get("exp_alerts")}
    for name in sorted(alerts - fired):
        problems.append(f"{name}: no test lets it fire")
    runbook = (HERE / "../../docs/runbook.md").read_text()
    sections = {title for title in re.findall(r"^## (\w+)$", runbook, re.M) if title.startswith("Hotspare")}
    for name in sorted(alerts ^ sections):
        problems.append(f"{name}: in the runbook or in the rules, not in both")
    for rule in rules:
        if "alert" in rule and rule["annotations"]["runbook"] != f"docs/runbook.md#{rule['alert'].lower()}":
            problems.append(f"{rule['alert']}: its runbook link goes elsewhere")
    check_layout(dashboard)
    check_promql(expressions)
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
