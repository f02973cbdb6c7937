"""Holds rendered manifests against what docs/kubernetes.md promises: one assertion for each promise.

    promises.py RENDERED.yaml...

A schema says that a manifest is well formed; this says that it does what the docs say. Exits with 1 and one line
for each promise that is broken.
"""
import pathlib
import sys

from ruamel.yaml import YAML

problems: list[str] = []


def promise(kept: bool, where: str, text: str) -> None:
    if not kept:
        problems.append(f"{where}: {text}")


def spread(pod: dict, where: str) -> None:
    rules = pod["affinity"]["podAntiAffinity"]
    terms = rules.get("requiredDuringSchedulingIgnoredDuringExecution") or [
        weighted["podAffinityTerm"] for weighted in rules["preferredDuringSchedulingIgnoredDuringExecution"]
    ]
    promise([term["topologyKey"] for term in terms] == ["kubernetes.io/hostname"], where, "spread over nodes")


def hardened(pod: dict, where: str) -> None:
    security = pod["securityContext"]
    promise(security["runAsNonRoot"] is True and security["runAsUser"] != 0, where, "runs as a user that is not root")
    promise(security["seccompProfile"]["type"] == "RuntimeDefault", where, "seccomp RuntimeDefault")
    for key in ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"):
        promise(not pod.get(key), where, f"no {key}")
    for container in pod["containers"]:
        security = container["securityContext"]
        promise(security["allowPrivilegeEscalation"] is False, where, "no privilege escalation")
        promise(security["readOnlyRootFilesystem"] is True, where, "read-only root")
        promise(security["capabilities"]["drop"] == ["ALL"] and "add" not in security["capabilities"], where, "no capabilities")
        promise("memory" in container["resources"]["limits"], where, "a memory limit")
        promise("cpu" not in container["resources"]["limits"], where, "no CPU limit: throttling would hold heartbeats back")
    for volume in pod["volumes"]:
        promise("hostPath" not in volume, where, "nothing of the node is mounted")


def proxy(spec: dict, where: str, shared_store: bool) -> None:
    pod = spec["template"]["spec"]
    container = pod["containers"][0]
    hardened(pod, where)
    spread(pod, where)
    promise(spec["replicas"] >= 2 or not shared_store, where, "two proxies where the store is shared")
    promise(spec["replicas"] == 1 or shared_store, where, "one proxy where the store is a file")
    promise(container["livenessProbe"]["httpGet"]["path"] == "/livez", where, "liveness asks /livez")
    promise(container["readinessProbe"]["httpGet"]["path"] == "/readyz", where, "readiness asks /readyz")
    patience = container["livenessProbe"]["periodSeconds"] * container["livenessProbe"]["failureThreshold"]
    promise(patience >= 60, where, "liveness gives a slow node a minute")
    grace = pod["terminationGracePeriodSeconds"]
    stop = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    promise(grace >= stop + 30 + 10, where, "the grace period holds preStop, the drain of 30 s and some more")
    promise(not any("subPath" in mount for mount in container["volumeMounts"]), where, "no subPath: config changes reach the pod")


def pair(spec: dict, where: str, proxies: int) -> None:
    pod = spec["template"]["spec"]
    container = pod["containers"][0]
    hardened(pod, where)
    spread(pod, where)
    promise(spec["replicas"] == 2, where, "two members")
    promise(spec["podManagementPolicy"] == "Parallel", where, "neither member waits for the other")
    promise(spec["updateStrategy"] == {"type": "OnDelete"}, where, "Kubernetes never chooses which member to restart")
    promise("livenessProbe" not in container and "startupProbe" not in container, where, "no probe that restarts a member")
    promise("lifecycle" not in container, where, "SIGTERM goes to the launcher at once")
    promise(container["command"][1] == "launcher" and "--" in container["args"], where, "the launcher is process 1")
    promise(len(pod["containers"]) == 1, where, "one container: launcher and Node-RED end together")
    promise(pod["terminationGracePeriodSeconds"] >= 15, where, "longer than the 5 s in which flows may stop, an exit and a lease")
    promise(pod["automountServiceAccountToken"] is False, where, "no API token in members")
    (claim,) = spec["volumeClaimTemplates"]
    promise(claim["spec"]["accessModes"] == ["ReadWriteOnce"], where, "a volume of its own for each member")
    token = [mount for mount in container["volumeMounts"] if mount["name"] == "token"]
    promise([mount.get("subPathExpr") for mount in token] == ["$(POD_NAME)"], where, "a member sees its own token only")
    links = [arg for arg in container["args"] if arg.startswith("--controller=")]
    promise(len(links) == proxies, where, "a link to each proxy")
    state = [arg for arg in container["args"] if arg.startswith("--state-dir=/data/")]
    promise(len(state) == 1, where, "the launcher's state is on the volume")


def rights(role: dict, where: str, members: list[str], labels: bool) -> None:
    on_pods = [rule for rule in role["rules"] if rule["resources"] == ["pods"]]
    on_leases = [rule for rule in role["rules"] if rule not in on_pods]
    promise(bool(on_pods) == (labels and bool(members)), where, "rights on pods only where the active's pod is labelled")
    for rule in on_pods:
        promise(rule["apiGroups"] == [""] and rule["verbs"] == ["patch"], where, "of pods, patch and no more")
        promise(sorted(rule["resourceNames"]) == sorted(members), where, "of the members' pods alone, by name")
    verbs = sorted(verb for rule in on_leases for verb in rule["verbs"])
    promise(verbs == ["create", "get", "update", "watch"], where, "create, get, update, watch, and no more")
    for rule in on_leases:
        promise(rule["apiGroups"] == ["coordination.k8s.io"] and rule["resources"] == ["leases"], where, "rights on leases alone")
        promise(bool(rule.get("resourceNames")) or rule["verbs"] == ["create"], where, "everything but create for one name only")


def reached_from(policy: dict, port: int) -> list[list[dict]]:
    """Who may reach this port, rule by rule; an empty list of peers is everybody."""
    rules = policy["spec"].get("ingress", [])
    ports = lambda rule: [entry["port"] for entry in rule.get("ports", [])]
    return [rule.get("from", []) for rule in rules if not ports(rule) or port in ports(rule)]


def components(peers: list[dict]) -> list[str]:
    labels = [peer.get("podSelector", {}).get("matchLabels", {}) for peer in peers]
    return [label.get("app.kubernetes.io/component", "others") for label in labels]


def networks(policies: list[dict], where: str) -> None:
    for policy in policies:
        component = policy["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
        reached = {port: [components(peers) for peers in reached_from(policy, port)] for port in (1880, 2880, 9481)}
        if component == "member":
            promise(reached[1880] == [["proxy"]], where, "only proxies reach members")
            promise(reached[2880] == [["proxy"], ["member"]], where, "the launcher's port is for proxies and the other member")
            own = policy["spec"]["podSelector"]["matchLabels"]["hotspare/pair"]
            peers = [peer for peers in reached_from(policy, 2880) for peer in peers]
            pairs = [peer["podSelector"]["matchLabels"].get("hotspare/pair") for peer in peers]
            promise(pairs == [None, own], where, "of members only the other one of the pair")
        else:
            promise(reached[9481] == [["member"]], where, "only launchers reach the links")


def services(document: dict, where: str) -> None:
    spec = document["spec"]
    component = spec["selector"]["app.kubernetes.io/component"]
    headless = spec.get("clusterIP") == "None"
    promise(headless or component == "proxy", where, "clients reach proxies, never a member")
    promise(headless == spec.get("publishNotReadyAddresses", False), where, "clients reach ready proxies only")


def ingress(document: dict, where: str) -> None:
    notes = document["metadata"]["annotations"]
    for key, least in (("read", 3600), ("send", 3600), ("connect", 5)):
        seconds = int(notes[f"nginx.ingress.kubernetes.io/proxy-{key}-timeout"])
        promise(seconds >= least, where, f"a {key} timeout of at least {least} s")
    promise(bool(document["spec"].get("ingressClassName", "left out")), where, "a class, or none at all")


def main(files: list[str]) -> int:
    for file in files:
        documents = [d for d in YAML(typ="safe").load_all(pathlib.Path(file).read_text()) if d]
        by_kind: dict[str, list[dict]] = {}
        for document in documents:
            by_kind.setdefault(document["kind"], []).append(document)
        config = next(d["data"]["hotspare.toml"] for d in by_kind["ConfigMap"] if "hotspare.toml" in d["data"])
        shared = 'kind = "file"' not in config
        for document in by_kind["Deployment"]:
            name = document["metadata"]["name"]
            proxy(document["spec"], f"{file} Deployment {name}", shared)
            if shared:
                budgets = [b for b in by_kind["PodDisruptionBudget"] if b["metadata"]["name"] == name]
                promise(len(budgets) == 1 and budgets[0]["spec"]["maxUnavailable"] == 1, f"{file} {name}", "a disruption budget of one")
        for document in by_kind.get("StatefulSet", []):
            name = document["metadata"]["name"]
            pair(document["spec"], f"{file} StatefulSet {name}", by_kind["Deployment"][0]["spec"]["replicas"])
            budgets = [b for b in by_kind["PodDisruptionBudget"] if b["metadata"]["name"] == name]
            promise(len(budgets) == 1 and budgets[0]["spec"]["maxUnavailable"] == 1, f"{file} {name}", "a disruption budget of one")
            headless = [s for s in by_kind["Service"] if s["metadata"]["name"] == document["spec"]["serviceName"]]
            promise(
                len(headless) == 1 and headless[0]["spec"]["clusterIP"] == "None" and headless[0]["spec"]["publishNotReadyAddresses"],
                f"{file} {name}",
                "a headless Service that names members that are not ready too",
            )
        networks(by_kind.get("NetworkPolicy", []), f"{file} NetworkPolicy")
        for document in by_kind["Service"]:
            services(document, f"{file} Service {document['metadata']['name']}")
        for document in by_kind.get("Ingress", []):
            ingress(document, f"{file} Ingress {document['metadata']['name']}")
        for document in by_kind.get("Role", []):
            members = [f"{s['metadata']['name']}-{n}" for s in by_kind.get("StatefulSet", []) for n in (0, 1)]
            rights(document, f"{file} Role {document['metadata']['name']}", members, "active_label" in config)
        promise("ClusterRole" not in by_kind, file, "no rights over the cluster")
        promise("Secret" not in by_kind, file, "no secret comes out of the chart")
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
