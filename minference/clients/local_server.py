"""The child process of the local client: `python -m minference.clients.local_server MODEL ...`.

It serves the model over HTTP on a free port of 127.0.0.1 and writes one line with the address to its standard output as
soon as it answers. It ends when its standard input does, so it cannot outlive its parent, whatever ends that.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(prog="minference.clients.local_server")
    parser.add_argument("model", help="a GGUF file")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--slots", type=int, required=True, help="requests that are answered at once; more wait")
    parser.add_argument("--context", type=int, required=True, help="tokens that all slots share")
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which lets answers in flight come first
    server = _serve(arguments)
    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    sys.stdin.buffer.read()
    os._exit(0)  # nothing is to be saved, and joining the server's threads would wait for answers that nobody reads


def _serve(arguments: argparse.Namespace) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = arguments.model
    params.model_alias = {Path(arguments.model).stem}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_parallel = arguments.slots
    params.n_ctx = arguments.context
    params.kv_unified = True
    for cpu in (params.cpuparams, params.cpuparams_batch):
        cpu.n_threads = arguments.threads
        cpu.poll = 0
    params.n_gpu_layers = 0
    params.warmup = False
    params.cors_origins = "http://127.0.0.1"  # pages in the browser of whoever runs this are none of the model's business
    params.ui = False
    params.endpoint_slots = False
    params.verbosity = 2
    return xllamacpp.Server(params)


if __name__ == "__main__":
    main()
