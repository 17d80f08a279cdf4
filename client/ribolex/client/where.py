"""Conditions on RNAs as one types them: "type=tRNA", "length>=50"."""

import re

from ribolex.client.errors import InvalidRequestError
from ribolex.client.hits import Between, NoneOf, Test

_FORM = re.compile(r"\s*([^=!<>]+?)\s*(!=|>=|<=|=)\s*(.*?)\s*", re.DOTALL)
_OR = "|"


def parse_condition(text: str) -> tuple[str, Test]:
    """Returns a key and what must hold for its value.

    Args:
        text: "key=value", "key=one|another", "key!=value", "key>=number" or
            "key<=number".

    Raises:
        InvalidRequestError: it is none of these.
    """
    found = _FORM.fullmatch(text)
    if found is None or not all(one.strip() for one in found[3].split(_OR)):
        raise InvalidRequestError(
            f"{text!r} is no condition, expected KEY=VALUE, KEY=ONE|OTHER, KEY!=VALUE, "
            "KEY>=NUMBER or KEY<=NUMBER"
        )
    key, sign, value = found.groups()
    values = tuple(one.strip() for one in value.split(_OR))
    if sign == "=":
        return key, values
    if sign == "!=":
        return key, NoneOf(values)
    try:
        number = float(value)
    except ValueError as error:
        raise InvalidRequestError(
            f"{text!r}: {value!r} is no number, expected one after {sign}"
        ) from error
    return key, Between(number, None) if sign == ">=" else Between(None, number)
