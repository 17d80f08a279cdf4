"""What a method asks for, apart from how its answer is waited for.

A method of the synchronous client makes an `Ask` and is marked `blocking`, or `Pages`
and `paged`: the mark sends it and waits. The asynchronous client has the same methods
by `awaited` and `awaited_pages`, which take the same `Ask` and await it. So what is
asked and how answers are read is said once. Knows nothing of what any method asks.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Ask(Generic[_Result]):
    """One request, and how its answer is read."""

    method: Callable[..., Any]
    """Of a stub."""
    request: Any
    read: Callable[[Any], _Result]
    """Gives the result; called with the answer, or with all messages of a stream."""
    is_streamed: bool = False
    """Whether the answer is a stream."""


@dataclass(frozen=True, slots=True)
class Pages(Generic[_Result]):
    """A list that is asked for page by page."""

    method: Callable[..., Any]
    request: Any
    """With page_size; page_token is filled in."""
    read: Callable[[Any], Iterable[_Result]]
    """Gives the members of one page."""


def blocking(
    make: Callable[Concatenate[Any, _Parameters], Ask[_Result]],
) -> Callable[Concatenate[Any, _Parameters], _Result]:
    """Returns a method that sends what is asked for and waits for the answer."""

    @wraps(make)
    def method(
        self: Any, /, *args: _Parameters.args, **kwargs: _Parameters.kwargs
    ) -> _Result:
        ask = make(self, *args, **kwargs)
        result: _Result = self._ask(ask)
        return result

    _show(method, make, "{}")
    return method


def awaited(
    method: Callable[Concatenate[Any, _Parameters], _Result],
) -> Callable[Concatenate[Any, _Parameters], Coroutine[Any, Any, _Result]]:
    """Returns the asynchronous twin of a `blocking` method."""
    make = inspect.unwrap(method)

    @wraps(make)
    async def twin(
        self: Any, /, *args: _Parameters.args, **kwargs: _Parameters.kwargs
    ) -> _Result:
        ask: Any = make(self, *args, **kwargs)
        result: _Result = await self._ask(ask)
        return result

    _show(twin, make, "{}")
    return twin


def paged(
    make: Callable[Concatenate[Any, _Parameters], Pages[_Result]],
) -> Callable[Concatenate[Any, _Parameters], Iterator[_Result]]:
    """Returns a method that fetches page after page as members are taken."""

    @wraps(make)
    def method(
        self: Any, /, *args: _Parameters.args, **kwargs: _Parameters.kwargs
    ) -> Iterator[_Result]:
        pages = make(self, *args, **kwargs)
        while True:
            page = self._ask(Ask(pages.method, pages.request, _itself))
            yield from pages.read(page)
            pages.request.page_token = page.next_page_token
            if not page.next_page_token:
                return

    _show(method, make, "Iterator[{}]")
    return method


def awaited_pages(
    method: Callable[Concatenate[Any, _Parameters], Iterator[_Result]],
) -> Callable[Concatenate[Any, _Parameters], AsyncIterator[_Result]]:
    """Returns the asynchronous twin of a `paged` method."""
    make = inspect.unwrap(method)

    @wraps(make)
    async def twin(
        self: Any, /, *args: _Parameters.args, **kwargs: _Parameters.kwargs
    ) -> AsyncIterator[_Result]:
        pages: Any = make(self, *args, **kwargs)
        while True:
            page = await self._ask(Ask(pages.method, pages.request, _itself))
            for member in pages.read(page):
                yield member
            pages.request.page_token = page.next_page_token
            if not page.next_page_token:
                return

    _show(twin, make, "AsyncIterator[{}]")
    return twin


def _itself(answer: Any) -> Any:
    return answer


def _show(method: Callable[..., Any], make: Callable[..., Any], form: str) -> None:
    """Has help() show a method with what it gives, not with its Ask."""
    given = str(make.__annotations__["return"]).partition("[")[2][:-1]
    signature = inspect.signature(make).replace(return_annotation=form.format(given))
    method.__signature__ = signature  # type: ignore[attr-defined]
