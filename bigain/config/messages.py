"""One line for a human from pydantic's errors: the key, its value, what is allowed, a near match.

A location such as `("task", "classification", "trial_list", 0)` is walked through the models: union
tags and list positions are dropped, which leaves the key the user wrote (`task.trial_list`) and the
field whose description says what is allowed.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from bigain.config.run import RunConfig

__all__ = ["all_keys", "did_you_mean", "format_validation_error", "unknown_key"]

_LONGEST_VALUE = 60


@dataclass(frozen=True)
class _Place:
    """Where an error is: the dotted key, the field if there is one, and the model it belongs to."""

    key: str
    field: FieldInfo | None
    model: type[BaseModel] | None


def format_validation_error(
    error: ValidationError, typed: Mapping[str, str] | None = None, groups: Iterable[str] = ()
) -> str:
    """All of `error` in one line.

    `typed` maps keys to the overrides as the user typed them, which the line then quotes; `groups`
    are further names to suggest for a misspelt key.
    """
    typed = typed or {}
    lines = [_one(dict(detail), typed, groups) for detail in error.errors()]
    return "; ".join(dict.fromkeys(lines))


def unknown_key(typed: str, key: str, allowed: Sequence[str], candidates: Iterable[str]) -> str:
    """The line for a key that does not exist; `candidates` are searched for a near match."""
    names = ", ".join(allowed) if allowed else "no settings"
    return f"{typed}: no such key; allowed: {names}{did_you_mean(key, candidates)}"


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """`; did you mean X?` or nothing.  A dotted candidate also matches by its last part alone."""
    known = [name for name in candidates if name != word]
    by_last_part = [name for name in known if name.rpartition(".")[2] == word.rpartition(".")[2]]
    last_parts = {name.rpartition(".")[2]: name for name in reversed(known)}
    near_last_parts = difflib.get_close_matches(word.rpartition(".")[2], last_parts, n=1)
    matches = (
        [name for name in by_last_part if "." in name]
        or difflib.get_close_matches(word, known, n=1)
        or [last_parts[part] for part in near_last_parts]
    )
    return f"; did you mean {matches[0]}?" if matches else ""


def all_keys(model: type[BaseModel] = RunConfig, prefix: str = "") -> list[str]:
    """Every key of a run, dotted, of all operators together."""
    keys: list[str] = []
    for name, field in _typed_fields(model).items():
        key = f"{prefix}{name}"
        nested = [leaf for child in _models(field) for leaf in all_keys(child, f"{key}.")]
        keys += [key, *nested]
    return list(dict.fromkeys(keys))


def _one(detail: Mapping[str, Any], typed: Mapping[str, str], groups: Iterable[str]) -> str:
    place = _place(detail["loc"])
    if detail["type"] == "files":  # what is wrong in them is one whole line
        return str(detail["msg"])
    if detail["type"] == "combination":
        return _combination(detail["ctx"], typed)
    if detail["type"] == "extra_forbidden":
        return _extra(place, detail["input"], typed, groups)
    value = "" if detail["type"] == "missing" else f"={_shown(detail['input'])}"
    written = typed.get(place.key, f"{place.key}{value}")
    if detail["type"] == "union_tag_invalid":
        written = typed.get(f"{place.key}.name", f"{place.key}={detail['ctx']['tag']}")
    missing = " is missing" if written == place.key else ""
    why = f"{detail['msg']}; " if detail["type"] == "path" else ""
    allowed = (place.field and place.field.description) or detail["msg"]
    return f"{written}{missing}: {why}allowed: {allowed}"


def _combination(context: Mapping[str, Any], typed: Mapping[str, str]) -> str:
    """The line of `not_allowed`, with the setting as it was typed, where it was."""
    key = context["key"]
    written = typed.get(key, f"{key}={context['value']}")
    return f"{written}: allowed: {context['allowed']}"


def _extra(place: _Place, value: object, typed: Mapping[str, str], groups: Iterable[str]) -> str:
    key = next((name for name in typed if f"{name}.".startswith(f"{place.key}.")), place.key)
    written = typed.get(key, f"{key}={_shown(value)}")
    group, _, name = place.key.rpartition(".")
    if not group or place.model is None:
        candidates = [*all_keys(), *groups]
        return unknown_key(written, key, list(RunConfig.model_fields), candidates)
    fields = [field for field in _typed_fields(place.model) if field != "name"]
    near = difflib.get_close_matches(name, fields, n=1)
    hint = f"; did you mean {group}.{near[0]}?" if near else _elsewhere(group, name)
    allowed = [f"{group}.{field}" for field in fields]
    line = unknown_key(written, key, allowed, [])
    tag = _tag(place.model)
    return (line.replace("no such key", f"no such key of {group}={tag}") if tag else line) + hint


def _elsewhere(group: str, name: str) -> str:
    """Which options of the group have a setting `name`, or one that looks like it."""
    _, tagged = _below(RunConfig.model_fields[group.partition(".")[0]])
    settings = [field for model in tagged.values() for field in _typed_fields(model)]
    near = difflib.get_close_matches(name, settings, n=1)
    if not near:
        return ""
    having = [tag for tag, model in tagged.items() if near[0] in model.model_fields]
    question = "" if near[0] == name else f"; did you mean {group}.{near[0]}?"
    return f"{question}; {group}.{near[0]} belongs to {group}={'|'.join(having)}"


def _place(location: Sequence[str | int]) -> _Place:
    model: type[BaseModel] | None = RunConfig
    tagged: dict[str, type[BaseModel]] = {}
    field: FieldInfo | None = None
    path: list[str] = []
    for part in location:
        if part in tagged:
            model, tagged = tagged[str(part)], {}
            continue
        if model is None:
            break
        path.append(str(part))
        fields = {field.alias or name: field for name, field in model.model_fields.items()}
        parent, field = model, fields.get(str(part))
        if field is None:
            return _Place(".".join(path), None, parent)
        model, tagged = _below(field)
    return _Place(".".join(path), field, model)


def _below(field: FieldInfo) -> tuple[type[BaseModel] | None, dict[str, type[BaseModel]]]:
    """The model of a field's value, or the models that its discriminator chooses from."""
    models = _models(field)
    if field.discriminator:
        return None, {_tag(model): model for model in models}
    return models[0] if len(models) == 1 else None, {}


def _tag(model: type[BaseModel]) -> str:
    """The name that chooses this model in its group; empty for models that are not chosen."""
    names = get_args(model.model_fields["name"].annotation) if "name" in model.model_fields else ()
    return str(names[0]) if len(names) == 1 else ""


def _typed_fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields that a user sets on the command line; `_target_` belongs to the YAML file."""
    return {name: field for name, field in model.model_fields.items() if field.alias is None}


def _models(field: FieldInfo) -> list[type[BaseModel]]:
    kinds = get_args(field.annotation) or (field.annotation,)
    return [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]


def _shown(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}..."
