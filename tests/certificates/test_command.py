"""``certnet-check``: what its wheel holds is enough, with numpy and python-flint and nothing else."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from certificates import Certificate, read_certificate, write_certificate
from certificates.command import main
from tests.certificates.altering import replace
from tests.certificates.proofs import linear_robustness
from tests.certificates.test_imports import ROOT, closure, source

ALONE = """
import sys
ours = {"certificates", "formulations", "numpy", "flint", *sys.stdlib_module_names}
class Only:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in ours and not top.lstrip("_").startswith("cython"):
            raise ModuleNotFoundError(f"{name} is not part of the checker alone", name=name)
sys.meta_path.insert(0, Only())
from certificates import command
assert command.__file__.startswith(sys.argv[1])
sys.exit(command.main(sys.argv[2:]))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of the wheel, as the project's own table lists them, and nothing else."""
    folder, project = tmp_path_factory.mktemp("wheel"), ROOT / "certificates"
    table = tomllib.loads((project / "pyproject.toml").read_text())
    for here, there in table["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"].items():
        found = (project / here).resolve()
        for file in found.glob("*.py") if found.is_dir() else (found,):
            place = folder / there / file.name if found.is_dir() else folder / there
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(file.read_bytes())
    return folder


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_certificate(tmp_path / "case.cert", linear_robustness())
    return tmp_path / "case.cert"


def refutable(certificate: Certificate) -> Certificate:
    return replace(certificate, margin=100.0)


def test_the_checker_alone_proves_a_certificate_again(wheel: Path, file: Path) -> None:
    command = [sys.executable, "-c", ALONE, str(wheel), str(file), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=wheel)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["verdict"], found["schema"], found["command"]) == ("PROVED", "certnet/1", "check")
    assert found["margin"] > 0


def test_the_wheel_holds_what_the_command_imports_and_no_more(wheel: Path) -> None:
    needed = {file.relative_to(ROOT) for name in closure("certificates.command", {}) if (file := source(name))}
    held = {file.relative_to(wheel) for file in wheel.rglob("*.py")}
    packages = {"certificates/__init__.py", "formulations/__init__.py", "formulations/lazy.py"}
    assert held - needed == {Path(name) for name in packages}
    assert needed <= held


def test_exit_codes_are_those_of_the_worst_file(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (file.parent / "none.cert").write_text("no certificate")
    write_certificate(file.parent / "large.cert", refutable(read_certificate(file)))
    names = [str(file.parent / name) for name in ("case.cert", "none.cert", "large.cert")]
    assert [main([name]) for name in names] == [0, 2, 3]
    assert main(names) == 2
    out, err = capsys.readouterr()
    assert out.count("PROVED") == 2
    assert out.count("UNREADABLE") == 2
    assert "Traceback" not in err
    assert main([*names, "--json"]) == 2
    assert [found["verdict"] for found in json.loads(capsys.readouterr().out)["results"]] == ["PROVED", None, "UNKNOWN"]


def test_texts_of_a_file_cannot_steer_a_terminal(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("certificates.command.stated", lambda _: {"loss": "\x1b[2Jsquared\n"})
    assert main([str(file)]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\\x1b[2Jsquared\\n" in out


def test_an_interruption_is_one_sentence(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("certificates.command.check", interrupted)
    assert main([str(file)]) == 130
    assert capsys.readouterr().err == "certnet-check: Interrupted.\n"


def test_an_error_of_the_checker_itself_is_no_refutation(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a division")

    monkeypatch.setattr("certificates.command.check", broken)
    assert main([str(file)]) == 70
    assert capsys.readouterr().err == f"certnet-check: Unexpected ZeroDivisionError in {file}: a division\n"


@pytest.mark.parametrize("limit", ["-1", "nan", "inf"])
def test_a_limit_that_is_none_is_refused(file: Path, limit: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(file), f"--time-limit={limit}"]) == 2
    assert "--time-limit" in capsys.readouterr().err


def test_what_is_printed_is_what_certnet_check_reports(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from certnet.cli import main as certnet

    main([str(file), "--json"])
    own = json.loads(capsys.readouterr().out)
    certnet(["check", str(file), "--json"])
    other = json.loads(capsys.readouterr().out)
    compared = {"property": other["property"], "network": other["network"]}
    for name, fields in compared.items():
        assert own[name].items() <= fields.items()
    same = set(own) - {"versions", "seconds", *compared}
    assert {name: own[name] for name in same} == {name: other[name] for name in same}
