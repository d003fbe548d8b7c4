"""`thaw app` starts the app from any folder, on its port and with its workspace."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from core.cli.app_command import APP, DEFAULT_PORT
from core.cli.parser import main
from core.program import PROJECT

START_SECONDS = 60


class Started(Exception):
    """Stands for the process that `app` becomes."""


@pytest.fixture
def execve(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], dict[str, str]]]:
    """(arguments, environment) of every program that this process would have become."""
    calls: list[tuple[list[str], dict[str, str]]] = []

    def record(program: str, arguments: list[str], environment: dict[str, str]) -> None:
        assert program == sys.executable
        calls.append((arguments, environment))
        raise Started

    monkeypatch.setattr(os, "execve", record)
    return calls


def test_options_become_streamlits(
    execve: list[tuple[list[str], dict[str, str]]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(Started):
        main(["--workspace", str(tmp_path / "mine"), "app", "--port", "8765", "--headless"])
    ((arguments, environment),) = execve
    streamlit = [sys.executable, "-m", "streamlit", "run", str(APP)]
    assert arguments == [*streamlit, "--server.port", "8765", "--server.headless", "true"]
    assert environment["THAW_HOME"] == str(tmp_path / "mine")
    assert "http://127.0.0.1:8765" in capsys.readouterr().out


def test_without_options_a_browser_opens_on_the_usual_port(
    execve: list[tuple[list[str], dict[str, str]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("THAW_HOME", str(tmp_path))
    with pytest.raises(Started):
        main(["app", "--json"])
    ((arguments, _),) = execve
    assert arguments[-2:] == ["--server.port", str(DEFAULT_PORT)]
    said = json.loads(capsys.readouterr().out)
    assert said == {"url": f"http://127.0.0.1:{DEFAULT_PORT}", "workspace": str(tmp_path)}


@pytest.mark.parametrize("port", ["99999", "0", "-1"])
def test_a_port_that_cannot_be_is_refused(
    port: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--workspace", str(tmp_path), "app", "--port", port]) == 2
    said = capsys.readouterr()
    assert f"The port is {port}; it must be 1 to 65535." in said.err and not said.out


def test_the_app_answers_when_started_from_another_folder(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path / "app.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "core", "app", "--port", str(port), "--headless"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(PROJECT), "THAW_HOME": str(tmp_path / "home")},
            stdout=out,
            stderr=out,
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                # Only Thaw's own app serves this file.
                url = f"http://127.0.0.1:{port}/assets/plotly.min.js"
                with urllib.request.urlopen(url, timeout=5) as answer:
                    policy = answer.headers["Content-Security-Policy"]
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
    finally:
        process.terminate()
        status = process.wait(timeout=20)
    assert policy and status in (0, -15)
    assert not (tmp_path / "workspace").exists() and (tmp_path / "home").is_dir()
