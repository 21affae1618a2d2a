"""Cut `kubernetes.json`, the schemas of the kinds that kubernetes/ has, out of two published collections.

    pip download --no-deps kubernetes-validate==1.37.0 && unzip kubernetes_validate-*.whl
    git clone https://github.com/datreeio/CRDs-catalog
    python tests/deploy/schemas/make.py kubernetes_validate/kubernetes-json-schema/v1.37.0-local-strict CRDs-catalog

Descriptions are left out, and definitions that no kind refers to. One definition a line.
"""

import json
import sys
from pathlib import Path
from typing import Any

BUILT_IN = {
    "apps/v1/Deployment": "deployment-apps-v1",
    "autoscaling/v2/HorizontalPodAutoscaler": "horizontalpodautoscaler-autoscaling-v2",
    "networking.k8s.io/v1/NetworkPolicy": "networkpolicy-networking-v1",
    "policy/v1/PodDisruptionBudget": "poddisruptionbudget-policy-v1",
    "v1/ConfigMap": "configmap-v1",
    "v1/Secret": "secret-v1",
    "v1/Service": "service-v1",
}
OF_THE_OPERATOR = {
    "monitoring.coreos.com/v1/PrometheusRule": "prometheusrule_v1",
    "monitoring.coreos.com/v1/ServiceMonitor": "servicemonitor_v1",
}


def without_descriptions(node: Any) -> Any:
    match node:
        case dict():
            # A property may be called description too: then it is a schema and no string.
            kept = {key: each for key, each in node.items() if not (key == "description" and isinstance(each, str))}
            return {key: without_descriptions(each) for key, each in kept.items()}
        case list():
            return [without_descriptions(each) for each in node]
    return node


def references(node: Any) -> set[str]:
    match node:
        case dict():
            own = {node["$ref"].rsplit("/", 1)[1]} if isinstance(node.get("$ref"), str) else set()
            return own.union(*map(references, node.values()))
        case list():
            return set().union(*map(references, node))
    return set()


def main() -> None:
    built_in, catalog = map(Path, sys.argv[1:])
    definitions = json.loads((built_in / "_definitions.json").read_text())["$defs"]
    kinds = {kind: json.loads((built_in / f"{file}.json").read_text()) for kind, file in BUILT_IN.items()}
    for kind, file in OF_THE_OPERATOR.items():
        kinds[kind] = json.loads((catalog / "monitoring.coreos.com" / f"{file}.json").read_text())
    wanted: dict[str, Any] = {}
    missing = references(kinds)
    while missing:
        wanted |= {name: definitions[name] for name in missing}
        missing = references(wanted) - set(wanted)
    lines = [
        f"{json.dumps(name)}:{json.dumps(without_descriptions(each), separators=(',', ':'))}"
        for name, each in sorted((kinds | wanted).items())
    ]
    text = ('{"$defs":{\n' + ",\n".join(lines) + "\n}}\n").replace("/api/_definitions.json#", "#")
    json.loads(text)
    Path(__file__).with_name("kubernetes.json").write_text(text)


if __name__ == "__main__":
    main()
