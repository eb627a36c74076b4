"""Kubernetes' HorizontalPodAutoscaler, as far as its numbers go: from a measure to a number of replicas.

Follows the algorithm of autoscaling/v2 (kubernetes.io, "Horizontal Pod Autoscaling", and the controller's
`replica_calculator.go` and `horizontal.go`): tolerance, stabilisation windows, and policies of pods or percent per
period.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

TOLERANCE = 0.1
SYNC_SECONDS = 15.0

Direction = Literal["up", "down"]


@dataclass(frozen=True)
class Policy:
    """How many replicas may come or go within a period."""

    kind: Literal["Pods", "Percent"]
    value: float
    period: float

    def bound(self, replicas: float, direction: Direction) -> float:
        """Returns the most, or the least, that there may be after a period that began with `replicas`."""
        sign = 1 if direction == "up" else -1
        if self.kind == "Pods":
            return replicas + sign * self.value
        share = replicas * (1 + sign * self.value / 100)
        return math.ceil(share) if direction == "up" else math.floor(share)


@dataclass(frozen=True)
class Rules:
    """What holds for one direction; no policies: no bound, and `is_disabled` allows no change at all."""

    window: float
    policies: tuple[Policy, ...] = ()
    widest: bool = True
    is_disabled: bool = False


# What holds where an HPA says nothing.
_UP = Rules(0.0, (Policy("Pods", 4, 15), Policy("Percent", 100, 15)))
_DOWN = Rules(300.0, (Policy("Percent", 100, 15),))


@dataclass(frozen=True)
class Behaviour:
    """The bounds of an HPA, and how fast it may move between them."""

    least: int
    most: int
    up: Rules = _UP
    down: Rules = _DOWN


def behaviour(spec: dict[str, Any]) -> Behaviour:
    """Returns what an HPA's `spec` says."""
    said = spec.get("behavior", {})
    return Behaviour(
        int(spec.get("minReplicas", 1)),
        int(spec["maxReplicas"]),
        _rules(said.get("scaleUp", {}), _UP),
        _rules(said.get("scaleDown", {}), _DOWN),
    )


def _rules(said: dict[str, Any], usual: Rules) -> Rules:
    policies = tuple(
        Policy(policy["type"], float(policy["value"]), float(policy["periodSeconds"]))
        for policy in said.get("policies") or ()
    )
    choice = said.get("selectPolicy", "Max")
    return Rules(
        float(said.get("stabilizationWindowSeconds", usual.window)),
        policies or usual.policies,
        choice == "Max",
        choice == "Disabled",
    )


def wanted(total: float, target: float, replicas: int) -> int:
    """Returns the replicas that bring a total to `target` each, or as many as there are within the tolerance."""
    ratio = total / (target * replicas) if replicas else math.inf
    return replicas if abs(ratio - 1) <= TOLERANCE else math.ceil(total / target - 1e-9)


@dataclass
class Autoscaler:
    """Decides again and again; remembers what it recommended and what it changed."""

    behaviour: Behaviour
    _recommended: list[tuple[float, int]] = field(default_factory=list)
    _changed: list[tuple[float, int]] = field(default_factory=list)

    def decide(self, now: float, replicas: int, recommendation: int) -> int:
        """Returns how many replicas there shall be; to be called every `SYNC_SECONDS`."""
        decided = self._bounded(now, replicas, self._stabilised(now, replicas, recommendation))
        if decided != replicas:
            self._changed.append((now, decided - replicas))
        return decided

    def _stabilised(self, now: float, replicas: int, recommendation: int) -> int:
        """Goes up no further than the least, and down no further than the most, that its window recommended."""
        self._recommended.append((now, recommendation))
        up, down = self.behaviour.up.window, self.behaviour.down.window
        self._recommended = [one for one in self._recommended if one[0] > now - max(up, down, 1e-9)]
        least = min([recommendation, *(value for at, value in self._recommended if at > now - up)])
        most = max([recommendation, *(value for at, value in self._recommended if at > now - down)])
        return min(max(replicas, least), most)

    def _bounded(self, now: float, replicas: int, stabilised: int) -> int:
        held = self.behaviour
        if stabilised > replicas:
            highest = self._limit(now, replicas, held.up, "up")
            stabilised = min(stabilised, max(replicas, int(highest)) if math.isfinite(highest) else stabilised)
        elif stabilised < replicas:
            lowest = self._limit(now, replicas, held.down, "down")
            stabilised = max(stabilised, min(replicas, int(lowest)) if math.isfinite(lowest) else stabilised)
        return min(max(stabilised, held.least), held.most)

    def _limit(self, now: float, replicas: int, rules: Rules, direction: Direction) -> float:
        if rules.is_disabled:
            return replicas
        sign = 1 if direction == "up" else -1
        bounds = []
        for policy in rules.policies:
            since = sum(change for at, change in self._changed if at > now - policy.period and change * sign > 0)
            bounds.append(policy.bound(replicas - since, direction))
        return (max(bounds) if rules.widest == (direction == "up") else min(bounds)) if bounds else sign * math.inf
