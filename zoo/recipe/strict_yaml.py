"""YAML without its traps: only `true`/`false` are booleans, `012` and `1_000` stay text, `1e-3` is a number, and a key
given twice is an error."""

import re
from typing import Any

import yaml

# libyaml parses four times as fast; a PyYAML built without it has no such loader.
FastLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class StrictLoader(FastLoader):  # type: ignore[misc]
    """PyYAML's safe loader with YAML 1.2's core schema for plain scalars."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own name

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse duplicate keys."""
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int | float | bool):
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} is no plain word", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", key_node.start_mark)
            seen.add(key)
        values: dict[Any, Any] = super().construct_mapping(node, deep)
        return values


def _rule(tag: str, pattern: str, first: str) -> None:
    StrictLoader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"^(?:{pattern})$"), list(first))


_rule("bool", "true|false", "tf")

_rule("null", "null|~|", "n~\0")

StrictLoader.yaml_implicit_resolvers[""] = [("tag:yaml.org,2002:null", re.compile("^$"))]

_rule("int", r"-?(?:0|[1-9][0-9]*)", "-0123456789")

_rule("float", r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?", "-+.0123456789")
