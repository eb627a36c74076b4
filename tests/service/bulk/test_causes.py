"""What Ray says at length, in one line that names the cause."""

from __future__ import annotations

import pytest

from service.bulk.cluster import RETRIES, cause_of

TRACEBACK = """Traceback (most recent call last):
  File "udf.py", line 3, in call
    raise ValueError("the picture's fault")
ValueError: the picture's fault

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "plan.py", line 482, in handle
UserCodeException: UDF failed to process a data block.
"""
DIED = """The actor died unexpectedly before finishing this task.
\tclass_name: MapWorker
\tactor_id: 0123
The actor is dead because its worker process has died. There are some potential root causes. (1) The process is killed.
Check the logs."""


def test_exception_of_a_task_is_told_of_by_its_cause() -> None:
    exceptions = pytest.importorskip("ray.exceptions")
    cause = exceptions.UserCodeException("UDF failed to process a data block.")
    error = exceptions.RayTaskError("f", TRACEBACK, cause, proctitle="p", pid=1, ip="127.0.0.1")
    assert cause_of(error.as_instanceof_cause()) == "Ray: ValueError: the picture's fault"


def test_death_of_an_actor_is_told_of_without_advice_on_logs() -> None:
    exceptions = pytest.importorskip("ray.exceptions")
    told = cause_of(exceptions.RayActorError(error_msg=DIED))
    assert told.startswith(
        "Ray: The actor died unexpectedly before finishing this task. The actor is dead because its worker process has "
        f"died. What ends its actor is tried {RETRIES} times"
    )


def test_other_trouble_is_told_of_as_it_is() -> None:
    exceptions = pytest.importorskip("ray.exceptions")
    assert cause_of(exceptions.OutOfDiskError("the disk is full")).startswith("Ray: OutOfDiskError: ")
