"""One OpenAI-compatible server, asked many things at once: retries, limits, and no text that the server did not send.

    client.complete([ChatRequest("planner", body), ...])       # the replies, in the order asked

A batch is answered whole, or `PolicyError` says which endpoint sent what. Requests run in an event loop on a thread of its own, so
that Ctrl-C ends them at once and a notebook, which has a loop already, is no obstacle. Knows no turns, no prompts and no game.
"""

from __future__ import annotations

from jade_env.clients import Failure, is_loopback, may_pass, retry_after
from jade_env.errors import ConfigError, MissingExtra, PolicyError

try:
    import httpx
    import tenacity
except ImportError as missing:
    raise MissingExtra(missing.name or "httpx", "remote") from None

import asyncio
import json
import os
import re
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from jade_env.chat_recipe import RemoteChatRecipe
from jade_env.policy.token_ledger import TokenLedger

PATH = "/chat/completions"
_THOUGHTS = re.compile(r"\A.*?</think>\s*", re.DOTALL)  # some servers' prompts have opened them already
STOPPING = 2.0
"""Seconds that requests under way have to end once nobody waits for them."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """What is asked: the request's fields, and the agent on whose account it goes."""

    agent: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reply:
    """What came: the text, why it ended, and the tokens read and written, as the server counts them (0 where it does not)."""

    text: str
    finish: str
    prompt_tokens: int
    completion_tokens: int


class ChatClient:
    """Asks one server. Connections are kept and used again; safe to call from several threads.

    Attributes:
        endpoint: the URL that requests go to.
        ledger: requests and tokens so far.

    Raises:
        ConfigError: the key in the environment cannot be sent.
    """

    def __init__(self, settings: RemoteChatRecipe) -> None:
        self.endpoint = settings.base_url + PATH
        self.ledger = TokenLedger(f"{settings.model} at {settings.base_url}")
        self._settings = settings
        self._key = _key(settings.api_key_env)
        self._http = httpx.AsyncClient(
            headers={"content-type": "application/json", "accept-encoding": "identity"}
            | ({"authorization": f"Bearer {self._key}"} if self._key else {}),
            timeout=settings.timeout,
            limits=httpx.Limits(max_connections=settings.concurrency, max_keepalive_connections=settings.concurrency),
            trust_env=not is_loopback(urlsplit(settings.base_url).hostname or ""),  # proxies are for servers elsewhere
        )
        self._gate = asyncio.Semaphore(settings.concurrency)
        self._backoff = tenacity.wait_random_exponential(multiplier=0.5, max=settings.longest_pause)
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="remote-chat", daemon=True).start()
        self._stop = weakref.finalize(self, self._loop.call_soon_threadsafe, self._loop.stop)

    def complete(self, requests: Sequence[ChatRequest]) -> list[Reply]:
        """Ask for all of them, several at once; return the replies in the order asked, whatever the order of arrival.

        Raises:
            PolicyError: one of them stayed without an answer after all tries; the others are given up.
        """
        over = threading.Event()
        answers = asyncio.run_coroutine_threadsafe(self._complete_all(requests, over), self._loop)
        try:
            return answers.result()
        except BaseException:  # Ctrl-C included: what is under way is wanted no more
            answers.cancel()
            over.wait(STOPPING)
            raise

    def close(self) -> None:
        """Close all connections; the client cannot be asked after."""
        if self._stop.alive:
            asyncio.run_coroutine_threadsafe(self._http.aclose(), self._loop).result(STOPPING)
            self._stop()

    async def _complete_all(self, requests: Sequence[ChatRequest], over: threading.Event) -> list[Reply]:
        tasks = [asyncio.create_task(self._complete(request)) for request in requests]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            over.set()

    async def _complete(self, request: ChatRequest) -> Reply:
        """Ask until there is an answer, the failure is none that passes, or the tries are used up."""
        tries = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(lambda error: isinstance(error, Failure) and error.passing),
            stop=tenacity.stop_after_attempt(1 + self._settings.retries),
            wait=self._pause,
            reraise=True,
        )
        body = json.dumps(request.body).encode()
        account = self.ledger.of(request.agent)
        async with self._gate:  # kept while it pauses: a busy server is asked less
            try:
                reply: Reply = await tries(self._ask, body, request.agent)
            except Failure as error:
                tried = (
                    f" (tried {1 + self._settings.retries} times)" if error.passing and self._settings.retries else ""
                )
                raise PolicyError(f"{request.agent}: {self.endpoint}: {error}{tried}") from None
        account.add(prompt_tokens=reply.prompt_tokens, completion_tokens=reply.completion_tokens)
        account.add(empty=not reply.text, cut=reply.finish == "length")
        return reply

    def _pause(self, state: tenacity.RetryCallState) -> float:
        """Seconds before the next try: a drawn one that grows, or what the server asks for if that is longer."""
        error = state.outcome.exception() if state.outcome else None
        asked = error.pause if isinstance(error, Failure) else 0.0
        return max(self._backoff(state), min(asked, self._settings.longest_pause))

    async def _ask(self, body: bytes, agent: str) -> Reply:
        """One request."""
        account = self.ledger.of(agent)
        account.add(requests=1)
        try:
            status, headers, content = await self._post(body)
            if status != 200:
                pause = retry_after(headers.get("retry-after"))
                raise Failure(f"status {status}: {self._said(content)}{self._hint(status)}", pause, may_pass(status))
            reply = _read_reply(content)
            if reply is None:
                raise Failure(f"status 200, but no choices[0].message.content in it: {self._said(content)}")
            return reply
        except Failure:
            account.add(failures=1)
            raise

    async def _post(self, body: bytes) -> tuple[int, httpx.Headers, bytes]:
        """Send a body; return the status, the headers and the whole content."""
        limit, content = int(self._settings.max_response_mb * 1_000_000), bytearray()
        try:
            async with (
                asyncio.timeout(self._settings.timeout),
                self._http.stream("POST", self.endpoint, content=body) as answer,
            ):
                if answer.headers.get("content-encoding", "identity") != "identity":
                    raise Failure("a compressed answer, which was not asked for")
                async for piece in answer.aiter_raw():
                    content += piece
                    if len(content) > limit:
                        size = f"{self._settings.max_response_mb:g}"
                        raise Failure(f"an answer of more than {size} MB (max_response_mb)", passing=False)
        except (TimeoutError, httpx.TimeoutException):
            raise Failure(f"no whole answer within {self._settings.timeout:g} s (timeout)") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Failure(str(error) or type(error).__name__) from None
        return answer.status_code, answer.headers, bytes(content)

    def _said(self, content: bytes) -> str:
        """The beginning of what a server sent, without our key, should it send that back."""
        text = content.decode("utf-8", "replace")
        return repr((text.replace(self._key, "***") if self._key else text)[:300])

    def _hint(self, status: int) -> str:
        if status not in (401, 403):
            return ""
        held = "its value was sent" if self._key else "which is not set"
        return f"; the key is read from the environment variable {self._settings.api_key_env}, {held}"


def _key(variable: str) -> str:
    key = os.environ.get(variable, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(f"the environment variable {variable} holds characters that cannot be in a key")
    return key


def _read_reply(content: bytes) -> Reply | None:
    """The text of a chat completion, without thoughts that stand before it; None if the answer is none."""
    try:
        tree = json.loads(content)
        choice = tree["choices"][0]
        text = choice["message"]["content"]
    except (ValueError, RecursionError, LookupError, TypeError):
        return None
    if not isinstance(text, str | None):
        return None
    usage = tree.get("usage")
    return Reply(
        _THOUGHTS.sub("", text or "").encode("utf-8", "replace").decode(),  # half a surrogate pair is no text
        str(choice.get("finish_reason")),
        _count(usage, "prompt_tokens"),
        _count(usage, "completion_tokens"),
    )


def _count(usage: Any, name: str) -> int:
    number = usage.get(name) if isinstance(usage, dict) else None
    return number if isinstance(number, int) and number >= 0 else 0
