"""An Indexed Job for Kubernetes."""

from __future__ import annotations

import json

from encoder.engines.template import DEFAULT_IMAGE, INSTALL, Job

SECRET = "sae-encode-credentials"
CLAIM = "sae-encode-data"


def manifest(job: Job) -> str:
    """Return a manifest for `kubectl apply`."""
    env_file = job.env_file or "FILE"
    # What the user named must not be taken for a variable of Kubernetes, which are written $(NAME).
    words = tuple(word.replace("$(", "$$(") for word in job.words)
    command = Job(words, job.workers, job.time, job.gpus, job.image, job.env_file, job.folder).command("${part}")
    script = ["set -eu", *([] if job.image else [f"{INSTALL}  # an image that has it starts sooner: --image"])]
    script += ["part=$((JOB_COMPLETION_INDEX + 1))  # indexes begin at 0, parts at 1", f"exec {command}"]
    gpu = f"\n              nvidia.com/gpu: {job.n_gpus}" if job.n_gpus else ""
    mounts = volumes = ""
    if job.folder:
        path = json.dumps(job.folder)
        mounts = f"\n          volumeMounts:\n            - name: data\n              mountPath: {path}"
        volumes = (
            "\n      volumes:\n        - name: data  # change: the claim that has the shards, and takes the results"
            f"\n          persistentVolumeClaim:\n            claimName: {CLAIM}"
        )
    body = "\n".join(f"              {line}" for line in script)
    return f"""\
# Start it with: kubectl apply -f FILE. To do what is missing later: kubectl delete job sae-encode, and apply it again;
# finished shards are not done twice.
# Credentials of a store come from the environment. They are in the secret {SECRET}, made by
#   kubectl create secret generic {SECRET} --from-env-file={env_file}
# with lines such as AWS_ACCESS_KEY_ID=... in the file; none is written here.
apiVersion: batch/v1
kind: Job
metadata:
  name: sae-encode
spec:
  completionMode: Indexed
  completions: {job.workers}  # parts; more parts than machines is well, as a part that is lost costs less
  parallelism: {job.workers}  # at a time
  backoffLimitPerIndex: 3  # a part that fails, or whose node is lost, begins again, with what is missing
  template:
    spec:
      restartPolicy: Never
      activeDeadlineSeconds: {job.seconds}
      containers:
        - name: sae-encode
          image: {json.dumps(job.image or DEFAULT_IMAGE)}
          envFrom:
            - secretRef:
                name: {SECRET}
                optional: true
          command: ["/bin/sh", "-c"]
          args:
            - |
{body}
          resources:
            requests:
              cpu: 8
              memory: 32Gi
            limits:
              memory: 32Gi{gpu}{mounts}{volumes}
"""
