"""What stands below the help of `sae-encode` and of its commands: examples, and how a command ends."""

EXAMPLES = """\b
Examples:
  sae-encode run activations/ --out features       with the default SAE: GemmaScope 2B, layer 16
  sae-encode run acts.npy --out features --sae-path params.npz
  sae-encode stats features
  sae-encode index features                        by feature: where each one fires; the dashboard uses it
  sae-encode submit activations/ --queue queue     then, as often as you like, here or elsewhere:
  sae-encode work --queue queue

\b
Defaults come from config/encoder.toml and SAE_ENCODE_* environment variables.
An SAE is named by --sae-release and --sae-id, as SAELens knows it, or by --sae-path: a SAELens folder,
or a GemmaScope params.npz."""

RUN_EXAMPLES = """\b
INPUT is a file or a folder: .npy, .safetensors, .pt, SAELens, dictionary_learning and other stores.
Examples:
  sae-encode run activations/ --out features
  sae-encode run activations/ --out features --sae-release gpt2-small-res-jb --sae-id blocks.8.hook_resid_pre
  sae-encode run capture.pt --out features --select layer=16,component=residual
  sae-encode run activations/ --out features --workers 2 --values float16
  sae-encode run s3://lab/acts --out s3://lab/features --engine ray --ray-address 10.0.0.1:6379
  sae-encode run s3://lab/acts --out s3://lab/features    gs://, az:// and file:// too; hf:// to read from

\b
Exit status: 0 all done, 1 some shards failed, 2 bad usage, 130 interrupted by Ctrl-C, 143 by SIGTERM."""

WORK_EXAMPLES = """\b
Examples:
  sae-encode work --queue queue                    until the queue is done
  sae-encode work --queue queue --watch            for ever, and take what is dropped into queue/inbox/
Killing it is safe at any instant: what it was at goes back to the queue."""

INDEX_EXAMPLES = """\b
Examples:
  sae-encode index features
  sae-encode index features --memory-mb 64
Where DIR/features.csc is of the shards that are there, nothing is done."""

TEMPLATE_EXAMPLES = """\b
Examples:
  sae-encode template slurm activations/ --out features --workers 32 > encode.sh; sbatch encode.sh
  sae-encode template kubernetes /data/acts --out /data/features --image registry/saefetch:1 > job.yaml
Each task is `sae-encode run ... --part I/N`: every N-th shard. What is printed says what to change."""
