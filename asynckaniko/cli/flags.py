"""Flags as Go's pflag reads them, on top of click.

Pipelines written for kaniko depend on pflag's grammar where click's differs: `-d=x` is x, a bare
`--no-push` never takes the next word, `--no-push=false` works, `--build-arg --x=1` takes the next
word whatever it looks like, nothing is split at commas. `Command` therefore turns the words into
`--flag=value` itself, and leaves conversion, help and completion to click.
"""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import click

from asynckaniko.cli.flag_values import Boolean, Value, parse_bool
from asynckaniko.errors import UsageError

_TEXT_COLUMN = 36
"""Where the text of the help page begins, right of the flags."""


class Flag(click.Option):
    """One flag and what the help page says of it.

    `names` are the long one, the short one if any, and older long spellings that still work.
    `group` is the section of the help page. `variable` names the environment variable that stands
    in for the flag; reading it is `options`' business.
    """

    def __init__(
        self,
        *names: str,
        group: str,
        value: Value,
        help: str,
        default: str = "",
        variable: str = "",
    ) -> None:
        super().__init__(
            list(names),
            help=help,
            metavar=value.metavar or None,
            multiple=value.repeat,
            type=value.type,
        )
        self.group = group
        self.default_text = default
        self.variable = variable

    @property
    def is_switch(self) -> bool:
        return isinstance(self.type, Boolean)

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        if self.hidden:
            return None
        short = next((name for name in self.opts if not name.startswith("--")), "")
        left = f"{short + ', ' if short else '    '}{_long_name(self)} {self.metavar or ''}"
        notes = []
        if self.multiple:
            notes.append("repeatable")
        if self.default_text:
            notes.append(f"default: {self.default_text}")
        if self.variable:
            notes.append(f"env: {self.variable}")
        about = f" [{'; '.join(notes)}]" if notes else ""
        return left.rstrip(), f"{self.help}{about}"


class Command(click.Command):
    """A command whose flags follow pflag's grammar; its help page is grouped.

    `foreign` are flags that users may expect here, and why each is refused.
    """

    def __init__(
        self,
        name: str,
        *,
        foreign: Mapping[str, str] | None = None,
        examples: str = "",
        **settings: Any,
    ) -> None:
        super().__init__(name, **settings)
        self.foreign = foreign or {}
        self.examples = examples

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing:
            args = _Words(self.get_params(ctx), self.foreign).read(args)
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record and isinstance(param, click.Option):
                group = param.group if isinstance(param, Flag) else "Help"
                sections.setdefault(group, []).append(record)
        for group, records in sections.items():
            with formatter.section(group):
                for left, right in records:
                    formatter.write(_help_entry(left, right, formatter.width))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.examples:
            with formatter.section("Examples"):
                for line in self.examples.splitlines():
                    formatter.write(f"  {line}\n")


def _help_entry(left: str, right: str, width: int) -> str:
    """Lay out a flag and its text in two columns that are the same in all sections."""
    lines = textwrap.wrap(right, max(20, width - _TEXT_COLUMN), break_on_hyphens=False)
    head = f"  {left}"
    if len(head) > _TEXT_COLUMN - 2 or not lines:
        lines.insert(0, "")
    indented = [f"{' ' * _TEXT_COLUMN}{line}" for line in lines[1:]]
    return "\n".join((f"{head:<{_TEXT_COLUMN}}{lines[0]}".rstrip(), *indented, ""))


class _Words:
    """Turns the words of a command line into `--flag=value` words and positional ones."""

    def __init__(self, params: Sequence[click.Parameter], foreign: Mapping[str, str]) -> None:
        self._foreign = foreign
        self._named: dict[str, click.Option] = {}
        for param in params:
            if isinstance(param, click.Option):
                self._named |= dict.fromkeys(param.opts, param)

    def read(self, words: Sequence[str]) -> list[str]:
        """Return what click reads the same way.

        Raises:
            UsageError: an unknown flag, or one without the argument it needs.
        """
        flags: list[str] = []
        positional: list[str] = []
        rest = list(reversed(words))
        bare_switch = ""
        while rest:
            word = rest.pop()
            if word == "--":
                positional += reversed(rest)
                break
            if word.startswith("--"):
                flags.append(self._long(word, rest))
            elif word.startswith("-") and word != "-":
                flags += self._short(word, rest)
            else:
                if bare_switch and parse_bool(word) is not None:
                    raise UsageError(f"{bare_switch} {word}: write {bare_switch}={word}")
                positional.append(word)
            bare_switch = word if self._is_switch(self._named.get(word)) else ""
        return [*flags, "--", *positional]

    def _long(self, word: str, rest: list[str]) -> str:
        name, equals, value = word.partition("=")
        if name == "--" or name.startswith("---"):
            raise UsageError(f"bad flag syntax: {word}")
        option = self._named.get(name)
        if option is None:
            raise self._unknown(name)
        if option.is_flag:
            return option.opts[0]
        if not equals:
            value = self._value_for(option, name, rest)
        return f"{_long_name(option)}={value}"

    def _short(self, word: str, rest: list[str]) -> list[str]:
        """Read `-v`, `-vdebug`, `-v=debug`, `-v debug` and clusters of switches."""
        flags: list[str] = []
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            option = self._named.get(f"-{letter}")
            if option is None:
                raise UsageError(f"unknown shorthand flag: '{letter}' in {word}")
            if option.is_flag:
                flags.append(_long_name(option))
                continue
            if letters.startswith("="):
                value, letters = letters[1:], ""
            elif letters and not self._is_switch(option):
                value, letters = letters, ""
            else:
                value = self._value_for(option, f"-{letter}", rest)
            flags.append(f"{_long_name(option)}={value}")
        return flags

    def _value_for(self, option: click.Option, name: str, rest: list[str]) -> str:
        if self._is_switch(option):
            return "true"
        if not rest:
            raise UsageError(f"flag needs an argument: {name}")
        return rest.pop()

    @staticmethod
    def _is_switch(option: click.Option | None) -> bool:
        return isinstance(option, Flag) and option.is_switch

    def _unknown(self, name: str) -> UsageError:
        if name in self._foreign:
            return UsageError(f"{name}: {self._foreign[name]}")
        current = {_long_name(option) for option in self._named.values() if not option.hidden}
        from difflib import get_close_matches

        near = get_close_matches(name, sorted(current), n=1, cutoff=0.6)
        hint = f"; did you mean {near[0]}?" if near else ""
        return UsageError(f"unknown flag: {name}{hint}")


def _long_name(option: click.Option) -> str:
    return next((name for name in option.opts if name.startswith("--")), option.opts[0])
