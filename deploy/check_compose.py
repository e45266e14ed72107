"""Parses the compose files by the Compose Specification, and looks at what that leaves open: names that must agree, and
who is told which secret. Needs what helm/requirements.txt names."""

import json
import pathlib
import re
import sys

import compose_spec
import yaml

HERE = pathlib.Path(__file__).parent
WHOLE, SERVICES = "compose.yaml", "compose.services.yaml"


def expect(what, found, expected):
    if found != expected:
        sys.exit(f"{what}: {found!r} instead of {expected!r}")


def parsed(file):
    # As YAML first: the specification's parser knows no merge keys.
    document = yaml.safe_load((HERE / file).read_text())
    compose_spec.PyCompose.from_json(json.dumps(document)).validate()
    for name, service in document["services"].items():
        if base := service.pop("extends", None):
            document["services"][name] = {**parsed(base["file"])["services"][base["service"]], **service}
    return document


def check(file):
    document = parsed(file)
    services = document["services"]
    for name, service in services.items():
        for other in service.get("depends_on", []):
            expect(f"{file}: whether {name} depends on something", other in services, True)
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                expect(f"{file}: whether {source} is there", (HERE / source).exists() or is_made(source), True)
            else:
                expect(f"{file}: whether {source} is a volume", source in document["volumes"], True)
        if "healthcheck" not in service:
            waiting = [of for of, it in services.items() if condition(it, name) == "service_healthy"]
            expect(f"{file}: who waits for {name} to say how it is", waiting, [])
    for kind in ("configs", "secrets"):
        for name, given in document.get(kind, {}).items():
            if "file" in given:
                expect(f"{file}: whether the file of {name} is kept out of git", is_made(given["file"]), True)
    build = [(name, service["build"]) for name, service in services.items() if "build" in service]
    for name, it in build:
        expect(f"{file}: the Dockerfile of {name}", (HERE / it["context"] / it["dockerfile"]).exists(), True)
    expect(f"{file}: what builds the server", len(build), 1)
    for name, service in services.items():
        if service.get("image") == "stockroom" or "build" in service:
            hardened = (service["read_only"], service["cap_drop"], service["security_opt"])
            expect(f"{file}: {name} is hardened", hardened, (True, ["ALL"], ["no-new-privileges:true"]))
        for port in service.get("ports", []):
            expect(f"{file}: whom {name} listens to", port.startswith("127.0.0.1:"), True)
    return document


def condition(service, other):
    dependencies = service.get("depends_on", {})
    return dependencies.get(other, {}).get("condition") if isinstance(dependencies, dict) else None


def is_made(file):
    """Whether somebody makes it first, so that git must not have it."""
    return f"/deploy/{file.removeprefix('./')}" in (HERE.parent / ".gitignore").read_text().splitlines()


def sources(service, kind):
    return {it if isinstance(it, str) else it["source"] for it in service.get(kind, [])}


check(WHOLE)
services = check(SERVICES)["services"]
servers = {name: services[name] for name in ("accounts", "catalog")}
for name, service in servers.items():
    expect(f"what {name} serves", service["command"], ["serve", "--services", name])
    expect(f"whether {name} migrates", service["environment"]["AUTO_MIGRATE"], "false")
    expect(f"the role of {name}", f"//shop_{name}:" in service["environment"]["DATABASE_URL"], True)
    grant = services[f"grant-{name}"]
    expect(f"what {name} is granted", grant["command"], ["grant", name, f"shop_{name}"])
    done = "service_completed_successfully"
    expect(f"what {name} waits for", condition(service, "grant-catalog"), done)
    expect("which grant comes first", condition(services["grant-catalog"], "grant-accounts"), done)
text = (HERE / SERVICES).read_text()
for name, service in services.items():
    has_key = "signing_key" in sources(service, "secrets") or "JWT_PRIVATE_KEY_FILE" in service.get("environment", {})
    expect(f"whether {name} has the key that signs", has_key, name == "accounts")
    owner = "POSTGRES_PASSWORD" in str(service.get("environment", {}))
    expect(f"whether {name} knows the owner's password", owner, name in ("grant-accounts", "grant-catalog", "postgres"))
    expect(f"whether {name} can be reached from outside", "ports" in service, name == "nginx")

# All by names that there are: the gateway, nginx, and the catalogue that asks for keys.
nginx = (HERE / "nginx.services.conf").read_text()
ports = {"accounts": "8000", "catalog": "8000", "gateway": "4000"}
asked = re.findall(r"^\s*server ([a-z]+):(\d+);", nginx, re.M)
expect("whom nginx asks", sorted(asked), [("accounts", ports["accounts"]), ("gateway", ports["gateway"])])
urls = {name: f"http://{name}:{ports[name]}/graphql" for name in servers}
gateway = services["gateway"]["environment"]
expect("whom the gateway asks", gateway, {f"{name.upper()}_URL": url for name, url in urls.items()})
variables = re.findall(r"process\.env\.(\w+)", (HERE / "gateway.config.mjs").read_text())
expect("what the gateway's configuration reads", sorted(variables), sorted(gateway))
[host] = services["nginx"]["networks"]["default"]["aliases"]
catalog = services["catalog"]["environment"]
expect("whose keys verify", catalog["ACCOUNTS_JWKS_URL"], f"https://{host}/.well-known/jwks.json")
expect("who answers there", f"server_name {host};" in nginx and f"DNS:{host}" in text, True)
mounted = {it["target"] for kind in ("configs", "secrets") for it in services["nginx"][kind]}
expect("the certificate", set(re.findall(r"ssl_certificate(?:_key)? (/[^;]+);", nginx)), mounted)
[certificate] = services["catalog"]["configs"]
expect("whom the catalogue believes", catalog["SSL_CERT_FILE"], certificate["target"])
print(f"{WHOLE} and {SERVICES} are valid")
