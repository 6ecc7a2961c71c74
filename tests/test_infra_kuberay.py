"""infra/kuberay: what kustomize makes of it, and whether KubeRay and Kubernetes would take it."""

import shlex
import subprocess
from typing import Any

import pytest
import yaml

from components.config import load
from components.config.settings import RecursionSettings
from tests.infra import KUBERAY, OVERLAYS, SECRET, one, pods, tool

# What KubeRay 1.6 takes, by hand from its Go types (ray-operator/apis/ray/v1/raycluster_types.go and rayjob_types.go). A
# field that is not there would be dropped or refused by a cluster that this test cannot ask.
KUBERAY_FIELDS = {
    "cluster": "rayVersion authOptions enableInTreeAutoscaling autoscalerOptions headGroupSpec workerGroupSpecs",
    "authOptions": "mode",
    "autoscalerOptions": "version idleTimeoutSeconds upscalingMode resources securityContext env envFrom image imagePullPolicy volumeMounts",
    "head": "serviceType rayStartParams template headService enableIngress",
    "group": "groupName replicas minReplicas maxReplicas idleTimeoutSeconds numOfHosts rayStartParams template",
    "job": "clusterSelector submissionMode submitterConfig submitterPodTemplate entrypoint runtimeEnvYAML metadata activeDeadlineSeconds",
    "submitterConfig": "backoffLimit",
}


@pytest.fixture(scope="module")
def manifests() -> dict[str, list[dict[str, Any]]]:
    """What each overlay becomes."""
    kubectl = tool("kubectl")
    built = {}
    for overlay in OVERLAYS:
        command = [kubectl, "kustomize", KUBERAY / "overlays" / overlay]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
        built[overlay] = list(yaml.safe_load_all(run.stdout))
    return built


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kustomize_makes_the_whole_of_it(manifests: dict[str, list[dict[str, Any]]], overlay: str):
    kinds = [manifest["kind"] for manifest in manifests[overlay]]
    once = {"Namespace", "RayCluster", "RayJob", "Deployment", "StatefulSet"}
    assert once == {kind for kind in once if kinds.count(kind) == 1}
    assert kinds.count("NetworkPolicy") == 4
    assert "Secret" not in kinds
    assert ("PersistentVolumeClaim" in kinds) == (overlay == "volume")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kuberay_knows_every_field(manifests: dict[str, list[dict[str, Any]]], overlay: str):
    cluster = one(manifests[overlay], "RayCluster")
    job = one(manifests[overlay], "RayJob")
    parts = {
        "cluster": [cluster["spec"]],
        "authOptions": [cluster["spec"]["authOptions"]],
        "autoscalerOptions": [cluster["spec"]["autoscalerOptions"]],
        "head": [cluster["spec"]["headGroupSpec"]],
        "group": cluster["spec"]["workerGroupSpecs"],
        "job": [job["spec"]],
        "submitterConfig": [job["spec"]["submitterConfig"]],
    }
    assert {cluster["apiVersion"], job["apiVersion"]} == {"ray.io/v1"}
    for name, found in parts.items():
        for part in found:
            assert set(part) <= set(KUBERAY_FIELDS[name].split()), name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_cluster_has_a_token_grows_by_autoscaler_v2_and_has_gpus(
    manifests: dict[str, list[dict[str, Any]]], overlay: str
):
    spec = one(manifests[overlay], "RayCluster")["spec"]
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["enableInTreeAutoscaling"] is True
    assert spec["autoscalerOptions"]["version"] == "v2"
    for group in [spec["headGroupSpec"], *spec["workerGroupSpecs"]]:
        assert group["template"]["spec"]["restartPolicy"] == "Never"  # or KubeRay refuses it with autoscaler v2
    gpus = [
        group["template"]["spec"]["containers"][0]["resources"]["limits"].get("nvidia.com/gpu", 0)
        for group in spec["workerGroupSpecs"]
    ]
    assert sorted(gpus) == [0, 1]
    assert sum(group["minReplicas"] for group in spec["workerGroupSpecs"]) > 0  # a study counts what is there


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_pod_is_root_or_without_limits_and_secrets_come_by_reference(
    manifests: dict[str, list[dict[str, Any]]], overlay: str
):
    for pod in pods(manifests[overlay]):
        security = pod["spec"]["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] > 0
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["spec"]["containers"]:
            name = container["name"]
            assert container["securityContext"]["allowPrivilegeEscalation"] is False, name
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}, name
            for amounts in (container["resources"]["requests"], container["resources"]["limits"]):
                assert {"cpu", "memory"} <= set(amounts), name
            for variable in container.get("env", []):
                if SECRET.search(variable["name"]):
                    assert set(variable) == {"name", "valueFrom"}, f"{name}: {variable['name']}"
                    assert set(variable["valueFrom"]) == {"secretKeyRef"}, f"{name}: {variable['name']}"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_services_and_policies_select_pods_that_there_are(manifests: dict[str, list[dict[str, Any]]], overlay: str):
    operator = {"app.kubernetes.io/name": "kuberay-operator"}  # what its Helm chart gives it
    labels = [pod["metadata"]["labels"] for pod in pods(manifests[overlay])] + [operator]
    selectors = []
    for manifest in manifests[overlay]:
        if manifest["kind"] == "Service":
            selectors.append(manifest["spec"]["selector"])
        elif manifest["kind"] == "NetworkPolicy":
            assert manifest["spec"]["policyTypes"] == ["Ingress"]
            peers = [peer for rule in manifest["spec"].get("ingress", []) for peer in rule["from"]]
            selectors += [peer["podSelector"]["matchLabels"] for peer in peers]
            selectors.append(manifest["spec"]["podSelector"].get("matchLabels", {}))
    for selector in selectors:
        assert any(selector.items() <= found.items() for found in labels), selector
    assert {} in selectors  # the policy that lets nobody in, where no other says otherwise


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_study_runs_on_the_cluster_beside_it_and_reaches_its_store(
    manifests: dict[str, list[dict[str, Any]]], overlay: str
):
    cluster, job = one(manifests[overlay], "RayCluster"), one(manifests[overlay], "RayJob")
    assert job["spec"]["clusterSelector"] == {"ray.io/cluster": cluster["metadata"]["name"]}
    store = load(RecursionSettings, shlex.split(job["spec"]["entrypoint"])[3:]).store.path
    nodes = [*list(pods([cluster])), *list(pods([one(manifests[overlay], "Deployment")]))]
    for node in nodes:
        (container,) = node["spec"]["containers"]
        if store.startswith("s3://"):
            assert {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} <= {entry["name"] for entry in container["env"]}
            assert {"configMapRef": {"name": "bucket"}} in container["envFrom"]
        else:
            assert store in {mount["mountPath"] for mount in container["volumeMounts"]}
    (artifacts,) = [
        entry["value"]
        for entry in nodes[-1]["spec"]["containers"][0]["env"]
        if entry["name"] == "MLFLOW_ARTIFACTS_DESTINATION"
    ]
    assert artifacts.startswith("s3://") == store.startswith("s3://")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kubernetes_takes_what_is_not_rays(manifests: dict[str, list[dict[str, Any]]], overlay: str):
    validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed").validate
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "of-a-template"}}
    for manifest in manifests[overlay]:
        if not manifest["apiVersion"].startswith("ray.io/"):
            validate(manifest, "1.34", strict=True)
    for template in pods(manifests[overlay]):
        validate({**pod, "spec": template["spec"]}, "1.34", strict=True)
