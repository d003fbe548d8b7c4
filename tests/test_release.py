"""The parts of a release match: version and changelog, templates, the files of the container and
the Space."""

import json
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from core.cli.parser import main
from core.program import VERSION
from core.workspace import PROJECT
from pages.server.headers import parse_ancestors


def test_the_version_is_semantic_and_heads_the_changelog(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert re.fullmatch(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)", VERSION)
    headings = re.findall(
        r"^## (\S+), (\d{4}-\d\d-\d\d)$", (PROJECT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    assert headings[0][0] == VERSION
    assert [date for _, date in headings] == sorted((date for _, date in headings), reverse=True)
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"Thaw {VERSION}\n"


def test_the_templates_are_forms_github_takes() -> None:
    for path in (PROJECT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        form = yaml.safe_load(path.read_text())
        if path.stem != "config":
            assert form["name"] and form["description"]
            assert {part["type"] for part in form["body"]} <= {"textarea", "checkboxes"}
            assert all(part["attributes"]["label"] for part in form["body"])


def test_the_container_and_the_space_name_what_is_there() -> None:
    docker = (PROJECT / "Dockerfile").read_text()
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    python = re.search(r"^FROM python:(\d+\.\d+)", docker, re.MULTILINE)
    assert python and project["requires-python"] == f">={python[1]}"
    assert "torch==" in (PROJECT / "requirements.txt").read_text(), (
        "the CPU image takes torch's pin from there"
    )
    ignored = (PROJECT / ".dockerignore").read_text().split()
    assert not {"core", "pages", "assets", "app.py", "pyproject.toml", ".streamlit"} & set(ignored)
    front = yaml.safe_load(
        (PROJECT / "deploy" / "huggingface" / "README.md").read_text().split("---")[1]
    )
    assert front["sdk"] == "docker" and f"EXPOSE {front['app_port']}" in docker


def test_the_container_answers_to_the_name_of_its_space(tmp_path: Path) -> None:
    stand_in = tmp_path / "streamlit"
    stand_in.write_text('#!/bin/sh\necho "$THAW_HOSTS $@"\necho "$THAW_FRAME_ANCESTORS"\n')
    stand_in.chmod(0o755)
    docker = (PROJECT / "Dockerfile").read_text()
    command = json.loads(re.findall(r"^CMD (\[.*\])$", docker, re.MULTILINE)[-1])
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "SPACE_HOST": "me-thaw.hf.space",
        "THAW_HOSTS": "a.org",
    }
    said = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True
    ).stdout
    asked, framed = said.splitlines()
    hosts, *words = asked.split()
    assert hosts.split(",") == ["a.org", "me-thaw.hf.space"]
    assert words[:4] == ["run", "app.py", "--server.address", "0.0.0.0"]
    assert parse_ancestors(framed) == ("https://huggingface.co", "https://*.hf.space")
    for more, expected in (
        ({"SPACE_HOST": ""}, ""),
        ({"THAW_FRAME_ANCESTORS": "https://a.org"}, "https://a.org"),
    ):
        said = subprocess.run(
            command, env=environment | more, capture_output=True, text=True, check=True
        ).stdout
        assert said.splitlines()[1] == expected
