"""Who reaches the replicas, and by which way: Services, routes, Ingress, NetworkPolicy, certificate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Manifest: TypeAlias = Any

CANARY = {"canary": {"enabled": True, "weight": 15, "image": {"tag": "0.2.0-cpu"}}}
GATEWAY = {"gateway": {"enabled": True, "parentRefs": [{"name": "public", "namespace": "gateways"}]}}
NAMES = {"hostnames": ["p.example.com"], "http": {"enabled": True, "hostnames": ["status.example.com"]}}
TLS = {"tls": {"enabled": True, "certManager": {"enabled": True, "issuerRef": {"name": "ours", "kind": "Issuer"}}}}


def selected(service: Manifest, objects: Any) -> set[str]:  # noqa: ANN401
    wanted = service["spec"]["selector"].items()
    pods = {one["metadata"]["name"]: one["spec"]["template"]["metadata"]["labels"] for one in objects.of("Deployment")}
    return {name for name, labels in pods.items() if wanted <= labels.items()}


def test_each_service_leads_to_its_own_track(render: Callable[..., Any]) -> None:
    objects = render(CANARY)
    assert {one["metadata"]["name"]: selected(one, objects) for one in objects.of("Service")} == {
        "pictures-lapis": {"pictures-lapis"},
        "pictures-lapis-headless": {"pictures-lapis"},
        "pictures-lapis-canary": {"pictures-lapis-canary"},
    }


def test_headless_service_has_an_address_for_each_replica_that_is_ready(render: Callable[..., Any]) -> None:
    spec = render().one("Service", "-headless")["spec"]
    assert spec["clusterIP"] == "None"
    assert not spec.get("publishNotReadyAddresses")
    assert [port["name"] for port in spec["ports"]] == ["grpc"]


@pytest.mark.parametrize(("ending", "port"), [("", 443), ("-headless", 50051)])  # nothing translates the headless one's
def test_ports_are_those_of_the_container_and_say_what_is_spoken(
    render: Callable[..., Any], ending: str, port: int
) -> None:
    objects = render({"service": {"port": 443}})
    ports = {port["name"]: port for port in objects.one("Service", ending)["spec"]["ports"]}
    container = objects.one("Deployment")["spec"]["template"]["spec"]["containers"][0]
    assert {port["targetPort"] for port in ports.values()} <= {port["name"] for port in container["ports"]}
    assert (ports["grpc"]["port"], ports["grpc"]["appProtocol"]) == (port, "kubernetes.io/h2c")
    encrypted = render(TLS).one("Service", ending)["spec"]["ports"]
    assert [port["appProtocol"] for port in encrypted if port["name"] == "grpc"] == ["https"]


def test_load_balancers_of_clouds_are_told_nothing_to_ask_get_of(render: Callable[..., Any]) -> None:
    balanced = {"service": {"type": "LoadBalancer"}}
    for values, spoken in ((balanced, {"grpc": "kubernetes.io/h2c"}), ({**balanced, **TLS}, {})):
        ports = render(values).one("Service")["spec"]["ports"]
        assert {port["name"]: port["appProtocol"] for port in ports if "appProtocol" in port} == spoken


def test_type_and_annotations_are_the_service_s_alone(render: Callable[..., Any]) -> None:
    objects = render({"service": {"type": "LoadBalancer", "annotations": {"a/b": "c"}}, **CANARY})
    kinds = {one["metadata"]["name"]: one["spec"].get("type", "ClusterIP") for one in objects.of("Service")}
    assert sorted(kinds.values()) == ["ClusterIP", "ClusterIP", "LoadBalancer"]
    assert objects.one("Service")["metadata"]["annotations"] == {"a/b": "c"}


def weights(route: Manifest) -> list[tuple[str, int | None]]:
    return [(backend["name"], backend.get("weight")) for backend in route["spec"]["rules"][-1]["backendRefs"]]


def test_route_gives_the_canary_its_share(render: Callable[..., Any]) -> None:
    assert weights(render(GATEWAY).one("GRPCRoute")) == [("pictures-lapis", None)]
    values = {**CANARY, "gateway": {**GATEWAY["gateway"], **NAMES}}
    for kind in ("GRPCRoute", "HTTPRoute"):
        assert weights(render(values).one(kind)) == [("pictures-lapis", 85), ("pictures-lapis-canary", 15)]


def test_testers_reach_the_canary_whatever_its_share(render: Callable[..., Any]) -> None:
    canary = {**CANARY["canary"], "header": {"x-track": "canary"}}
    theirs, everyones = render({**GATEWAY, "canary": canary}).one("GRPCRoute")["spec"]["rules"]
    header = [{"type": "Exact", "name": "x-track", "value": "canary"}]
    # As much of the method as the others say: a Gateway goes by that first, and by headers only then.
    assert theirs["matches"] == [{**match, "headers": header} for match in everyones["matches"]]
    assert [backend["name"] for backend in theirs["backendRefs"]] == ["pictures-lapis-canary"]


def test_routes_lead_in_what_callers_need_and_no_more(render: Callable[..., Any]) -> None:
    objects = render({"gateway": {**GATEWAY["gateway"], **NAMES}})
    services = {match["method"]["service"] for match in objects.one("GRPCRoute")["spec"]["rules"][-1]["matches"]}
    assert {"lapis.v1.TranslationService", "grpc.health.v1.Health"} < services
    assert "lapis.v1.RepositoryService" not in services
    paths = {match["path"]["value"] for match in objects.one("HTTPRoute")["spec"]["rules"][0]["matches"]}
    assert paths == {"/livez", "/readyz"}
    assert objects.one("GRPCRoute")["spec"]["hostnames"] == ["p.example.com"]
    assert objects.one("HTTPRoute")["spec"]["hostnames"] == ["status.example.com"]
    assert "HTTPRoute" not in render(GATEWAY).kinds


@pytest.mark.parametrize(("tls", "protocol"), [({}, "GRPC"), (TLS, "GRPCS")])
def test_ingress_speaks_grpc_to_the_replicas(render: Callable[..., Any], tls: Mapping[str, Any], protocol: str) -> None:
    ingress = {"enabled": True, "className": "nginx", "host": "p.example.com", "tlsSecretName": "public"}
    made = render({"ingress": {**ingress, "annotations": {"a/b": "c"}}, **tls}).one("Ingress")
    assert made["metadata"]["annotations"]["nginx.ingress.kubernetes.io/backend-protocol"] == protocol
    assert made["metadata"]["annotations"]["a/b"] == "c"
    assert made["spec"]["tls"] == [{"hosts": ["p.example.com"], "secretName": "public"}]
    other = render({"ingress": {**ingress, "className": "traefik"}}).one("Ingress")
    assert "annotations" not in other["metadata"]


def rules(policy: Manifest, direction: str) -> list[Any]:
    return policy["spec"][direction]


def test_policy_lets_callers_to_grpc_and_scrapers_to_http(render: Callable[..., Any]) -> None:
    peers = {"callers": [{"namespaceSelector": {"matchLabels": {"team": "maps"}}}]}
    grpc, http = rules(render({"networkPolicy": peers}).one("NetworkPolicy"), "ingress")
    test = {
        "podSelector": {
            "matchLabels": {"app.kubernetes.io/name": "lapis-test", "app.kubernetes.io/instance": "pictures"}
        }
    }
    assert (grpc["from"], grpc["ports"][0]["port"]) == ([*peers["callers"], test], "grpc")
    assert (http["from"], http["ports"][0]["port"]) == ([{"namespaceSelector": {}}], "http")


@pytest.mark.parametrize(
    ("values", "peers"),
    [
        ({}, [{"podSelector": {}}]),
        (GATEWAY, [{"namespaceSelector": {}}]),
        ({"ingress": {"enabled": True, "host": "p.example.com"}}, [{"namespaceSelector": {}}]),
        ({"kserve": {"kind": "inferenceService"}}, [{"namespaceSelector": {}}]),
        ({"service": {"type": "NodePort"}, **GATEWAY}, None),
        ({"service": {"type": "LoadBalancer"}}, None),
        ({"service": {"type": "LoadBalancer"}, "networkPolicy": {"callers": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]}},
         [{"ipBlock": {"cidr": "192.0.2.0/24"}}]),
    ],
    ids=str,
)  # fmt: skip
def test_policy_lets_in_the_proxies_and_strangers_that_the_other_values_ask_for(
    render: Callable[..., Any], values: dict[str, Any], peers: list[Any] | None
) -> None:
    grpc, http = rules(render(values).one("NetworkPolicy"), "ingress")
    assert grpc["ports"] == [{"port": "grpc", "protocol": "TCP"}]
    assert grpc.get("from", [None])[:1] == (peers or [None])
    assert http["from"] == [{"namespaceSelector": {}}]


@pytest.mark.parametrize("callers", [[], [{"podSelector": {"matchLabels": {"app": "envoy"}}}]], ids=str)
def test_policy_lets_the_gateway_to_http_where_it_routes_it(render: Callable[..., Any], callers: list[Any]) -> None:
    prometheus = {"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}
    for routed in (False, True):
        gateway = {**GATEWAY["gateway"], "http": {"enabled": routed, "parentRefs": [{"name": "status"}]}}
        values = {"networkPolicy": {"callers": callers, "scrapers": [prometheus]}, "gateway": gateway}
        _, http = rules(render(values).one("NetworkPolicy"), "ingress")
        assert http["from"] == [prometheus, *((callers or [{"namespaceSelector": {}}]) if routed else [])]


def test_policy_covers_both_tracks_and_can_be_left_out(render: Callable[..., Any]) -> None:
    objects = render(CANARY)
    wanted = objects.one("NetworkPolicy")["spec"]["podSelector"]["matchLabels"].items()
    for deployment in objects.of("Deployment"):
        assert wanted <= deployment["spec"]["template"]["metadata"]["labels"].items()
    assert "NetworkPolicy" not in render({"networkPolicy": {"enabled": False}}).kinds


@pytest.mark.parametrize(
    ("url", "port"),
    [("s3://bucket/models", 443), ("https://example.com:8443/m.tar", 8443), ("oci://registry:5000/m:1", 5000)],
)
def test_policy_lets_out_to_where_models_come_from(render: Callable[..., Any], url: str, port: int) -> None:
    download = {"url": url, "sha256": "0" * 64}
    for values in (
        {"model": {"source": "download", "download": download}},
        {"canary": {"enabled": True, "model": {"source": "download", "download": download}}},
    ):
        egress = rules(render(values).one("NetworkPolicy"), "egress")
        assert {"port": port, "protocol": "TCP"} in egress[1]["ports"]


def test_policy_lets_out_to_where_a_registry_sends_for_tokens(render: Callable[..., Any]) -> None:
    download = {"url": "oci://registry:5000/m:1"}
    _, registry = rules(render({"model": {"source": "download", "download": download}}).one("NetworkPolicy"), "egress")
    assert [port["port"] for port in registry["ports"]] == [5000, 443]


def test_policy_lets_kserve_fetch_into_a_runtime_s_pod(render: Callable[..., Any]) -> None:
    _, store, *identities = rules(render({"kserve": {"kind": "servingRuntime"}}).one("NetworkPolicy"), "egress")
    assert [port["port"] for port in store["ports"]] == [443]
    assert len(identities) == 2


@pytest.mark.parametrize(
    ("settings", "port"),
    [
        ({"otlp_endpoint": "http://collector.tracing:4317"}, 4317),
        ({"otlp_endpoint": "https://collector.example.com/v1/traces", "otlp_protocol": "http"}, 443),
        ({"otlp_endpoint": "http://collector"}, 80),
    ],
)
def test_policy_lets_out_to_where_traces_are_sent(
    render: Callable[..., Any], settings: dict[str, Any], port: int
) -> None:
    for values in ({"settings": settings}, {"canary": {"enabled": True, "settings": settings}}):
        _, traces = rules(render(values).one("NetworkPolicy"), "egress")
        assert traces == {"ports": [{"port": port, "protocol": "TCP"}]}


@pytest.mark.parametrize(
    ("download", "addresses"),
    [
        ({"url": "gs://bucket/models"}, {"169.254.169.254/32", "169.254.169.252/32"}),
        ({"url": "s3://bucket/models"}, {"169.254.170.23/32", "fd00:ec2::23/128"}),
        ({"url": "az://container/models"}, set()),
        ({"url": "s3://bucket/models", "secretName": "keys"}, set()),
        ({"url": "s3://bucket/models", "endpoint": "http://minio:9000"}, set()),
        ({"url": "oci://registry/models:1"}, set()),
    ],
    ids=str,
)
def test_policy_lets_a_fetch_ask_who_it_is_where_no_secret_tells_it(
    render: Callable[..., Any], download: dict[str, str], addresses: set[str]
) -> None:
    policy = render({"model": {"source": "download", "download": download}}).one("NetworkPolicy")
    asked = {peer["ipBlock"]["cidr"] for rule in rules(policy, "egress") for peer in rule.get("to", ())}
    assert asked == addresses


def test_policy_lets_out_to_a_store_of_ones_own(render: Callable[..., Any]) -> None:
    download = {"url": "s3://bucket/models", "endpoint": "http://minio:9000"}
    _, store = rules(render({"model": {"source": "download", "download": download}}).one("NetworkPolicy"), "egress")
    assert store == {"ports": [{"port": 9000, "protocol": "TCP"}]}


def test_gateway_is_told_to_speak_tls_and_whom_to_trust(render: Callable[..., Any]) -> None:
    backend = {"gateway": {**GATEWAY["gateway"], "backendTLS": {"authority": "roots", "kind": "Secret"}}}
    objects = render({**TLS, **CANARY, **backend})
    spec = objects.one("BackendTLSPolicy")["spec"]
    routed = {one["name"] for rule in objects.one("GRPCRoute")["spec"]["rules"] for one in rule["backendRefs"]}
    assert {target["name"] for target in spec["targetRefs"]} == routed
    assert {target["sectionName"] for target in spec["targetRefs"]} == {"grpc"}
    assert spec["validation"]["caCertificateRefs"] == [{"group": "", "kind": "Secret", "name": "roots"}]
    assert spec["validation"]["hostname"] in objects.one("Certificate", "-tls")["spec"]["dnsNames"]
    assert "BackendTLSPolicy" not in render({**TLS, **GATEWAY}).kinds


def test_policy_lets_out_names_and_what_was_asked_for_only(render: Callable[..., Any]) -> None:
    (names,) = rules(render().one("NetworkPolicy"), "egress")
    assert {port["port"] for port in names["ports"]} == {53, 5353}
    collector = {"to": [{"podSelector": {}}], "ports": [{"port": 4317}]}
    assert rules(render({"networkPolicy": {"egress": [collector]}}).one("NetworkPolicy"), "egress")[-1] == collector


def test_certificate_bears_every_name_that_callers_use(render: Callable[..., Any]) -> None:
    tls = {"tls": {**TLS["tls"], "certManager": {**TLS["tls"]["certManager"], "dnsNames": ["p.example.com"]}}}
    objects = render({**tls, **CANARY})
    spec = objects.one("Certificate", "-tls")["spec"]
    for service in objects.of("Service"):
        name = service["metadata"]["name"]
        assert {name, f"{name}.studio", f"{name}.studio.svc", f"{name}.studio.svc.cluster.local"} <= set(
            spec["dnsNames"]
        )
    assert spec["dnsNames"][-1] == "p.example.com"
    volumes = objects.one("Deployment")["spec"]["template"]["spec"]["volumes"]
    assert [one["secret"]["secretName"] for one in volumes if one["name"] == "tls"] == [spec["secretName"]]
    assert "Certificate" not in render({"tls": {"enabled": True, "secretName": "ours"}}).kinds


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"gateway": {"enabled": True}}, "gateway.parentRefs"),
        ({"gateway": {**GATEWAY["gateway"], "http": {"enabled": True}}}, "one kind of route"),
        (
            {"gateway": {**GATEWAY["gateway"], **NAMES, "hostnames": ["status.example.com"]}},
            "is one of gateway.hostnames",
        ),
        ({**GATEWAY, "canary": {"enabled": True, "replicas": 0}}, "canary.replicas"),
        ({"tls": {"secretName": "x"}}, "tls.enabled"),
        ({"service": {"port": 8080}}, "service.httpPort too"),
        ({"canary": {**CANARY["canary"], "header": {"a": "b"}}}, "canary.header"),
        ({"ingress": {"enabled": True}}, "ingress.host"),
        ({**GATEWAY, "ingress": {"enabled": True, "host": "x"}}, "choose one way in"),
        ({"tls": {"enabled": True}}, "tls.secretName"),
        ({"tls": {**TLS["tls"], "secretName": "x"}}, "one or the other"),
        ({"tls": {"enabled": True, "certManager": {"enabled": True}}}, "issuerRef"),
        ({"tls": {"clientCASecretName": "x"}}, "tls.enabled"),
        ({"test": {"clientSecretName": "x"}}, "tls.enabled"),
        ({"gateway": {**GATEWAY["gateway"], "backendTLS": {"authority": "x"}}}, "tls.enabled"),
        ({**TLS, "gateway": {"backendTLS": {"authority": "x"}}}, "gateway.enabled"),
    ],
)
def test_values_that_do_not_go_together_are_refused(
    refusal: Callable[..., str], values: Mapping[str, Any], told: str
) -> None:
    assert told in refusal(values)
