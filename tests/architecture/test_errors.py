"""Each error of the service has its place in the drawing, a status and a reason of its own."""

from __future__ import annotations

import inspect
from collections import Counter

from lapis.client import errors as client_errors

from service import errors
from service.edge.status import CODES, DOMAIN

ERRORS = [error for _, error in inspect.getmembers(errors, inspect.isclass) if issubclass(error, errors.ServiceError)]


def test_every_error_that_callers_see_has_a_status() -> None:
    assert set(CODES) == set(ERRORS)


def test_reasons_are_unique() -> None:
    assert [reason for reason, times in Counter(error.reason for error in ERRORS).items() if times > 1] == []


def test_every_error_is_in_the_drawing() -> None:
    classes = [name for name, one in inspect.getmembers(errors, inspect.isclass) if one.__module__ == errors.__name__]
    drawing = errors.__doc__ or ""
    assert [name for name in classes if name not in drawing] == []


def test_domain_is_the_one_that_clients_look_for() -> None:
    assert DOMAIN == client_errors.DOMAIN
