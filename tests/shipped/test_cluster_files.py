"""The files of cluster/: checked by the strictest means that there are without a cloud."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = ROOT / "cluster"
LAUNCHED = sorted(CLUSTER.glob("*.yaml"))
KUBERNETES = "1.34"


def documents(*files: str) -> list[dict[str, Any]]:
    return [one for file in files for one in yaml.safe_load_all((CLUSTER / "kuberay" / file).read_text())]


def pod_templates(cluster: dict[str, Any]) -> Iterator[dict[str, Any]]:
    spec = cluster["spec"]
    yield from (group["template"] for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]))


def closed(schema: Any) -> Any:
    """Returns a CRD's schema that refuses keys it does not name, as the API server prunes them without a word."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    done = {key: closed(value) for key, value in schema.items()}
    if "properties" in schema and isinstance(schema["properties"], dict) and "additionalProperties" not in schema:
        done["additionalProperties"] = False
    return done


def test_shellcheck_has_nothing_to_say_of_the_scripts() -> None:
    scripts = [str(script) for script in sorted(CLUSTER.glob("*.sh"))]
    command = [str(Path(sys.executable).parent / "shellcheck"), "--severity=style", *scripts]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("file", LAUNCHED, ids=lambda file: file.name)
def test_ray_up_accepts_the_file_and_no_other_keys(file: Path) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load(file.read_text())
    validate_config(prepare_config(copy.deepcopy(config)))
    workers = [kind for name, kind in config["available_node_types"].items() if name != config["head_node_type"]]
    assert [kind["min_workers"] for kind in workers] == [0]
    config["idle_timeout_minuts"] = 5
    with pytest.raises(jsonschema.ValidationError, match=r"'idle_timeout_minuts' was unexpected"):
        validate_config(prepare_config(config))


@pytest.mark.parametrize("file", LAUNCHED, ids=lambda file: file.name)
def test_the_launched_nodes_want_a_token_and_carry_no_secret(file: Path) -> None:
    config = yaml.safe_load(file.read_text())
    for commands in ("head_start_ray_commands", "worker_start_ray_commands"):
        starts = [command for command in config[commands] if "ray start" in command]
        assert len(starts) == 1
        assert starts[0].startswith("RAY_AUTH_MODE=token "), starts[0]
    assert {"docker/secrets", ".venv"} <= set(config["rsync_exclude"])


def test_kubernetes_accepts_the_services_and_no_other_keys() -> None:
    for document in documents("services.yaml"):
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
    (policy, _) = [one for one in documents("services.yaml") if one["kind"] == "NetworkPolicy"]
    policy["spec"]["ingres"] = policy["spec"].pop("ingress")
    with pytest.raises(kubernetes_validate.ValidationError, match=r"\('ingres' was unexpected\)"):
        kubernetes_validate.validate(policy, KUBERNETES, strict=True)


def test_kubernetes_accepts_the_pods_of_the_ray_cluster() -> None:
    (cluster,) = documents("raycluster.yaml")
    for template in pod_templates(cluster):
        pod = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "ray"}, "template": template}
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)
        assert template["spec"]["securityContext"]["runAsNonRoot"] is True


def test_kuberays_own_definitions_accept_its_resources_and_no_other_keys() -> None:
    folder = os.environ.get("KUBERAY_CRDS")
    if not folder:
        pytest.skip("KUBERAY_CRDS must name the folder `ray-operator/config/crd/bases` of a KubeRay checkout")
    for file in ("raycluster", "rayjob"):
        (document,) = documents(f"{file}.yaml")
        definition = yaml.load(Path(folder, f"ray.io_{file}s.yaml").read_text(), Loader=yaml.CSafeLoader)
        (version,) = [one for one in definition["spec"]["versions"] if one["name"] == "v1"]
        schema = closed(version["schema"]["openAPIV3Schema"])
        schema["properties"]["metadata"] = {"type": "object"}
        jsonschema.validate(document, schema)
        document["spec"]["rayVersoin"] = "2.60.0"
        with pytest.raises(jsonschema.ValidationError, match=r"'rayVersoin' was unexpected"):
            jsonschema.validate(document, schema)


def test_the_job_runs_on_the_cluster_that_the_policies_let_in() -> None:
    (cluster,), (job,) = documents("raycluster.yaml"), documents("rayjob.yaml")
    assert job["spec"]["clusterSelector"] == {"ray.io/cluster": cluster["metadata"]["name"]}
    for policy in (one for one in documents("services.yaml") if one["kind"] == "NetworkPolicy"):
        allowed = [peer["podSelector"]["matchLabels"] for peer in policy["spec"]["ingress"][0]["from"]]
        assert {"ray.io/cluster": cluster["metadata"]["name"], "ray.io/node-type": "head"} in allowed


def test_the_slurm_job_says_what_it_needs_and_goes_on_when_it_is_submitted_again() -> None:
    lines = (CLUSTER / "slurm.sh").read_text().splitlines()
    options = {line.split()[1].partition("=")[0] for line in lines if line.startswith("#SBATCH")}
    assert {"--nodes", "--cpus-per-task", "--gpus-per-node", "--time", "--signal", "--requeue"} <= options
