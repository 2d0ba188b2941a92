"""`${NAME}` and `${NAME:-x}`: the only things that are expanded in a manifest."""

import re
from collections.abc import Mapping
from dataclasses import replace

from asynckaniko.batch.document import Fields, Findings, Items, Node, Place, Scalar
from asynckaniko.batch.manifest import LATE_VARIABLE, Variable, did_you_mean

_USE = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|\$\{")


def expand_text(
    text: str, values: Mapping[str, str], place: Place, findings: Findings, *, keep: bool = True
) -> str:
    """Expand all uses in `text`; `$${` is a literal `${`. Unknown names go to `findings`.

    With `keep` the variable that is known late stays as it is.
    """

    def value(use: "re.Match[str]") -> str:
        name = use[1]
        if use[0] == "$${":
            return "${"
        if name is None:
            findings.error(
                place, "${ begins a variable and is not closed or has no name; write $${ for ${"
            )
            return ""
        if values.get(name) or (name in values and use[2] is None):
            return values[name]
        if use[2] is not None:
            return use[2]
        if name == LATE_VARIABLE and keep:
            return use[0]
        findings.error(
            place, f"the variable {name} is not defined{did_you_mean(name, list(values))}"
        )
        return ""

    return _USE.sub(value, text)


def expand_node(node: Node, values: Mapping[str, str], findings: Findings) -> Node:
    """Expand every word below `node`, keys of maps too."""
    match node:
        case Scalar(text=text, place=place):
            if "$" not in text:
                return node
            return replace(node, text=expand_text(text, values, place, findings), kind="str")
        case Items(nodes=nodes):
            return replace(node, nodes=tuple(expand_node(n, values, findings) for n in nodes))
        case Fields(nodes=by_name):
            expanded, keys = {}, {}
            for name, value in by_name.items():
                place = node.key_place(name)
                new = expand_text(name, values, place, findings) if "$" in name else name
                expanded[new] = expand_node(value, values, findings)
                keys[new] = place
            return Fields(expanded, node.place, keys)


def resolve_variables(
    declared: Mapping[str, Variable | str],
    node: Node | None,
    *,
    environment: Mapping[str, str],
    given: Mapping[str, str],
    findings: Findings,
) -> dict[str, str]:
    """Find each variable's value: `--var`, then the environment, then its default.

    A default may use variables that are declared before it.
    """
    values: dict[str, str] = {}
    fields = node.nodes if isinstance(node, Fields) else {}
    for name, variable in declared.items():
        place = fields[name].place if name in fields else Place(findings.file)
        declaration = Variable(default=variable) if isinstance(variable, str) else variable
        source = declaration.env or name
        if name in given:
            values[name] = given[name]
        elif environment.get(source):
            values[name] = environment[source]
        elif declaration.default is not None:
            values[name] = expand_text(declaration.default, values, place, findings, keep=False)
        else:
            findings.error(place, f"{name} has no value: give --var {name}=... or set {source}")
            values[name] = ""
    for name in given:
        if name not in declared:
            hint = did_you_mean(name, list(declared))
            findings.error(Place("--var"), f"{name} is not a variable of the manifest{hint}")
    return values
