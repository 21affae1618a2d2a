"""Every overlay of kubernetes/, rendered, against the schemas of Kubernetes and against itself."""

import json
from pathlib import Path

import jsonschema
import pytest

from support.manifests import KUBERNETES, OVERLAYS, ROOT, Overlay, overlay, render

SCHEMAS = json.loads((Path(__file__).parent / "schemas" / "kubernetes.json").read_text())
ALWAYS = {"ConfigMap", "Service", "Deployment", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy"}
WATCHED = {"ServiceMonitor", "PrometheusRule"}
# What the owner of the cluster makes: docs/kubernetes.md has a command for each.
FROM_THE_OWNER = {"liveness-api-keys", "liveness-bundle-keys", "liveness-metrics-key", "liveness-models"}


@pytest.fixture(params=OVERLAYS)
def rendered(request) -> Overlay:
    return overlay(request.param)


def assert_valid(manifest) -> None:
    jsonschema.Draft7Validator(
        SCHEMAS | {"$ref": f"#/$defs/{manifest['apiVersion'].replace('/', '~1')}~1{manifest['kind']}"}
    ).validate(manifest)


def selects(selector, labels) -> bool:
    return selector["matchLabels"].items() <= labels.items()


def test_there_are_these_overlays():
    assert set(OVERLAYS) == {"cpu", "gpu", "with-bundles", "with-prometheus-operator"}


def test_kubernetes_knows_every_object_and_field(rendered):
    for each in rendered.objects:
        assert_valid(each)


def test_a_misspelt_field_would_be_seen():
    manifest = json.loads(json.dumps(overlay("cpu").one("Deployment")))
    manifest["spec"]["template"]["spec"]["terminationGracePeriodSecond"] = 60
    with pytest.raises(jsonschema.ValidationError):
        assert_valid(manifest)


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_has_each_object_once(name):
    kinds = [each["kind"] for each in overlay(name).objects]
    assert sorted(kinds) == sorted(ALWAYS | (WATCHED if name == "with-prometheus-operator" else set()))


def test_service_budget_autoscaler_and_policy_are_about_the_pods(rendered):
    labels = rendered.pod["metadata"]["labels"]
    deployment = rendered.one("Deployment")
    assert selects(deployment["spec"]["selector"], labels)
    assert rendered.one("Service")["spec"]["selector"].items() <= labels.items()
    assert selects(rendered.one("PodDisruptionBudget")["spec"]["selector"], labels)
    assert selects(rendered.one("NetworkPolicy")["spec"]["podSelector"], labels)
    for each in rendered.pod["spec"]["topologySpreadConstraints"]:
        assert selects(each["labelSelector"], labels)
    assert rendered.one("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"] == {
        "apiVersion": deployment["apiVersion"],
        "kind": deployment["kind"],
        "name": deployment["metadata"]["name"],
    }


def test_the_service_and_the_policy_lead_to_the_containers_port(rendered):
    (inside,) = rendered.container["ports"]
    (port,) = rendered.one("Service")["spec"]["ports"]
    assert port["targetPort"] == inside["name"]
    (ingress,) = rendered.one("NetworkPolicy")["spec"]["ingress"]
    assert ingress["ports"] == [{"protocol": "TCP", "port": inside["containerPort"]}]
    assert ingress["from"], "an empty list lets everybody in"


def test_the_policy_leaves_names_and_nothing_else_to_reach(rendered):
    policy = rendered.one("NetworkPolicy")["spec"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    assert {port["port"] for rule in policy["egress"] for port in rule["ports"]} == {53}
    assert all(rule["to"] for rule in policy["egress"])


def test_every_volume_is_declared_mounted_and_there(rendered):
    volumes = {each["name"]: each for each in rendered.pod["spec"]["volumes"]}
    mounts = {each["name"]: each for each in rendered.container["volumeMounts"]}
    assert set(volumes) == set(mounts)
    for name, volume in volumes.items():
        if "emptyDir" in volume:
            assert "sizeLimit" in volume["emptyDir"]
            continue
        source = (
            volume.get("secret", {}).get("secretName")
            or volume.get("configMap", {}).get("name")
            or volume["persistentVolumeClaim"]["claimName"]
        )
        assert source in FROM_THE_OWNER
        assert mounts[name]["readOnly"] is True


def test_the_keys_that_bundles_are_trusted_by_do_not_lie_where_bundles_do():
    bundles = overlay("with-bundles")
    [keys] = [each for each in bundles.pod["spec"]["volumes"] if each["name"] == "bundle-keys"]
    assert keys["configMap"] == {"name": "liveness-bundle-keys", "optional": True}
    [mounted] = [each["mountPath"] for each in bundles.container["volumeMounts"] if each["name"] == "bundle-keys"]
    assert f"LIVENESS_BUNDLE_PUBLIC_KEYS={mounted}\n" in (ROOT / "docs" / "kubernetes.md").read_text()
    assert not mounted.startswith("/models")


def test_the_owner_is_told_to_make_what_is_not_here():
    guide = (ROOT / "docs" / "kubernetes.md").read_text()
    for name in FROM_THE_OWNER:
        assert name in guide


def test_no_key_is_in_the_repository(rendered):
    assert not rendered.has("Secret")
    text = "".join(path.read_text() for path in KUBERNETES.rglob("*.yaml"))
    assert "lv_" not in text


def test_nodes_can_be_drained_and_an_update_takes_no_pod_away_first(rendered):
    assert rendered.one("Deployment")["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    least = rendered.one("HorizontalPodAutoscaler")["spec"]["minReplicas"]
    assert 0 < rendered.one("PodDisruptionBudget")["spec"]["maxUnavailable"] < least


def test_applying_again_leaves_the_autoscalers_number(rendered):
    assert "replicas" not in rendered.one("Deployment")["spec"]


def test_the_pod_meets_the_restricted_standard(rendered):
    """Of https://kubernetes.io/docs/concepts/security/pod-security-standards/, and a root that is read-only."""
    pod, container = rendered.pod["spec"], rendered.container["securityContext"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001  # the image's: docker/service-cpu.Dockerfile
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & set(pod)


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_gpu_overlay_alone_asks_for_a_gpu(name):
    rendered = overlay(name)
    gpu = name == "gpu"
    assert rendered.container["image"] == f"face-liveness:{'gpu' if gpu else 'cpu'}"
    limits = rendered.container["resources"]["limits"]
    assert limits.get("nvidia.com/gpu") == ("1" if gpu else None)
    assert limits["memory"] == rendered.container["resources"]["requests"]["memory"]
    pod = rendered.pod["spec"]
    assert pod.get("nodeSelector", {}) == ({"nvidia.com/gpu.present": "true"} if gpu else {})
    assert [each["key"] for each in pod.get("tolerations", [])] == (["nvidia.com/gpu"] if gpu else [])


def test_the_overlay_that_the_guide_shows_renders(tmp_path):
    """As somebody would write it, beside ours: registry, keys, a model, Redis."""
    (tmp_path / "kubernetes").symlink_to(KUBERNETES)
    own = tmp_path / "production"
    own.mkdir()
    for part in (ROOT / "docs" / "kubernetes.md").read_text().split("```yaml\n# ")[1:]:
        name, content = part.split("```")[0].split("\n", 1)
        (own / name).write_text(content)
    rendered = render(own)
    for each in rendered.objects:
        assert_valid(each)
        assert each["metadata"]["namespace"] == "liveness"
    assert rendered.container["image"] == "registry.example.com/face-liveness:0.1.0-cpu"
    assert rendered.settings["LIVENESS_ACTIVE_MODEL"] == "office-doors-2"
    assert rendered.settings["LIVENESS_RATE_LIMIT_STORE"].startswith("redis://")
    # Policies of one pod add up.
    policies = [each["spec"] for each in rendered.objects if each["kind"] == "NetworkPolicy"]
    assert all(selects(each["podSelector"], rendered.pod["metadata"]["labels"]) for each in policies)
    ports = {port["port"] for each in policies for rule in each["egress"] for port in rule["ports"]}
    assert ports == {53, 6379}
