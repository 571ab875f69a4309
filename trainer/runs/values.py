"""A configuration as plain values with their units: as it stands in records and bundles.

`TrainerConfig.model_dump` gives bare numbers, which the file's own rules refuse; here `60.0` becomes
`"60s"` again, so that what was recorded can be read back, changed by key, and trained once more.
"""

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, BeforeValidator, ValidationError
from pydantic.fields import FieldInfo

from fleet_contract.errors import ConfigError
from fleet_contract.messages import first_problem
from fleet_contract.units import parse_bytes, parse_hertz, parse_seconds
from trainer.config import TrainerConfig, parse_pixels

Values = dict[str, Any]
_UNITS = {parse_seconds: "s", parse_pixels: "px", parse_bytes: "B", parse_hertz: "Hz"}


def values_of(config: TrainerConfig) -> Values:
    """The whole configuration, defaults included, as JSON values that `config_of` reads back."""
    return _table(config)


def config_of(values: Mapping[str, Any], source: str) -> TrainerConfig:
    """The configuration in `values`. Raises ConfigError that names `source` and the key."""
    try:
        return TrainerConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{source}: {first_problem(error)}") from error


def changed(config: TrainerConfig, changes: Mapping[str, object], source: str) -> TrainerConfig:
    """With other values, by `table.key`; checked as those of a file are. Raises ConfigError."""
    values = values_of(config)
    for name, value in changes.items():
        table, _, key = name.partition(".")
        values[table] = {**values[table], key: value}
    return config_of(values, source)


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as `table.key`; lists stay as they are."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        result |= flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return result


def _table(table: BaseModel) -> Values:
    fields = type(table).model_fields
    return {name: _value(getattr(table, name), _unit(field)) for name, field in fields.items()}


def _value(value: object, unit: str) -> Any:
    if isinstance(value, BaseModel):
        return _table(value)
    if isinstance(value, Mapping):
        return {str(key): _value(one, "") for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_value(one, unit) for one in value]
    if unit and isinstance(value, int | float):
        return f"{number(value)}{unit}"
    return value


def number(value: float) -> str:
    """The shortest decimal that reads back as `value`, without an exponent."""
    text = repr(value)
    return f"{value:.12f}".rstrip("0") if "e" in text else text.removesuffix(".0")


def _unit(field: FieldInfo) -> str:
    found = [*field.metadata, *_nested(field.annotation)]
    parsers = [one.func for one in found if isinstance(one, BeforeValidator)]
    return next((unit for parser, unit in _UNITS.items() if parser in parsers), "")


def _nested(annotation: object) -> list[object]:
    """What stands in `Annotated` inside of an annotation, such as in `Seconds | None`."""
    inner = [one for part in get_args(annotation) for one in _nested(part)]
    return [*getattr(annotation, "__metadata__", ()), *inner]
