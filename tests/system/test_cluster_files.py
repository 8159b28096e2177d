"""The manifest for Kubernetes: it is consistent, and its command runs as two pods."""

from __future__ import annotations

import os
import pathlib
import re
import socket
import subprocess
import sys

import pytest
import yaml

ROOT = pathlib.Path(__file__).parents[2]


def load_manifest() -> tuple[dict, dict]:
    service, job = yaml.safe_load_all((ROOT / "docs/cluster/kubernetes.yaml").read_text())
    return service, job


def test_the_coordinator_is_the_first_pod_of_the_job():
    service, job = load_manifest()
    spec = job["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    environment = {one["name"]: one["value"] for one in container["env"]}
    name = job["metadata"]["name"]
    assert (service["kind"], job["kind"], spec["completionMode"]) == ("Service", "Job", "Indexed")
    assert service["spec"]["clusterIP"] == "None" and service["spec"]["selector"] == {"job-name": name}
    assert spec["template"]["spec"]["subdomain"] == service["metadata"]["name"]
    assert environment["COORDINATOR"].startswith(f"{name}-0.{service['metadata']['name']}:")
    assert int(environment["NUM_PROCESSES"]) == spec["completions"] == spec["parallelism"]


@pytest.mark.slow
def test_its_command_makes_a_run_of_two_pods(tmp_path):
    _, job = load_manifest()
    (container,) = job["spec"]["template"]["spec"]["containers"]
    with socket.socket() as free:
        free.bind(("localhost", 0))
        coordinator = f"localhost:{free.getsockname()[1]}"
    (text,) = container["args"]
    replaced = {"python ": f"{sys.executable} ", "/data": str(tmp_path), "configs/anthems.py": "configs/smoke.py"}
    for there, here in replaced.items():
        assert there in text
        text = text.replace(there, here)
    text += " --config.train.batch_size=8"
    pods = [
        subprocess.Popen(
            [*container["command"], text],
            cwd=ROOT,
            env=os.environ | {"COORDINATOR": coordinator, "NUM_PROCESSES": "2", "JOB_COMPLETION_INDEX": str(n)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for n in range(2)
    ]
    outputs = [pod.communicate(timeout=900)[0] for pod in pods]
    assert [pod.returncode for pod in pods] == [0, 0], outputs
    assert "everything is in" in outputs[0]
    assert (tmp_path / "runs/anthems/report.html").exists()


def test_every_flag_in_the_examples_exists():
    flags = set()
    for path in (ROOT / "docs/cluster").iterdir():
        flags |= set(re.findall(r"--([a-z]+_[a-z_]+|distributed)\b", path.read_text()))
    answer = subprocess.run(
        [sys.executable, "run.py", "--helpfull"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    defined = set(re.findall(r"--(?:\[no\])?(\w+)", answer.stdout))
    assert flags and flags <= defined, flags - defined
