"""An OpenAI-compatible endpoint on this machine: a plain function answers, and every question is written down."""

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any, Self

Said = dict[str, Any]
Reply = Callable[[list[dict[str, Any]]], tuple[int, Said] | str]


class Endpoint:
    """Answers after `delay_seconds`; a reply is a text, or a status with a body. Leave the block to stop it."""

    def __init__(self, reply: Reply, *, delay_seconds: float = 0.0) -> None:
        self._reply, self._delay = reply, delay_seconds
        self.asked: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        self.at_once = self.most_at_once = 0
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def prompts(self) -> list[str]:
        return [asked["messages"][-1]["content"] for asked in self.asked]

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self._port = server.sockets[0].getsockname()[1]
        self._started.set()
        self._loop.run_forever()
        server.close()
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                headers = dict(line.split(": ", 1) for line in head.decode().lower().split("\r\n")[1:] if line)
                asked = json.loads(await reader.readexactly(int(headers["content-length"])))
                await self._answer(asked, headers, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, asked: dict[str, Any], headers: dict[str, str], writer: asyncio.StreamWriter) -> None:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(self._delay)
        self.at_once -= 1
        self.asked.append(asked)
        self.keys.add(headers.get("authorization"))
        found = self._reply(asked["messages"])
        status, body = (200, completion(found)) if isinstance(found, str) else found
        text = json.dumps(body).encode()
        head = f"HTTP/1.1 {status} Said\r\ncontent-type: application/json\r\ncontent-length: {len(text)}\r\n\r\n"
        writer.write(head.encode() + text)
        await writer.drain()


def completion(output: str, *, finish_reason: str = "stop", **message: Any) -> Said:
    """Return a chat completion."""
    said = {"role": "assistant", "content": output, **message}
    return {
        "choices": [{"index": 0, "message": said, "finish_reason": finish_reason}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3},
    }
