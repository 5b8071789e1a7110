"""Help, completion and the time they take: no command is imported that is not asked for."""

import importlib
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from certnet.cli.commands import COMMANDS, load
from tests.cli.support import Call, one_sentence


def test_help_lists_every_command(certnet: Call) -> None:
    listed = certnet("--help")
    assert listed.code == 0
    assert all(f"  {name} " in listed.out and command.summary in listed.out for name, command in COMMANDS.items())
    assert certnet("help").out == listed.out


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "help"])
def test_each_command_has_help_and_an_example_that_parses(certnet: Call, name: str) -> None:
    shown = certnet(name, "--help")
    assert certnet("help", name).out == shown.out
    command = COMMANDS[name]
    assert f"Example: {command.example}" in " ".join(shown.out.split())
    function = getattr(importlib.import_module(f"certnet.cli.{command.module}"), name)
    assert "".join((function.__doc__ or "").split()[:2]) in "".join(shown.out.split())
    tool, called, *arguments = shlex.split(command.example)
    assert (tool, called) == ("certnet", name)
    load(name).make_context(name, arguments)


def test_a_name_that_is_nearly_right_is_suggested(certnet: Call) -> None:
    assert "Did you mean one of: 'range', 'train'?\n" in one_sentence(certnet("trian"))
    assert "No such command" in one_sentence(certnet("help", "nosuch"))


def test_the_shell_completes_commands_options_and_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "spiral").mkdir(parents=True)
    (tmp_path / "runs" / "spiral" / "report.json").touch()
    asked_for = {"export --on": "plain,--onnx", "show sp": "plain,spiral", "train po": "file,po"}
    for words, wanted in ((f"certnet {words}", wanted) for words, wanted in asked_for.items()):
        asked = {"_CERTNET_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        call = [sys.executable, "-m", "certnet"]
        found = subprocess.run(call, env=os.environ | asked, capture_output=True, text=True, check=False)
        assert wanted in found.stdout.split()


def test_completion_is_installed_once(certnet: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SHELL", "/usr/bin/fish")
    shown = certnet("--show-completion")
    assert "_CERTNET_COMPLETE" in shown.out
    assert [certnet("--install-completion").code for _ in range(2)] == [0, 0]
    place = tmp_path / ".certnet-completion.fish"
    assert place.read_text().strip() == shown.out.strip()
    assert (tmp_path / ".config/fish/config.fish").read_text().count(str(place)) == 1
    (tmp_path / ".bashrc").write_bytes(b"alias x=\xe9")
    monkeypatch.setenv("SHELL", "/bin/bash")
    assert [certnet("--install-completion").code for _ in range(2)] == [0, 0]
    assert (tmp_path / ".bashrc").read_bytes().splitlines()[0] == b"alias x=\xe9"
    assert (tmp_path / ".bashrc").read_bytes().count(b"source ") == 1
    monkeypatch.setenv("SHELL", "/bin/ksh")
    assert "bash, zsh, fish" in one_sentence(certnet("--install-completion"))


def test_help_imports_neither_numpy_nor_any_command() -> None:
    code = (
        "import sys; from certnet.cli import main; main(['--help']); "
        "print([name for name in ('numpy', 'rich', 'certificates', 'certnet.cli.train') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "[]"
