"""`python -m core --help` lists every command once, in its group, with what it does."""

import argparse

import pytest

from core.cli.parser import COMMAND_GROUPS, build_parser, main


def commands() -> dict[str, argparse.ArgumentParser]:
    (found,) = [
        one for one in build_parser()._actions if isinstance(one, argparse._SubParsersAction)
    ]
    return dict(found.choices)


def test_help_lists_every_command_once_under_its_group() -> None:
    listed = (build_parser().epilog or "").splitlines()
    names = [line.split()[0] for line in listed if line[:2] == "  " and line[2:3].strip()]
    assert sorted(names) == sorted(commands()) and len(names) == len(set(names))
    titles = [line[:-1] for line in listed[1:] if line.endswith(":") and line[0] != " "]
    assert titles == [*COMMAND_GROUPS]


@pytest.mark.parametrize("columns", ["20", "80", "200"])
def test_help_says_what_each_does(
    columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    said = capsys.readouterr().out
    assert ended.value.code == 0
    for name, command in commands().items():
        assert f"\n  {name} " in said and command.description
        assert command.description.replace(" ", "") in "".join(said.split()), name


def test_a_command_is_used_as_its_usage_says(capsys: pytest.CaptureFixture[str]) -> None:
    for name, command in commands().items():
        assert command.format_usage().startswith(f"usage: python -m core {name} "), name
    with pytest.raises(SystemExit):
        main([])
    assert "usage: python -m core [--workspace FOLDER] COMMAND" in capsys.readouterr().err
