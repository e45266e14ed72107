"""Lints the chart, renders it as several people would install it, and validates what comes out against the schemas of
Kubernetes. Needs what requirements.txt names."""

import pathlib
import sys

import helm_python as helm
import kubernetes_validate
import yaml

CHART = pathlib.Path(__file__).parent / "stockroom"
LEAST = {
    "image": {"repository": "registry.example/stockroom"},
    "database": {"secret": "shop-database"},
    "signingKeys": {"secret": "shop-keys"},
}
INSTALLS = {
    "the least": {},
    "everything": {
        "image": {"tag": "1.2.3", "pullSecrets": ["registry"]},
        "database": {"directKey": "direct"},
        "redis": {"secret": "shop-redis"},
        "smtp": {"secret": "shop-mail"},
        "settings": {"RATE_LIMIT": "off", "MAX_DEPTH": 10, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"},
        "trustedProxies": ["10.0.0.0/8", "fd00::/8"],
        "networkPolicy": {"from": [{"namespaceSelector": {"matchLabels": {"name": "ingress"}}}]},
        "podAnnotations": {"example.com/team": "shop"},
        "nodeSelector": {"kubernetes.io/arch": "amd64"},
        "tolerations": [{"key": "shop", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
    },
    "without what can be left out": {
        "autoscaling": {"enabled": False},
        "migrations": {"enabled": False},
        "networkPolicy": {"enabled": False},
    },
    "by the processor alone": {"autoscaling": {"requestsPerSecond": None}},
}
MISTAKES = {
    "no image": {"image": {"repository": ""}},
    "no database": {"database": {"secret": ""}},
    "a secret among the settings": {"settings": {"DATABASE_URL": "postgres://u:p@host/db"}},
    "a name that nothing has": {"replica": 3},
    "a wait without its unit": {"settings": {"SHUTDOWN_DELAY": "5"}},
}


def merged(values, more):
    both = dict(values)
    for name, value in more.items():
        both[name] = merged(both[name], value) if isinstance(value, dict) and isinstance(both.get(name), dict) else value
    return both


def rendered(chart, values):
    chart.validate_schema(values)
    texts = chart.render(values, name="shop", namespace="shop")
    documents = [document for text in texts.values() for document in yaml.safe_load_all(text) if document]
    return {(document["kind"], document["metadata"]["name"]): document for document in documents}


def expect(what, found, expected):
    if found != expected:
        sys.exit(f"{what}: {found!r} instead of {expected!r}")


with helm.Chart.load(CHART) as chart:
    for name, more in INSTALLS.items():
        documents = rendered(chart, merged(LEAST, more))
        for document in documents.values():
            kubernetes_validate.validate(document, "1.37", strict=True)
        print(f"{name}: {', '.join(sorted(kind for kind, _ in documents))}")
        pod = documents["Deployment", "shop-stockroom"]["spec"]["template"]["spec"]
        [container] = pod["containers"]
        env = {variable["name"]: variable for variable in container["env"]}
        expect("twice the same variable", len(env), len(container["env"]))
        expect("who migrates", env["AUTO_MIGRATE"]["value"], str(("Job", "shop-stockroom-migrate") not in documents).lower())
        for own in [container, *documents.get(("Job", "shop-stockroom-migrate"), {"spec": {"template": {"spec": {"containers": []}}}})["spec"]["template"]["spec"]["containers"]]:
            security = own["securityContext"]
            expect("read-only", (security["readOnlyRootFilesystem"], security["allowPrivilegeEscalation"]), (True, False))
        expect("not root", pod["securityContext"]["runAsNonRoot"], True)
        expect("time to end", pod["terminationGracePeriodSeconds"], 25)
        expect("keys", container["volumeMounts"][0]["readOnly"], True)
        pod_labels = documents["Deployment", "shop-stockroom"]["spec"]["template"]["metadata"]["labels"]
        for (kind, _), document in documents.items():
            selector = {
                "Service": lambda: document["spec"]["selector"],
                "PodDisruptionBudget": lambda: document["spec"]["selector"]["matchLabels"],
                "NetworkPolicy": lambda: document["spec"]["podSelector"]["matchLabels"],
                "Deployment": lambda: document["spec"]["selector"]["matchLabels"],
            }.get(kind, dict)()
            expect(f"whom the {kind} selects", {**pod_labels, **selector}, pod_labels)
        if ("Job", "shop-stockroom-migrate") in documents:
            hooks = documents["Job", "shop-stockroom-migrate"]["metadata"]["annotations"]
            expect("when migrations run", hooks["helm.sh/hook"], "pre-install,pre-upgrade")
    everything = rendered(chart, merged(LEAST, INSTALLS["everything"]))
    env = everything["Deployment", "shop-stockroom"]["spec"]["template"]["spec"]["containers"][0]["env"]
    expect("proxies", [it["value"] for it in env if it["name"] == "TRUSTED_PROXIES"], ["10.0.0.0/8,fd00::/8"])
    metrics = everything["HorizontalPodAutoscaler", "shop-stockroom"]["spec"]["metrics"]
    expect("what scales", [metric["type"] for metric in metrics], ["Pods", "Resource"])
    for name, mistake in MISTAKES.items():
        try:
            rendered(chart, merged(LEAST, mistake))
        except helm.HelmError:
            continue
        sys.exit(f"{name} was let through")

problems = [message for message in helm.lint(CHART, LEAST)["messages"] if message["severity"] not in ("INFO", "info", 1)]
if problems:
    sys.exit(f"lint: {problems}")
print(f"{len(INSTALLS)} installs are valid, {len(MISTAKES)} mistakes are refused")
