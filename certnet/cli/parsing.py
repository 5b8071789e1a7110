"""Commands of click, made from functions: type, default and help of each parameter stand once, in the signature.

Options that go together are a dataclass, and a parameter of its type stands for all of them.
"""

import functools
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import click
from click.shell_completion import CompletionItem


class Option(click.Option):
    """An option that says in one sentence what its value must be."""

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:
        try:
            return super().type_cast_value(ctx, value)
        except click.BadParameter:
            kind, shown = self.type, repr(value)
            must = "a whole number" if isinstance(kind, type(click.INT)) else "a number"
            if isinstance(kind, click.Choice):
                must = f"one of {', '.join(kind.choices)}"
            elif isinstance(kind, click.IntRange) and re.fullmatch(r"-?\d+", value):
                must, shown = f"at least {kind.min}", value
            raise click.UsageError(f"{self.opts[0]} must be {must}, not {shown}{decimal_hint(value)}.") from None


class Argument(click.Argument):
    """An argument that is no empty text, which would be the current folder to most commands."""

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:
        if any(not str(one).strip() for one in (value if isinstance(value, tuple | list) else [value])):
            raise click.UsageError(f"{str(self.metavar).strip('[.]')} is empty; name one.")
        return super().type_cast_value(ctx, value)


def decimal_hint(text: str) -> str:
    """What to write instead of a number with a decimal comma; nothing of other texts."""
    comma = re.fullmatch(r"[+-]?[0-9]*,[0-9]+([eE][+-]?[0-9]+)?", text)
    return f"; write {text.replace(',', '.')} with a decimal point" if comma else ""


def option(text: str, *names: str, default: Any = None, least: int | None = None, **settings: Any) -> Any:
    """The default of a parameter that is an ``Option``: its help, and its names where they are not ``--its-name``.

    ``least`` is the smallest whole number that it takes.
    """
    kind = {} if least is None else {"type": click.IntRange(min=least)}
    return field(default=default, metadata={"names": names, "help": text, **kind, **settings})


def argument(metavar: str, text: str, *, required: bool = True, **settings: Any) -> Any:
    """The same for an ``Argument``."""
    return field(default=None, metadata={"metavar": metavar, "help": text, "required": required, **settings})


def command(name: str, function: Callable[..., int | None], **settings: Any) -> click.Command:
    """The command that calls a function with annotated parameters; one of the type ``click.Context`` gets that.

    Its callback only puts the work together, to be done when parsing has ended.
    """

    def put_together(**given: Any) -> Callable[[], int | None]:
        return _filled(function, {**given, "context": click.get_current_context()})

    parameters = [*_parameters(function)]
    return click.Command(name, callback=put_together, params=parameters, help=function.__doc__, **settings)


def given_names(context: click.Context) -> set[str]:
    """Names of the parameters that are on the command line, and not left at their defaults."""
    on_line = click.core.ParameterSource.COMMANDLINE
    return {name for name in context.params if context.get_parameter_source(name) is on_line}


def refuse(why: str, *groups: Any) -> None:
    """Refuse options of dataclasses that are given, with an InputError for the first of them."""
    for options, one in ((group, one) for group in groups for one in fields(group)):
        value = getattr(options, one.name)
        if is_dataclass(value):
            refuse(why, value)
        elif value not in (one.default, None, ()):
            from formulations import InputError  # brings NumPy, which --help does without

            raise InputError(f"Leave {(*one.metadata['names'], written(one.name))[0]} out: {why}.")


def written(name: str) -> str:
    """The option of a parameter."""
    return f"--{name.replace('_', '-')}"


def _taken(owner: Any) -> Iterator[tuple[str, Any, Any]]:
    """What a function, or a dataclass of options, takes: names, types, and what is said of each option."""
    hints = get_type_hints(owner)
    if is_dataclass(owner):
        said = {one.name: one for one in fields(owner) if one.init}
    else:
        said = {name: parameter.default for name, parameter in inspect.signature(owner).parameters.items()}
    return ((name, hints[name], one) for name, one in said.items())


def _filled(owner: Any, given: Mapping[str, Any]) -> functools.partial[Any]:
    """The function, or the dataclass of options, with all that it takes."""
    values = {name: _filled(kind, given)() if is_dataclass(kind) else given[name] for name, kind, _ in _taken(owner)}
    return functools.partial(owner, **values)


def _parameters(owner: Any) -> Iterator[click.Parameter]:
    for name, kind, said in _taken(owner):
        if is_dataclass(kind):
            yield from _parameters(kind)
        elif kind is not click.Context:
            yield _parameter(name, kind, said.default, **said.metadata)


def files(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """For the shell: files that begin so."""
    return [CompletionItem(incomplete, type="file")]


def _parameter(
    name: str, kind: Any, default: Any, *, names: Sequence[str] | None = None, required: bool = False, **settings: Any
) -> click.Parameter:
    if get_origin(kind) in (Union, UnionType):
        (kind,) = (one for one in get_args(kind) if one is not NoneType)
    many = get_origin(kind) is list
    kind = get_args(kind)[0] if many else kind
    if get_origin(kind) is Literal:
        kind = click.Choice(get_args(kind))
    elif kind is Path:
        kind = click.Path(path_type=Path)
    elif kind is str:
        settings = {"shell_complete": files, **settings}
    settings = {"type": kind, "required": required, **({} if required else {"default": default}), **settings}
    if names is None:
        settings["metavar"] = settings["metavar"] if required else f"[{settings['metavar']}]"
        return Argument([name], nargs=-1 if many else 1, **settings)
    shown = {"show_default": not (required or default is None or default is False), **settings}
    return Option([name, *(names or [written(name)])], is_flag=kind is bool, multiple=many, **shown)
