"""Which values the chart is tried with: every option of every feature by itself, mixes of them, and the ready profiles.

A feature has options, each with all the values that it needs. Of the mixes, every two options that go together meet in
one at least.
"""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Values = dict[str, Any]
Pair = tuple[tuple[str, str], tuple[str, str]]

SUM = "ab" * 32
DIGEST = f"sha256:{SUM}"
LONGEST_RELEASE = "an-endless-row-of-pictures-of-cats-and-of-their-boxes"  # 53 characters, the most that Helm takes

GATEWAY = {
    "enabled": True,
    "parentRefs": [{"name": "public", "namespace": "gateways", "sectionName": "grpc"}],
    "hostnames": ["pictures.example.com"],
}
STATUS = {"enabled": True, "hostnames": ["status.example.com"]}
ISSUER = {"name": "ours", "kind": "ClusterIssuer"}
PEER = {"namespaceSelector": {"matchLabels": {"team": "maps"}}, "podSelector": {"matchLabels": {"app": "atlas"}}}
CANARY = {"enabled": True, "weight": 20, "replicas": 2}
TENSORRT = {"kind": "gpu", "tensorrt": {"enabled": True}}
AFFINITY = {
    "podAntiAffinity": {
        "preferredDuringSchedulingIgnoredDuringExecution": [
            {
                "weight": 10,
                "podAffinityTerm": {
                    "topologyKey": "kubernetes.io/hostname",
                    "labelSelector": {"matchLabels": {"heavy": "yes"}},
                },
            }
        ]
    }
}


def _download(url: str, **more: str) -> Values:
    return {"model": {"source": "download", "download": {"url": url, **more}}}


def _scaled(kind: str, **more: Values) -> Values:
    return {"autoscaling": {"kind": kind, **more}, "monitoring": {"rules": {"enabled": True}}}


FEATURES: dict[str, dict[str, Values]] = {
    "accelerator": {
        "cpu": {},
        "gpu": {"accelerator": {"kind": "gpu", "product": "NVIDIA-H100-80GB-HBM3", "runtimeClassName": "nvidia"}},
        "gpus": {"accelerator": {"kind": "gpu", "count": 4}, "resources": {"requests": {"cpu": 8, "memory": "16Gi"}}},
        "shared": {"accelerator": {"kind": "shared"}},
        "mig": {"accelerator": {"kind": "mig", "migProfile": "1g.10gb"}},
        "other": {"accelerator": {"kind": "gpu", "resource": "example.com/gpu"}},
        "tensorrt": {"accelerator": {**TENSORRT, "tensorrt": {"enabled": True, "fp16": True}}},
        "cache made": {"accelerator": {**TENSORRT, "engineCache": {"enabled": True, "storageClass": "fast"}}},
        "cache there": {"accelerator": {**TENSORRT, "engineCache": {"enabled": True, "existingClaim": "engines"}}},
    },
    "model": {
        "bundled": {},
        "image": {"model": {"source": "image", "image": {"reference": "r.example/facades:3", "subPath": "models"}}},
        "claim": {"model": {"source": "claim", "claim": {"name": "models", "subPath": "live"}, "default": "facades"}},
        "s3": _download("s3://bucket/models", secretName="bucket-keys"),
        "https": _download("https://files.example:8443/facades.onnx", sha256=SUM, **{"as": "facades/3"}),
        "minio": _download("s3://bucket/models", endpoint="http://minio:9000"),
        "oci": _download("oci://r.example:5000/models/facades:3", sizeLimit="500M"),
    },
    "settings": {
        "none": {},
        "some": {"settings": {"max_batch_size": 16, "workers": 2, "host": "::", "otlp_endpoint": "http://c:4317"}},
    },
    "scaling": {
        "none": {"replicas": 3},
        "one": {"replicas": 1},
        "hpa": _scaled("hpa"),
        "hpa queue": _scaled("hpa", busy={"target": 0}, queue={"target": 0.25}),
        "keda": {"autoscaling": {"kind": "keda", "keda": {"prometheus": "http://prometheus:9090"}}},
        "keda queue": {
            "autoscaling": {
                "kind": "keda",
                "queue": {"target": 0.2},
                "keda": {
                    "prometheus": "https://prometheus",
                    "fallbackReplicas": 4,
                    "authentication": "bearer",
                    "authModes": "bearer",
                },
            }
        },
    },
    "canary": {
        "none": {},
        "image": {"canary": {**CANARY, "image": {"tag": "0.2.0", "pullSecrets": ["next"]}}},
        "model": {"canary": {**CANARY, **_download("s3://bucket/next", secretName="next-keys")}},
        "settings": {"canary": {**CANARY, "settings": {"max_batch_size": 2}}},
    },
    "tls": {
        "none": {},
        "there": {"tls": {"enabled": True, "secretName": "certificate"}},
        "made": {"tls": {"enabled": True, "certManager": {"enabled": True, "issuerRef": ISSUER}}},
        "before a gateway": {
            "tls": {"enabled": True, "secretName": "certificate"},
            "gateway": {**GATEWAY, "backendTLS": {"authority": "authority"}},
        },
        "callers": {
            "tls": {"enabled": True, "secretName": "certificate", "clientCASecretName": "authority"},
            "test": {"clientSecretName": "caller", "server": "pictures.example.com:443"},
        },
        "callers untested": {"tls": {"enabled": True, "secretName": "certificate", "clientCASecretName": "authority"}},
    },
    "tokens": {"none": {}, "some": {"tokens": {"secretName": "callers"}}},
    "network": {
        "own namespace": {},
        "open": {"networkPolicy": {"enabled": False}},
        "named": {
            "networkPolicy": {
                "callers": [PEER],
                "scrapers": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
                "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{"port": 4317, "protocol": "TCP"}]}],
            }
        },
    },
    "service": {
        "plain": {},
        "balancer": {
            "service": {"type": "LoadBalancer", "port": 443, "httpPort": 80, "annotations": {"example.com/lb": "on"}},
            "client": {"balancing": "weighted_round_robin", "maxAttempts": 2},
        },
    },
    "entrance": {
        "none": {},
        "gateway": {"gateway": GATEWAY},
        "gateway http": {"gateway": {**GATEWAY, "http": STATUS}},
        "gateway header": {"gateway": GATEWAY, "canary": {**CANARY, "header": {"lapis-track": "canary"}}},
        "nginx": {
            "ingress": {"enabled": True, "className": "nginx", "host": "p.example.com", "tlsSecretName": "public"}
        },
        "ingress": {"ingress": {"enabled": True, "host": "p.example.com", "annotations": {"a.example/b": "c"}}},
    },
    "platform": {"ours": {}, "openshift": {"pod": {"user": 0}}},
    "account": {
        "made": {},
        "named": {"serviceAccount": {"name": "models", "annotations": {"example.com/role": "reader"}}},
        "there": {"serviceAccount": {"create": False, "name": "models"}},
        "default": {"serviceAccount": {"create": False}},
    },
    "monitor": {
        "none": {},
        "service": {"monitoring": {"monitor": "service", "interval": 5, "labels": {"release": "prometheus"}}},
        "pod": {"monitoring": {"monitor": "pod"}},
    },
    "figures": {
        "none": {},
        "rules": {
            "monitoring": {
                "rules": {"enabled": True, "disabled": ["LapisSaturated"], "latencySeconds": 0.3},
                "labels": {"release": "prometheus"},
            }
        },
        "dashboard": {"monitoring": {"dashboard": {"enabled": True, "annotations": {"folder": "Pictures"}}}},
    },
    "kserve": {
        "none": {},
        "service": {"kserve": {"kind": "inferenceService"}},
        "runtime": {"kserve": {"kind": "servingRuntime"}},
    },
    "budget": {
        "one": {},
        "share": {"podDisruptionBudget": {"maxUnavailable": "25%"}},
        "none": {"podDisruptionBudget": {"enabled": False}},
    },
    "rollout": {
        "by itself": {},
        "at once": {
            "rollout": {
                "maxSurge": "25%",
                "maxUnavailable": "50%",
                "endpointDelay": 0,
                "connectionAge": 0,
                "revisions": 0,
            }
        },
    },
    "placement": {
        "anywhere": {},
        "here": {
            "placement": {
                "nodeSelector": {"disk": "fast"},
                "tolerations": [{"key": "pictures", "operator": "Equal", "value": "yes", "effect": "NoExecute"}],
                "affinity": AFFINITY,
                "spreadOver": [],
            }
        },
        "first": {"placement": {"priorityClassName": "high", "spreadOver": ["kubernetes.io/hostname"]}},
    },
    "image": {
        "by itself": {},
        "digest": {"image": {"repository": "r.example:5000/lapis", "digest": DIGEST, "pullSecrets": ["registry"]}},
        "tag": {"image": {"tag": "7", "pullPolicy": "Always"}},
    },
    "names": {
        "by themselves": {},
        "part": {"nameOverride": "cats", "labels": {"team": "maps"}},
        "whole": {"fullnameOverride": "atlas", "labels": {"team": "maps"}, "pod": {"labels": {"team": "atlas"}}},
    },
    "extra": {
        "none": {},
        "all": {
            "pod": {"annotations": {"example.com/inject": "true"}, "labels": {"tier": "gold"}},
            "extra": {
                "env": [
                    {"name": "HTTPS_PROXY", "value": "http://proxy:3128"},
                    {"name": "ZONE", "valueFrom": {"secretKeyRef": {"name": "zones", "key": "zone"}}},
                ],
                "envFrom": [{"configMapRef": {"name": "common"}}],
                "volumes": [{"name": "fonts", "configMap": {"name": "fonts"}}],
                "volumeMounts": [{"name": "fonts", "mountPath": "/fonts", "readOnly": True}],
                "containers": [{"name": "sidecar", "image": "r.example/sidecar:1"}],
                "objects": [
                    {
                        "apiVersion": "v1",
                        "kind": "ConfigMap",
                        "metadata": {"name": '{{ include "lapis.fullname" . }}-own'},
                        "data": {"where": "{{ .Release.Namespace }}"},
                    },
                    "apiVersion: v1\nkind: Secret\nmetadata:\n  name: own\nstringData: {a: b}\n",
                ],
            },
        },
        "first": {"extra": {"initContainers": [{"name": "first", "image": f"r.example/first@{DIGEST}"}]}},
    },
}
# What is there without being asked for comes first.
PLAIN = {feature: next(iter(options)) for feature, options in FEATURES.items()}

KUBES = ("1.29", "1.33", "1.37")
PROFILES = ("cpu", "gpu", "mig", "canary")


@dataclass(frozen=True)
class Combination:
    """Values under a name that says what they are."""

    name: str
    values: Values = field(repr=False)
    profile: str | None = None
    release: str = "pictures"
    options: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def mounts_an_image(self) -> bool:
        """Whether it needs a Kubernetes that mounts images."""
        sources = {self.values.get("model", {}).get("source")}
        sources.add(self.values.get("canary", {}).get("model", {}).get("source"))
        return "image" in sources


def laid_over(under: Mapping[str, Any], over: Mapping[str, Any]) -> Values:
    """Returns values with others over them, key by key."""
    both = dict(under)
    for key, value in over.items():
        is_group = isinstance(value, Mapping) and isinstance(both.get(key), Mapping)
        both[key] = laid_over(both[key], value) if is_group else value
    return both


def mixed(chosen: Mapping[str, str]) -> Values:
    """Returns the values of an option of each feature."""
    values: Values = {}
    for feature, option in chosen.items():
        values = laid_over(values, FEATURES[feature][option])
    return values


def go_together(chosen: Mapping[str, str]) -> bool:
    """Whether the chart takes these options together; what it refuses is tested by others."""
    chosen = PLAIN | chosen
    has_other_way_in = chosen["entrance"] in {"nginx", "ingress"} or chosen["kserve"] != "none"
    if chosen["tls"] == "before a gateway" and has_other_way_in:
        return False
    if chosen["kserve"] == "none":
        return True
    allowed = {"scaling": {"none", "one"}, "canary": {"none"}, "entrance": {"none"}, "monitor": {"none", "pod"}}
    if chosen["kserve"] == "runtime":
        allowed |= {"model": {"bundled"}, "placement": {"anywhere", "here"}, "extra": {"none", "all"}}
        allowed["account"] = {"made", "default"}
        # Which have a RuntimeClass, or a claim that no fsGroup would make writable.
        allowed["accelerator"] = set(FEATURES["accelerator"]) - {"gpu", "cache made", "cache there"}
    return all(chosen[feature] in options for feature, options in allowed.items())


def pairs() -> list[Pair]:
    """Returns every two options that go together."""
    options = [(feature, option) for feature, there in FEATURES.items() for option in there]
    both = itertools.combinations(options, 2)
    return [(one, other) for one, other in both if one[0] != other[0] and go_together(dict([one, other]))]


def rows() -> Iterator[dict[str, str]]:
    """Gives an option of each feature, again and again, until every pair has been in a row.

    A row begins with a pair that was in none yet; then each feature gets the option that makes most new pairs.
    """
    left = dict.fromkeys(pairs())
    while left:
        row = dict(next(iter(left)))
        for feature in (feature for feature in FEATURES if feature not in row):
            row[feature] = _most_new(feature, row, left)
        row = {feature: row[feature] for feature in FEATURES}
        for pair in itertools.combinations(row.items(), 2):
            left.pop(pair, None)
        yield row


def _most_new(feature: str, row: Mapping[str, str], left: Container[Pair]) -> str:
    order = list(FEATURES)

    def news(option: str) -> int:
        met = [sorted([(feature, option), other], key=lambda one: order.index(one[0])) for other in row.items()]
        return sum((one, other) in left for one, other in met)

    return max((option for option in FEATURES[feature] if go_together({**row, feature: option})), key=news)


ALL_OF_ITS_OWN = laid_over(
    mixed(
        {
            "accelerator": "cache made",
            "model": "https",
            "settings": "some",
            "scaling": "keda queue",
            "canary": "image",
            "tls": "made",
            "tokens": "some",
            "network": "named",
            "service": "balancer",
            "entrance": "gateway header",
            "account": "named",
            "monitor": "service",
            "figures": "rules",
            "budget": "share",
            "placement": "here",
            "image": "digest",
            "names": "part",
        }
    ),
    {
        "gateway": {"http": STATUS, "backendTLS": {"authority": "roots"}},
        "monitoring": {"dashboard": {"enabled": True}},
        "canary": {"replicas": 3},
    },
)
EVERYTHING = laid_over(ALL_OF_ITS_OWN, FEATURES["extra"]["all"])


def _alone() -> Iterator[Combination]:
    for feature, options in FEATURES.items():
        for option, values in options.items():
            if option != PLAIN[feature]:
                yield Combination(f"{feature}: {option}", values)


def _mixes() -> Iterator[Combination]:
    for number, options in enumerate(rows(), 1):
        yield Combination(f"mix {number}", mixed(options), options=options)


def _special() -> Iterator[Combination]:
    yield Combination("plain", {})
    yield Combination("all of its own", ALL_OF_ITS_OWN)
    yield Combination("everything", EVERYTHING)
    yield from (Combination(f"profile {profile}", {}, profile) for profile in PROFILES)
    yield Combination("canary on gpu", {"accelerator": {"kind": "gpu"}}, "canary")
    yield Combination("longest name", EVERYTHING, release=LONGEST_RELEASE)
    yield Combination("longest name, kserve", {"kserve": {"kind": "inferenceService"}}, release=LONGEST_RELEASE)
    yield Combination("longest parts", {"nameOverride": "b" * 60 + ".cd", "fullnameOverride": "a" * 45 + ".-b"})
    yield Combination("dotted release", {"monitoring": {"monitor": "service"}}, release="pictures.v2")
    image = {"source": "image", "image": {"reference": f"r.example/facades@{DIGEST}"}}
    yield Combination("canary from an image", {"canary": {"enabled": True, "model": image}})


COMBINATIONS = {one.name: one for one in (*_special(), *_alone(), *_mixes())}
