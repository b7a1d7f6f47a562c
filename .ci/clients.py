"""Asks a running server for structured answers with the clients of Python, each as its
documentation shows, and checks every answer against the model it was asked for.

    python clients.py CLIENT URL MODEL

CLIENT is the package: openai, instructor or langchain-openai. Run by .ci/clients, with
a Python that has it.
"""

import sys
from datetime import date
from enum import Enum
from importlib.metadata import version
from typing import Literal, Optional, Union

import openai
from pydantic import BaseModel, Field, field_validator

package, url, name = sys.argv[1], sys.argv[2] + "/v1", sys.argv[3]
question = "projectes sobre energia solar"
messages = [{"role": "user", "content": question}]
failures = []


class Circle(BaseModel):
    kind: Literal["circle"]
    radius: float


class Square(BaseModel):
    kind: Literal["square"]
    side: int = Field(ge=1)


class Currency(str, Enum):
    EUR = "EUR"
    USD = "USD"


class Line(BaseModel):
    label: str = Field(max_length=20)
    quantity: int = Field(ge=0, le=99, description="Pieces.")


class Order(BaseModel):
    """An order as it is printed."""

    number: str
    currency: Currency
    due: Optional[date]
    shape: Union[Circle, Square]
    lines: list[Line] = Field(max_length=3)


class Tree(BaseModel):
    label: Literal["a", "b"]
    children: list["Tree"] = Field(max_length=2)


def check(what, run):
    try:
        run()
        print(what)
    except Exception as e:
        failures.append(what)
        print(f"{what}: {type(e).__name__}: {e}"[:2000], file=sys.stderr)


def of(model, value):
    """Fails unless value is a model that is valid, what its fields hold included."""
    assert isinstance(value, model), value
    model.model_validate_json(value.model_dump_json())


def with_openai():
    client = openai.OpenAI(base_url=url, api_key="none", max_retries=0).chat.completions

    def called(model):
        choice = {"type": "function", "function": {"name": model.__name__}}
        answer = client.parse(model=name, messages=messages, tools=[openai.pydantic_function_tool(model)], tool_choice=choice)
        of(model, answer.choices[0].message.tool_calls[0].function.parsed_arguments)

    def streamed(model):
        with client.stream(model=name, messages=messages, response_format=model) as events:
            of(model, events.get_final_completion().choices[0].message.parsed)

    for model in (Order, Tree):
        check(f"openai: parse, {model.__name__}", lambda: of(model, client.parse(
            model=name, messages=messages, response_format=model).choices[0].message.parsed))
        check(f"openai: pydantic_function_tool, {model.__name__}", lambda: called(model))
        check(f"openai: stream, {model.__name__}", lambda: streamed(model))


def with_instructor():
    import instructor

    client = openai.OpenAI(base_url=url, api_key="none", max_retries=0)
    def again(ask):
        """A validator of its own refuses the first answer; instructor asks again, with the fault."""
        values = []

        class Doubted(Tree):
            @field_validator("label")
            @classmethod
            def second(cls, value):
                values.append(value)
                if len(values) == 1:
                    raise ValueError("not this one")
                return value

        of(Tree, ask.create(model=name, messages=messages, response_model=Doubted, max_retries=2))
        assert len(values) >= 2, values

    for mode in (instructor.Mode.TOOLS, instructor.Mode.TOOLS_STRICT, instructor.Mode.JSON_SCHEMA):
        ask = instructor.from_openai(client, mode=mode).chat.completions
        for model in (Order, Tree):
            check(f"instructor: {mode.name}, {model.__name__}", lambda: of(model, ask.create(
                model=name, messages=messages, response_model=model, max_retries=0)))
        check(f"instructor: {mode.name}, a list", lambda: [of(Line, line) for line in ask.create(
            model=name, messages=messages, response_model=list[Line], max_retries=0)])
        check(f"instructor: {mode.name}, asked again", lambda: again(ask))
        check(f"instructor: {mode.name}, in pieces", lambda: of(Tree, list(ask.create_partial(
            model=name, messages=messages, response_model=Tree, max_retries=0))[-1]))


def with_langchain():
    from langchain_openai import ChatOpenAI

    chat = ChatOpenAI(base_url=url, api_key="none", model=name, max_retries=0)
    for method, strict in (("json_schema", None), ("json_schema", True), ("function_calling", None), ("function_calling", True)):
        for model in (Order, Tree):
            ask = chat.with_structured_output(model, method=method, strict=strict)
            title = f"langchain: {method}, strict {strict}, {model.__name__}"
            check(title, lambda: of(model, ask.invoke(question)))
            check(title + ", in pieces", lambda: of(model, list(ask.stream(question))[-1]))
    words = chat.with_structured_output(Order.model_json_schema(), method="json_schema")
    check("langchain: json_schema, a dict", lambda: Order.model_validate(words.invoke(question)))
    any_object = chat.with_structured_output(None, method="json_mode")
    check("langchain: json_mode", lambda: dict(any_object.invoke(question)))

    def unforced():
        try:
            chat.bind_tools([Order]).invoke(question)
        except openai.BadRequestError as e:
            assert e.param == "tool_choice", e
        else:
            raise AssertionError("answered")

    check("langchain: bind_tools without a choice is refused by name", unforced)


print(", ".join(f"{p} {version(p)}" for p in dict.fromkeys([package, "openai", "pydantic"])))
{"openai": with_openai, "instructor": with_instructor, "langchain-openai": with_langchain}[package]()
if failures:
    sys.exit(1)
