"""Apache Kafka's own jars from Maven Central, fetched once per version into the user's cache directory."""

import fcntl
import hashlib
import logging
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from schemas.errors import BrokerUnavailable

__all__ = ["java", "kafka_jars"]

OLDEST_JAVA: Final = 17
"""Kafka 4 brokers do not start on anything older."""
FETCH_TIMEOUT_S: Final = 600.0
"""44 MB and Maven's own plugins; a slow line needs minutes, a dead one must not hang for ever."""
HINT: Final = "set WATTLEDGER_KAFKA=host:port to use a broker of your own"

log = logging.getLogger(__name__)


def java(env: Mapping[str, str] = os.environ) -> str:
    """Path of a Java that can run the broker; raises BrokerUnavailable where there is none, or an old one."""
    home = env.get("JAVA_HOME")
    path = shutil.which(str(Path(home, "bin", "java")) if home else "java", path=env.get("PATH"))
    if path is None:
        where = f"JAVA_HOME={home}" if home else "PATH"
        raise BrokerUnavailable(
            f"no Java in {where}: a local Kafka needs Java {OLDEST_JAVA} and Maven, or Docker; "
            f"install them, or {HINT}"
        )
    said = subprocess.run(  # noqa: S603 - the user's own Java
        [path, "-version"], capture_output=True, text=True, timeout=60, check=False
    ).stderr
    found = re.search(r'version "(\d+)', said)
    if found is None or int(found[1]) < OLDEST_JAVA:
        first = said.strip().splitlines()[0] if said.strip() else "nothing"
        raise BrokerUnavailable(
            f"{path} -version says {first}: Kafka needs Java {OLDEST_JAVA} or newer; "
            f"install it or set JAVA_HOME, or {HINT}"
        )
    return path


def kafka_jars(env: Mapping[str, str] = os.environ) -> Path:
    """Directory with the broker's jars; the first call downloads them (44 MB) through Maven.

    Safe to call from several processes at once: one fetches, the others wait for its rename.
    Raises BrokerUnavailable if Maven is missing or cannot fetch.
    """
    pom = _pom()
    content = pom.read_bytes()
    version = re.search(rb"<kafka\.version>([^<]+)<", content)
    name = f"{version[1].decode() if version else 'kafka'}-{hashlib.sha256(content).hexdigest()[:8]}"
    cache = Path(env.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wattledger" / "kafka"
    jars = cache / name
    if jars.is_dir():
        return jars
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not jars.is_dir():
            log.info("fetching Apache Kafka %s from Maven Central into %s", name, cache)
            _fetch(pom, jars, env)
    return jars


def _fetch(pom: Path, jars: Path, env: Mapping[str, str]) -> None:
    """Let Maven copy the jars to a neighbour of `jars`, then rename: `jars` is complete or absent."""
    maven = shutil.which("mvn", path=env.get("PATH"))
    if maven is None:
        raise BrokerUnavailable(
            f"no Maven (mvn) on PATH to fetch Apache Kafka into {jars}: install Maven or Docker, or {HINT}"
        )
    with tempfile.TemporaryDirectory(dir=jars.parent, prefix=".fetch-") as temporary:
        target = Path(temporary) / "jars"
        # A copy of the POM: Maven writes nothing beside it, but an installed package may be read-only.
        copy = Path(shutil.copy(pom, temporary))
        command = [maven, "-B", "-q", "-C", "-f", str(copy), "generate-resources", f"-Djars={target}"]
        try:
            done = subprocess.run(  # noqa: S603 - fixed arguments
                command, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S, check=False, env=dict(env)
            )
        except subprocess.TimeoutExpired:
            raise BrokerUnavailable(
                f"Maven did not fetch Apache Kafka in {FETCH_TIMEOUT_S:.0f} s; check the network, or {HINT}"
            ) from None
        if done.returncode != 0 or not target.is_dir():
            errors = [line for line in done.stdout.splitlines() if "[ERROR]" in line]
            said = errors[0].split("[ERROR]", 1)[1].strip() if errors else f"exit {done.returncode}"
            raise BrokerUnavailable(
                f"Maven could not fetch Apache Kafka ({said}); check the network, or {HINT}"
            )
        target.rename(jars)


def _pom() -> Path:
    """The POM beside this module in an installed package, in tools/kafka in a checkout."""
    installed = Path(__file__).with_name("kafka-pom.xml")
    return installed if installed.exists() else Path(__file__).parents[2] / "tools" / "kafka" / "pom.xml"
