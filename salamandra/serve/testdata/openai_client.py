"""Asks a server with OpenAI's own client, and instructor: python openai_client.py URL KEY

Each check prints its name; one that fails ends the program. Without the packages
it ends with status 3.
"""

import asyncio
import json
import sys
from typing import Literal

try:
    import instructor
    import openai
    from pydantic import BaseModel
except ImportError as missing:
    print(missing)
    sys.exit(3)

url, key = sys.argv[1] + "/v1", sys.argv[2]
client = openai.OpenAI(base_url=url, api_key=key, max_retries=0)
hello = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "energia solar"}]


def refused(kind, code, **request):
    request = {"model": "impulse", "messages": hello, **request}
    try:
        client.chat.completions.create(**request)
    except kind as e:
        assert e.code == code, e
        assert e.request_id, e
        return
    raise AssertionError(f"{kind.__name__} expected")


models = client.models.list()
assert [m.id for m in models] == ["impulse"], models
print("models")

whole = client.chat.completions.create(model="impulse", messages=hello, max_completion_tokens=12, temperature=0)
assert whole.choices[0].message.role == "assistant"
assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
text = whole.choices[0].message.content
assert text, whole
print("answer")

chunks = list(client.chat.completions.create(
    model="impulse", messages=hello, max_completion_tokens=12, temperature=0, stream=True, stream_options={"include_usage": True}))
assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == text
assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason
assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
print("stream")

draw = [client.chat.completions.create(model="impulse", messages=hello, max_tokens=12, temperature=1, top_p=0.9, seed=7).choices[0].message.content for _ in range(2)]
assert draw[0] == draw[1], draw
print("seed")


class Place(BaseModel):
    city: Literal["Girona", "Lleida"]


place = client.chat.completions.parse(model="impulse", messages=hello, response_format=Place).choices[0].message.parsed
assert place.city in ("Girona", "Lleida")
with client.chat.completions.stream(model="impulse", messages=hello, response_format=Place) as events:
    assert events.get_final_completion().choices[0].message.parsed == place
print("pydantic model")

own = client.chat.completions.create(model="impulse", messages=hello, response_format={"type": "json_schema"})
assert json.loads(own.choices[0].message.content)["meta"]["lang"] in ("CA", "ES", "EN")
any_object = client.chat.completions.create(model="impulse", messages=hello, response_format={"type": "json_object"}, max_tokens=60)
assert isinstance(json.loads(any_object.choices[0].message.content), dict), any_object
print("json_object")

tool = openai.pydantic_function_tool(Place)
called = client.chat.completions.parse(
    model="impulse", messages=hello, tools=[tool], tool_choice={"type": "function", "function": {"name": "Place"}})
assert called.choices[0].message.tool_calls[0].function.parsed_arguments.city in ("Girona", "Lleida")
print("function")

for mode in (instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA):
    got = instructor.from_openai(client, mode=mode).chat.completions.create(model="impulse", messages=hello, response_model=Place, max_retries=0)
    assert got.city in ("Girona", "Lleida"), (mode, got)
print("instructor")

refused(openai.BadRequestError, "unsupported_value", n=2)
refused(openai.BadRequestError, "invalid_value", messages=[])
refused(openai.NotFoundError, "model_not_found", model="gpt-4o")
refused(openai.UnprocessableEntityError, "answer_too_long", max_tokens=2, response_format={"type": "json_schema"})
refused(openai.BadRequestError, "context_length_exceeded", messages=[{"role": "user", "content": "1 " * 5000}])
client, right = openai.OpenAI(base_url=url, api_key="not a key", max_retries=0), client
refused(openai.AuthenticationError, "invalid_api_key")
client = right
print("refusals")


async def together():
    async with openai.AsyncOpenAI(base_url=url, api_key=key) as many:
        async def one(i):
            r = await many.chat.completions.create(
                model="impulse", messages=[{"role": "user", "content": f"q{i}"}],
                response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": {"const": i}}})
            assert r.choices[0].message.content == str(i), (i, r)
        await asyncio.gather(*(one(i) for i in range(16)))


asyncio.run(together())
print("16 at once")

leaving = client.chat.completions.create(model="impulse", messages=hello, stream=True)
next(iter(leaving))
leaving.close()
assert client.chat.completions.create(model="impulse", messages=hello, max_tokens=1).choices
print("left early")
