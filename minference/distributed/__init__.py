"""Threads of a named run, done by workers on several machines.

The queue is procrastinate's, in the PostgreSQL database that also holds the threads: it gives jobs to workers, and finds the
jobs of workers that died. A job is a part of a run: some ids of threads. What is done with them is what `resume` does.

- `queue`: `WorkQueue`, which enters threads into a run and defers its jobs.
- `worker`: `Worker`, which does jobs until it is told to stop.
- `parts`: what a job carries, and doing one.
- `claims`: who is at which thread, so that no two workers pay for one reply.
- `engine`: everything that knows procrastinate.
"""

from __future__ import annotations

from minference.distributed.parts import Part, PartDone
from minference.distributed.queue import QueueOptions, WorkQueue
from minference.distributed.worker import Worker

__all__ = ["Part", "PartDone", "QueueOptions", "WorkQueue", "Worker"]
