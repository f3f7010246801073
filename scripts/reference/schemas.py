"""JSON Schemas as lists of fields, for people."""

from __future__ import annotations

from typing import Any

_WORDS = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "object": "an object",
    "array": "a list",
    "null": "null",
}

Schema = dict[str, Any]


def fields(schema: Schema, components: Schema, *, depth: int = 0, is_answer: bool = False) -> list[str]:
    """Return the fields of an object as lines of a list, those of objects within below it.

    Args:
        schema: of an object, or a reference to one.
        components: what references lead to, by name.
        depth: of the list.
        is_answer: whether fields that may be left out are always there, as in what the runtime answers.
    """
    schema = resolved(schema, components)
    required = schema.get("required", ())
    lines = []
    for name, one in schema.get("properties", {}).items():
        about = [] if name in required or is_answer else ["may be left out"]
        if one.get("default") not in (None, "", [], {}) and not is_answer:
            about.append(f"by default `{_json(one['default'])}`")
        words = ", ".join([in_words(one, components), *about])
        description = resolved(one, components).get("description") if "$ref" not in one else None
        text = f": {description}." if description and one.get("description") else "."
        lines.append(f"{'    ' * depth}- `{name}` ({words}){text}")
        below = _object_within(one, components)
        if below is not None and depth < 2:
            lines += fields(below, components, depth=depth + 1, is_answer=is_answer)
    return lines


def in_words(schema: Schema, components: Schema) -> str:
    """Return what a value is, such as `a list of text` or `text or null`."""
    if "$ref" in schema:
        return in_words(resolved(schema, components), components)
    if "enum" in schema:
        return " or ".join(f"`{_json(value)}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{_json(schema['const'])}`"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(in_words(one, components) for one in schema["anyOf"]))
    kind = schema.get("type", "anything")
    if kind == "array" and schema.get("items"):
        return f"a list of {_plural(in_words(schema['items'], components))}"
    if kind == "object" and isinstance(of := schema.get("additionalProperties"), dict) and of:
        return f"an object of {_plural(in_words(of, components))}"
    return _WORDS.get(kind, "anything") if isinstance(kind, str) else " or ".join(_WORDS[one] for one in kind)


def resolved(schema: Schema, components: Schema) -> Schema:
    """Return what a reference leads to; any other schema itself."""
    while "$ref" in schema:
        schema = components[schema["$ref"].rpartition("/")[2]]
    return schema


def _object_within(schema: Schema, components: Schema) -> Schema | None:
    """Return the object that a field holds, or has a list of; None for others."""
    found = resolved(schema, components)
    for one in found.get("anyOf", [found]):
        one = resolved(one, components)
        if one.get("type") == "array":
            one = resolved(one.get("items") or {}, components)
        if one.get("properties"):
            return one
    return None


def _plural(words: str) -> str:
    first, _, rest = words.removeprefix("an ").removeprefix("a ").partition(" ")
    many = f"{first}s" if words.startswith(("a ", "an ")) else first
    return f"{many} {rest}".strip()


def _json(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)
