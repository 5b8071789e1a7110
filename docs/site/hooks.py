"""What the site has beyond the pages in docs/: references made from code, pages of source, formulas as MathML.

* ``reference/commands.md`` comes from the parser of the command line, ``reference/python.md`` from the public names.
* A link to a file of the repository (``../certnet/cli/train.py``) leads to a page with that file. Where the text of the
  link is a name in backticks it leads to the line that defines it, and it is an error if there is none.
* ``$…$`` and ``$$…$$`` become MathML while the site is built, so that pages need no script for it.
"""

import html
import logging
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
LOG = logging.getLogger("mkdocs.hooks.certnet")
LINK = re.compile(r"\[(?P<text>`?[^\]\[]*?`?)\]\((?P<up>(?:\.\./)+)(?P<file>[\w./-]+\.(?:py|toml|ipynb))\)")
FORMULA = re.compile(r'<(?P<tag>span|div) class="arithmatex">\\[(\[](?P<tex>.*?)\\[)\]]</(?P=tag)>', re.DOTALL)
LINE = re.compile(r'(?P<link>href="[^"]*)" data-line="(?P<line>\d+)"')
CUT = re.compile(r"\\left\b|\\right\b|[{}]|(?P<place>\\(?:[lg]e|succeq)\b|=|(?<![_^(])[+-])")
FEWEST, MOST = 16, 40
"""Characters of a part of a formula that is cut before a relation, and of one that is cut before a sign."""
TOPICS = {
    "Training and its bound": "TrainingProgram train TrainingResult Event optimality OptimalityResult select_gamma "
    "Selection train_path PathResult prediction_range PredictionRange",
    "Estimators": "CertifiedMLPClassifier CertifiedMLPRegressor",
    "Networks": "TwoLayerNetwork ReluNetwork read_network read_relu_network network_from_sklearn network_from_torch "
    "write_onnx objective_of Given",
    "Verification": "verify VerificationResult audit AuditResult InputAudit certified_radius CertifiedRadius "
    "lipschitz_constant LipschitzResult InputRegion UnsafeCase keeps_class read_vnnlib Counterexample "
    "output_range OutputRange equivalence difference_range monotonicity Monotonicity",
    "Certificates": "check Report Verdict Certificate Training Robustness Lipschitz read_certificate write_certificate",
}
"""Public names by topic, in reading order; names that are not here come last."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages, and one for every file of the repository that a page links to."""
    pages = {"reference/commands.md": _commands(), "reference/python.md": _python()}
    pages["contributing.md"] = (ROOT / "CONTRIBUTING.md").read_text()
    pages |= {f"{name}.md": (ROOT / f"{name.upper()}.md").read_text() for name in ("security",)}
    linked = {found["file"] for file in files.documentation_pages() for found in LINK.finditer(file.content_string)}
    linked |= {found["file"] for text in pages.values() for found in LINK.finditer(text)}
    for name in sorted(linked):
        if (ROOT / name).is_file():
            pages[f"source/{name}.md"] = _source(name)
        else:
            LOG.warning(f"a page links to {name}, which is not there")
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Let links to files of the repository lead to their pages."""
    folder = posixpath.dirname(page.file.src_uri)

    def resolved(found: re.Match[str]) -> str:
        place = posixpath.relpath(f"source/{found['file']}.md", folder or ".")
        name = re.fullmatch(r"`(\w+)`", found["text"])
        line = _definition(found["file"], name[1]) if name else None
        if name and line is None:
            LOG.warning(f"{page.file.src_uri} links to {name[1]} in {found['file']}, which does not define it")
        # The number of the line joins the address once addresses have been checked: code has no anchors before that.
        return f"[{found['text']}]({place})" + ("" if line is None else f'{{data-line="{line}"}}')

    return LINK.sub(resolved, markdown)


def on_page_content(content: str, page: Page, **_: Any) -> str:
    """Lines of source at the end of addresses, and formulas as MathML."""

    def drawn(found: re.Match[str]) -> str:
        tex = html.unescape(found["tex"]).strip()
        if found["tag"] == "div":
            return f'<div class="formula">{convert(tex, display="block")}</div>'
        return "".join(f"{convert(part)}<wbr>" for part in _parts(tex))

    if "$$" in re.sub(r"<(pre|code)\b.*?</\1>", "", content, flags=re.DOTALL):
        LOG.warning(f"{page.file.src_uri} has a formula that was not recognised; put it between empty lines")
    return FORMULA.sub(drawn, LINE.sub(r'\g<link>#__codelineno-0-\g<line>"', content))


def _parts(tex: str) -> Iterator[str]:
    """A formula cut before its relations, and long parts before signs, so that browsers can break lines there; they
    never break MathML itself."""
    depth, start = 0, 0
    for found in CUT.finditer(tex):
        if found["place"] is None:
            depth += 1 if found[0] in ("{", r"\left") else -1
        elif depth == 0 and found.start() - start > (MOST if found[0] in "+-" else FEWEST):
            yield tex[start : found.start()]
            start = found.start()
    yield tex[start:]


def _definition(file: str, name: str) -> int | None:
    """The line, counted from 1, on which a file defines a name."""
    pattern = re.compile(rf"^ *(?:class|def) {name}\b|^{name}\b *[:=]")
    lines = (ROOT / file).read_text().splitlines()
    return next((number for number, line in enumerate(lines, 1) if pattern.match(line)), None)


def _source(name: str) -> str:
    text = (ROOT / name).read_text()
    language = {"py": "python", "ipynb": "json"}.get(name.rpartition(".")[2], "toml")
    fence = "`" * (3 + max(map(len, re.findall(r"`+", text)), default=0))
    head = f"---\nsearch:\n  exclude: true\nhide: [navigation, toc]\n---\n\n# {name}\n\n"
    return f'{head}{fence}{language} linenums="1"\n{text}\n{fence}\n'


def _commands() -> str:
    """Every command with its options, as the parser knows them."""
    from certnet.cli.app import app as group

    context = group.make_context("certnet", [], resilient_parsing=True)
    parts = [
        "# All commands and options",
        "Made from the parser itself: what `certnet COMMAND --help` says. [Command line](../command-line.md) explains.",
    ]
    for name in group.list_commands(context):
        parts += _command(name, group.get_command(context, name))
    return "\n\n".join([*parts, group.epilog]) + "\n"


def _command(name: str, command: Any) -> Iterator[str]:
    context = command.make_context(name, [], resilient_parsing=True)
    usage = " ".join(["certnet", name, *command.collect_usage_pieces(context)])
    yield f"## certnet {name}"
    yield f"```text\n{usage}\n```"
    yield html.escape(" ".join((command.help or "").split()), quote=False)
    example = (command.epilog or "").partition("\n")[0].removeprefix("Example: ")
    yield f"Example: `{example}`"
    rows = [record for option in command.params if (record := option.get_help_record(context)) is not None]
    cells = (tuple(html.escape(cell, quote=False).replace("|", "&#124;") for cell in row) for row in rows)
    table = "\n".join(f"| <code>{left}</code> | {right} |" for left, right in cells)
    yield f"| argument or option | meaning |\n| --- | --- |\n{table}"


def _python() -> str:
    """Every public name, from its docstring."""
    import certnet

    named = {name for names in TOPICS.values() for name in names.split()}
    rest = [name for name in dir(certnet) if name not in named and not name.startswith("_")]
    parts = ["# Python", "Everything here is in the one namespace `certnet`: `import certnet; certnet.train(...)`."]
    for topic, names in (*TOPICS.items(), ("Everything else", " ".join(rest))):
        parts.append(f"## {topic}")
        for name in names.split():
            found = getattr(certnet, name)
            parts.append(f"::: {found.__module__}.{found.__qualname__}" if hasattr(found, "__qualname__") else name)
    return "\n\n".join(parts) + "\n"
