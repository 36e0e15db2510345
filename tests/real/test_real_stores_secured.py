"""A real store behind TLS and a door that asks for credentials: nginx keeps both, as it does in front of many."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import trustme
from programs import NGINX, nginx
from store_parts import DEFAULT, StoreNode, running

from weeyuga_core.errors import ExitCode
from weeyuga_core.launch import free_port
from weeyuga_core.ledger.reader import read

GOLDEN = Path(__file__).parents[1] / "golden" / "ledger_v1.jsonl"
KEY = "c2VjcmV0LWlkOnNlY3JldC1rZXk="
USER, PASSWORD = "bench", "correct horse"
BASIC = "YmVuY2g6Y29ycmVjdCBob3JzZQ=="
REFUSAL = '{"error":{"type":"security_exception","reason":"unable to authenticate"},"status":401}'
NO_RIGHT = '{"error":{"type":"security_exception","reason":"action is unauthorized"},"status":403}'

pytestmark = [
    pytest.mark.real,
    pytest.mark.timeout(600),
    pytest.mark.skipif(NGINX is None, reason="nginx is not installed: tools/get_packages.sh"),
]


@pytest.fixture(scope="module", params=DEFAULT)
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreNode]:
    with running(request.param, tmp_path_factory.mktemp("store")) as started:
        yield started


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def door(store: StoreNode, authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The https URL of the store, which an API key or a user with a password opens; no templates may be written."""
    home = tmp_path_factory.mktemp("door")
    issued, port = authority.issue_cert("localhost"), free_port()
    issued.private_key_and_cert_chain_pem.write_to_path(home / "door.pem")
    directives = f"""
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {home}/door.pem;
    ssl_certificate_key {home}/door.pem;
    default_type application/json;
    client_max_body_size 0;
    client_body_buffer_size 8m;
    set $known "";
    if ($http_authorization = "ApiKey {KEY}") {{ set $known yes; }}
    if ($http_authorization = "Basic {BASIC}") {{ set $known yes; }}
    if ($scheme = http) {{ return 204; }}
    if ($known = "") {{ return 401 '{REFUSAL}'; }}
    location / {{ proxy_pass {store.url}; }}
    location ~ ^/_(index|component)_template {{
      if ($request_method = PUT) {{ return 403 '{NO_RIGHT}'; }}
      proxy_pass {store.url};
    }}
    """
    with nginx(home / "nginx", directives):
        yield f"https://localhost:{port}"


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


@pytest.fixture
def ledger(store: StoreNode, tmp_path: Path) -> Path:
    store.wipe()
    return Path(shutil.copy(GOLDEN, tmp_path / "run.jsonl"))


def command(*args: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "weeyuga_core", *args]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env={**os.environ, **env}, timeout=300)
    for secret in (KEY, PASSWORD, BASIC):
        assert secret not in done.stdout + done.stderr
    return done


@pytest.mark.parametrize(
    "credentials",
    [{"WEEYUGA_ES_API_KEY": KEY}, {"WEEYUGA_ES_USER": USER, "WEEYUGA_ES_PASSWORD": PASSWORD}],
    ids=["API key", "user"],
)
def test_the_ledger_goes_through_the_door(
    store: StoreNode, door: str, trusted: str, ledger: Path, credentials: dict[str, str]
) -> None:
    env = {"WEEYUGA_ES_URL": door, "WEEYUGA_ES_CA": trusted, **credentials}
    done = command("replay", str(ledger), "--sink", "es", "--verify", "--json", env=env)
    assert done.returncode == ExitCode.OK, done.stderr
    data = json.loads(done.stdout)["data"]
    assert (data["created"], data["missing"]) == (read(ledger).lines, 0)
    assert store.count("weeyuga-telemetry-*", "metadata.test:true") == read(ledger).lines
    beside = [path for path in ledger.parent.rglob("*") if path.is_file() and path != Path(trusted)]
    assert not [path for path in beside if KEY in path.read_text() or PASSWORD in path.read_text()]


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"WEEYUGA_ES_API_KEY": "bm90OnRoaXM="}, ("401", "does not know the account")),
        ({}, ("401", "WEEYUGA_ES_API_KEY")),
        ({"WEEYUGA_ES_API_KEY": KEY, "WEEYUGA_ES_CA": ""}, ("certificate", "WEEYUGA_ES_CA")),
    ],
    ids=["wrong key", "no key", "unknown authority"],
)
def test_a_closed_door_is_told_in_one_message_and_nothing_is_lost(
    store: StoreNode, door: str, trusted: str, ledger: Path, env: dict[str, str], words: tuple[str, ...]
) -> None:
    before = ledger.read_bytes()
    done = command("replay", str(ledger), "--sink", "es", env={"WEEYUGA_ES_URL": door, "WEEYUGA_ES_CA": trusted, **env})
    assert done.returncode == ExitCode.INCOMPLETE, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr + done.stdout
    assert f"0 of {read(ledger).lines} lines acknowledged" in done.stdout
    assert ledger.read_bytes() == before
    assert store.count("weeyuga-telemetry-*") == 0


def test_a_key_that_may_not_write_templates_is_told_so(store: StoreNode, door: str, trusted: str) -> None:
    env = {"WEEYUGA_ES_URL": door, "WEEYUGA_ES_CA": trusted, "WEEYUGA_ES_API_KEY": KEY}
    done = command("es", "setup", env=env)
    assert done.returncode != ExitCode.OK
    assert "403" in done.stderr
    assert "action is unauthorized" in done.stderr
    assert not [one for one in store.get("/_index_template")["index_templates"] if "weeyuga" in one["name"]]
