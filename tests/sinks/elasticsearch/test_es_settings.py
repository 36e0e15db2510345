from __future__ import annotations

import asyncio
from base64 import b64encode
from pathlib import Path

import httpx
import pytest
import trustme

from weeyuga_core.errors import UsageError
from weeyuga_core.sinks.elasticsearch.settings import Settings, from_env

SECRET = "s3cret-w0rd"
URL = "http://127.0.0.1:9200"


def test_the_url_comes_from_the_option_before_the_variable() -> None:
    assert from_env("https://es.example:9200/prefix/", {"WEEYUGA_ES_URL": URL}).url == "https://es.example:9200/prefix"
    assert from_env(None, {"WEEYUGA_ES_URL": URL}).url == URL


@pytest.mark.parametrize(
    ("target", "env", "words"),
    [
        (None, {}, "no store is named"),
        (f"http://user:{SECRET}@es.example", {}, "no place for credentials"),
        (f"http://{SECRET}@es.example", {}, "no place for credentials"),
        (f"user:{SECRET}@es.example", {}, "no place for credentials"),
        (None, {"WEEYUGA_ES_URL": f"http://user:{SECRET}@es.example"}, "WEEYUGA_ES_URL: a URL is no place"),
        ("es.example:9200", {}, "expected http:// or https://"),
        ("http://", {}, "expected http:// or https://"),
        ("http://host:port", {}, "not a URL"),
        (f"{URL}/?x={SECRET}", {}, "no query"),
        (URL, {"WEEYUGA_ES_API_KEY": SECRET, "WEEYUGA_ES_USER": "u"}, "both set"),
        (URL, {"WEEYUGA_ES_USER": "u"}, "belong together"),
        (URL, {"WEEYUGA_ES_PASSWORD": SECRET}, "belong together"),
        (URL, {"WEEYUGA_ES_API_KEY": f"{SECRET}\n"}, "line break"),
        (URL, {"WEEYUGA_ES_INDEX": "Weeyuga*"}, "cannot begin the name of an index"),
    ],
)
def test_what_cannot_be_meant_is_refused_without_repeating_a_secret(
    target: str | None, env: dict[str, str], words: str
) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        from_env(target, env)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("env", "header"),
    [
        ({}, None),
        ({"WEEYUGA_ES_API_KEY": SECRET}, f"ApiKey {SECRET}"),
        (
            {"WEEYUGA_ES_USER": "u", "WEEYUGA_ES_PASSWORD": SECRET},
            f"Basic {b64encode(f'u:{SECRET}'.encode()).decode()}",
        ),
    ],
)
def test_credentials_go_into_the_header_and_nowhere_else(env: dict[str, str], header: str | None) -> None:
    settings = from_env(URL, env)
    assert settings.client().headers.get("authorization") == header
    assert SECRET not in repr(settings)
    assert SECRET not in settings.key


@pytest.mark.parametrize(
    ("prefix", "under"),
    [
        ("weeyuga-telemetry", "metadata"),
        ("weeyuga-logs", "labels"),
        ("weeyuga-logs-bench", "labels"),
        ("weeyuga-logsmith", "metadata"),
    ],
)
def test_logs_indices_have_their_tags_under_labels(prefix: str, under: str) -> None:
    assert from_env(URL, {"WEEYUGA_ES_INDEX": prefix}).tags_under == under


def test_another_store_or_prefix_has_side_files_of_its_own() -> None:
    keys = {Settings(url=url, prefix=prefix).key for url in (URL, f"{URL}/x") for prefix in ("a", "b")}
    assert len(keys) == 4


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_ca_that_cannot_be_read_is_named(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content:
        path.write_text(content)
    with pytest.raises(UsageError, match="WEEYUGA_ES_CA.*ca.pem"):
        from_env(URL, {"WEEYUGA_ES_CA": str(path)}).client()


def test_a_ca_is_trusted_and_the_proxies_of_the_environment_are_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(path)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.invalid:1")
    client = from_env("https://es.example", {"WEEYUGA_ES_CA": str(path)}).client()
    assert not client.trust_env
    asyncio.run(client.aclose())


def test_a_certificate_that_is_not_trusted_is_no_reason_to_try_again() -> None:
    from weeyuga_core.sinks.elasticsearch.server import no_answer

    stop = no_answer(httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed"))
    assert stop.halted
    assert "WEEYUGA_ES_CA" in stop.hint
