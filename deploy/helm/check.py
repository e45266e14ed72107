"""Lints the chart, renders it as several people would install it, and validates what comes out against the schemas of
Kubernetes, and the gateway beside it. Needs what requirements.txt names."""

import pathlib
import sys

import helm_python as helm
import kubernetes_validate
import yaml

KUBERNETES = "1.37"
CHART = pathlib.Path(__file__).parent / "stockroom"
GATEWAY = CHART.parent / "gateway.yaml"
LEAST = {
    "image": {"repository": "registry.example/stockroom"},
    "database": {"secret": "shop-database"},
    "signingKeys": {"secret": "shop-keys"},
}
JWKS = "https://shop.example/.well-known/jwks.json"
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
    "an authority of its own": {"ca": {"configMap": "authority"}},
    "an authority in a secret": {"ca": {"secret": "authority", "key": "our.pem"}},
    "two services": {
        "database": {"directKey": "direct"},
        "smtp": {"secret": "shop-mail"},
        "ca": {"secret": "authority"},
        "settings": {"RATE_LIMIT": "off", "LOG_FORMAT": "json"},
        "services": {
            "accounts": {
                "role": "shop_accounts",
                "database": {"secret": "shop-accounts"},
                "autoscaling": {"enabled": False},
                "replicas": 2,
            },
            "catalog": {
                "role": "shop_catalog",
                "database": {"secret": "shop-catalog", "key": "its"},
                "settings": {"ACCOUNTS_JWKS_URL": JWKS, "LOG_FORMAT": "pretty"},
                "autoscaling": {"maxReplicas": 40},
            },
        },
    },
    "two services that somebody else migrates for": {
        "migrations": {"enabled": False},
        "services": {
            "accounts": {"database": {"secret": "shop-accounts"}},
            "catalog": {"database": {"secret": "shop-catalog"}, "settings": {"ACCOUNTS_JWKS_URL": JWKS}},
        },
    },
}
def merged(values, more):
    both = dict(values)
    for name, value in more.items():
        deep = isinstance(value, dict) and isinstance(both.get(name), dict)
        both[name] = merged(both[name], value) if deep else value
    return both


SERVICES = INSTALLS["two services"]["services"]


def of_catalog(values):
    return {"services": merged(SERVICES, {"catalog": values})}


MISTAKES = {
    "no image": {"image": {"repository": ""}},
    "no database": {"database": {"secret": ""}},
    "a secret among the settings": {"settings": {"DATABASE_URL": "postgres://u:p@host/db"}},
    "a name that nothing has": {"replica": 3},
    "a wait without its unit": {"settings": {"SHUTDOWN_DELAY": "5"}},
    "an authority in two places": {"ca": {"configMap": "authority", "secret": "authority"}},
    "a catalogue without accounts": {"services": {"catalog": SERVICES["catalog"]}},
    "accounts without a catalogue": {"services": {"accounts": SERVICES["accounts"]}},
    "a catalogue without keys that verify": {
        "services": {**SERVICES, "catalog": {**SERVICES["catalog"], "settings": {"LOG_FORMAT": "json"}}},
    },
    "keys by a way where anybody can answer": of_catalog({"settings": {"ACCOUNTS_JWKS_URL": "http://accounts/keys"}}),
    "a catalogue with keys that sign": of_catalog({"signingKeys": {"secret": "shop-keys"}}),
    "a key among a service's settings": of_catalog({"settings": {"JWT_PRIVATE_KEY": "x"}}),
    "a service that is another's": of_catalog({"settings": {"SERVICES": "accounts"}}),
    "a service without a database of its own": {"services": {**SERVICES, "accounts": {"role": "shop_accounts"}}},
    "a service that there is not": {"services": {**SERVICES, "stock": SERVICES["accounts"]}},
}


def rendered(chart, values):
    chart.validate_schema(values)
    texts = chart.render(values, name="shop", namespace="shop")
    documents = [document for text in texts.values() for document in yaml.safe_load_all(text) if document]
    return {(document["kind"], document["metadata"]["name"]): document for document in documents}


def expect(what, found, expected):
    if found != expected:
        sys.exit(f"{what}: {found!r} instead of {expected!r}")


def secrets(of):
    """The names of all Secrets that are mentioned, by whatever way."""
    if isinstance(of, list):
        return set().union(*map(secrets, of))
    if not isinstance(of, dict):
        return set()
    mentioned = {of[name] for name in ("secretName", "secret") if isinstance(of.get(name), str)}
    objects = [of[name] for name in ("secretKeyRef", "secretRef", "secret") if isinstance(of.get(name), dict)]
    return mentioned | {it["name"] for it in objects if "name" in it} | secrets(list(of.values()))


def selected(documents, labels):
    """The deployments whose pods have these labels."""
    templates = {of: document["spec"]["template"] for (kind, of), document in documents.items() if kind == "Deployment"}
    return [of for of, template in templates.items() if labels.items() <= template["metadata"]["labels"].items()]


def check_container(container, volumes, values):
    """What holds of each of them. Gives what is in its environment."""
    security = container["securityContext"]
    expect("read-only", (security["readOnlyRootFilesystem"], security["allowPrivilegeEscalation"]), (True, False))
    env = {variable["name"]: variable for variable in container["env"]}
    expect("twice the same variable", len(env), len(container["env"]))
    mounts = {mount["name"]: mount for mount in container.get("volumeMounts", [])}
    expect("what is mounted", sorted(mounts), sorted(volumes))
    expect("mounts to write to", [name for name, mount in mounts.items() if not mount.get("readOnly")], [])
    ca = values.get("ca", {})
    expect("whether there is an authority", ("ca" in mounts, "TLS_CA_FILE" in env), (bool(ca), bool(ca)))
    if ca:
        expect("where it is", env["TLS_CA_FILE"]["value"], f"{mounts['ca']['mountPath']}/{ca.get('key', 'ca.crt')}")
        volume = volumes["ca"]
        found = (volume.get("configMap", {}).get("name"), volume.get("secret", {}).get("secretName"))
        expect("the authority", found, (ca.get("configMap"), ca.get("secret")))
    return env


def check_server(documents, service, own, values):
    name = "-".join(filter(None, ["shop-stockroom", service]))
    deployment = documents["Deployment", name]
    pod = deployment["spec"]["template"]["spec"]
    [container] = pod["containers"]
    volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
    env = check_container(container, volumes, values)

    def value(variable):
        return env.get(variable, {}).get("value")

    expect("not root", pod["securityContext"]["runAsNonRoot"], True)
    expect("time to end", pod["terminationGracePeriodSeconds"], 25)
    migrates = not service and ("Job", "shop-stockroom-migrate") not in documents
    expect("who migrates", value("AUTO_MIGRATE"), str(migrates).lower())
    expect("what is served", container["args"], ["serve", "--services", service] if service else ["serve"])
    for setting, given in {**values.get("settings", {}), **own.get("settings", {})}.items():
        expect(setting, value(setting), str(given))

    # One service sees no secret of the other, and neither the owner's. The catalogue can sign nothing.
    database = own.get("database", values["database"])
    reference = {"name": database["secret"], "key": database.get("key", "url")}
    expect("the database", env["DATABASE_URL"]["valueFrom"]["secretKeyRef"], reference)
    seen = {database["secret"], *secrets([values.get("redis", {}), values.get("ca", {})])}
    if service != "catalog":
        seen |= {"shop-keys", *secrets(values.get("smtp", {}))}
        expect("where keys are", value("JWT_PRIVATE_KEY_FILE"), "/run/stockroom/keys")
    expect(f"the secrets that {name} sees", secrets(pod), seen)
    expect("variables of keys", "JWT_PRIVATE_KEY_FILE" in env, service != "catalog")
    expect("whose keys verify", value("ACCOUNTS_JWKS_URL"), JWKS if service == "catalog" else None)

    # All that is about a deployment is about its own pods alone.
    kinds = {"Service", "PodDisruptionBudget", "HorizontalPodAutoscaler", "NetworkPolicy"}
    if values.get("networkPolicy", {}).get("enabled") is False:
        kinds.remove("NetworkPolicy")
    if {**values.get("autoscaling", {}), **own.get("autoscaling", {})}.get("enabled") is False:
        kinds.remove("HorizontalPodAutoscaler")
    expect(f"what there is for {name}", {kind for kind, of in documents if of == name}, kinds | {"Deployment"})
    for kind in kinds:
        spec = documents[kind, name]["spec"]
        if kind == "HorizontalPodAutoscaler":
            expect("what is scaled", spec["scaleTargetRef"]["name"], name)
            continue
        selector = spec.get("podSelector") or spec["selector"]
        selector = selector.get("matchLabels", selector)
        expect(f"whom the {kind} selects", selected(documents, selector), [name])
    selector = deployment["spec"]["selector"]["matchLabels"]
    expect("whom the Deployment selects", selected(documents, selector), [name])


def check_migrations(documents, services, values):
    job = documents.get(("Job", "shop-stockroom-migrate"))
    expect("whether migrations run", job is not None, values.get("migrations", {}).get("enabled", True))
    if job is None:
        return
    expect("when migrations run", job["metadata"]["annotations"]["helm.sh/hook"], "pre-install,pre-upgrade")
    pod = job["spec"]["template"]["spec"]
    volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
    steps = pod.get("initContainers", []) + pod["containers"]
    grants = [["grant", service, own["role"]] for service, own in services.items() if "role" in own]
    expect("what is done in turn", [step["args"] for step in steps], [["migrate"], *grants])
    expect("what is done last", len(pod["containers"]), 1)
    for step in steps:
        check_container(step, volumes, values)
    expect("the secrets of the migrations", secrets(pod), {"shop-database", *secrets(values.get("ca", {}))})
    labels = job["spec"]["template"]["metadata"]["labels"].items()
    services = [document["spec"]["selector"] for (kind, _), document in documents.items() if kind == "Service"]
    expect("who sends requests to the migrations", [it for it in services if it.items() <= labels], [])


with helm.Chart.load(CHART) as chart:
    for name, more in INSTALLS.items():
        documents = rendered(chart, merged(LEAST, more))
        for document in documents.values():
            kubernetes_validate.validate(document, KUBERNETES, strict=True)
        print(f"{name}: {', '.join(sorted(kind for kind, _ in documents))}")
        services = merged(LEAST, more).get("services") or {"": {}}
        deployments = [document for (kind, _), document in documents.items() if kind == "Deployment"]
        expect("what is deployed", len(deployments), len(services))
        for service, own in services.items():
            check_server(documents, service, own, merged(LEAST, more))
        check_migrations(documents, services, merged(LEAST, more))
    everything = rendered(chart, merged(LEAST, INSTALLS["everything"]))
    env = everything["Deployment", "shop-stockroom"]["spec"]["template"]["spec"]["containers"][0]["env"]
    expect("proxies", [it["value"] for it in env if it["name"] == "TRUSTED_PROXIES"], ["10.0.0.0/8,fd00::/8"])
    scaled = rendered(chart, merged(LEAST, INSTALLS["two services"]))
    expect("replicas", scaled["Deployment", "shop-stockroom-accounts"]["spec"]["replicas"], 2)
    expect("most replicas", scaled["HorizontalPodAutoscaler", "shop-stockroom-catalog"]["spec"]["maxReplicas"], 40)
    metrics = everything["HorizontalPodAutoscaler", "shop-stockroom"]["spec"]["metrics"]
    expect("what scales", [metric["type"] for metric in metrics], ["Pods", "Resource"])
    for name, mistake in MISTAKES.items():
        try:
            rendered(chart, merged(LEAST, mistake))
        except helm.HelmError:
            continue
        sys.exit(f"{name} was let through")

gateway, service = yaml.safe_load_all(GATEWAY.read_text())
for document in (gateway, service):
    kubernetes_validate.validate(document, KUBERNETES, strict=True)
labels, pod = (gateway["spec"]["template"][part] for part in ("metadata", "spec"))
expect("whom the gateway's service finds", service["spec"]["selector"].items() <= labels["labels"].items(), True)
expect("the secrets of the gateway", secrets(pod), set())
[container] = pod["containers"]
ports = {port["name"]: port["containerPort"] for port in container["ports"]}
expect("the gateway's port", service["spec"]["ports"][0]["targetPort"] in ports, True)
with helm.Chart.load(CHART) as chart:
    documents = rendered(chart, merged(LEAST, INSTALLS["two services"]))
for variable in container["env"]:
    of = variable["name"].removesuffix("_URL").lower()
    port = documents["Service", f"shop-stockroom-{of}"]["spec"]["ports"][0]["port"]
    expect("the default port of http", port, 80)
    expect(f"where {of} is", variable["value"], f"http://shop-stockroom-{of}/graphql")
expect("what the gateway asks", len(container["env"]), 2)

messages = helm.lint(CHART, LEAST)["messages"]
problems = [message for message in messages if message["severity"] not in ("INFO", "info", 1)]
if problems:
    sys.exit(f"lint: {problems}")
print(f"{len(INSTALLS)} installs are valid, {len(MISTAKES)} mistakes are refused")
