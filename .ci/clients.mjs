// Asks a running server for structured answers with the clients of Node, each as its
// documentation shows, and checks every answer against the schema it was asked for.
//
//   node clients.mjs URL MODEL
//
// Run by .ci/clients, from a directory that has the packages.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateObject, generateText, Output, stepCountIs, streamObject, tool } from "ai";
import OpenAI from "openai";
import { zodFunction, zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

const [url, name] = process.argv.slice(2);
const baseURL = url + "/v1", apiKey = "none", prompt = "projectes sobre energia solar";
const messages = [{ role: "user", content: prompt }];

const Shape = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("circle"), radius: z.number() }),
  z.object({ kind: z.literal("square"), side: z.int().min(1) }),
]);
const Order = z.object({
  number: z.string().describe("As printed."),
  currency: z.enum(["EUR", "USD"]),
  due: z.iso.date().nullable(),
  shape: Shape,
  lines: z.array(z.object({ label: z.string().max(20), quantity: z.int().min(0).max(99) })).max(3),
});
const Tree = z.object({ label: z.enum(["a", "b"]), get children() { return z.array(Tree).max(2); } });
const schemas = { Order, Tree };

const failures = [];
async function check(what, run) {
  try {
    await run();
    console.log(what);
  } catch (e) {
    failures.push(what);
    console.error(`${what}: ${e.responseBody ?? e.stack}`);
  }
}
const version = (pack) => JSON.parse(readFileSync(`node_modules/${pack}/package.json`)).version;

async function openai() {
  const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
  const ask = (more) => client.chat.completions.parse({ model: name, messages, ...more });
  for (const [title, schema] of Object.entries(schemas)) {
    await check(`openai: zodResponseFormat, ${title}`, async () => {
      const { message } = (await ask({ response_format: zodResponseFormat(schema, title) })).choices[0];
      schema.parse(message.parsed);
    });
    await check(`openai: zodFunction, ${title}`, async () => {
      const { message } = (await ask({ tools: [zodFunction({ name: title, parameters: schema })], tool_choice: { type: "function", function: { name: title } } })).choices[0];
      schema.parse(message.tool_calls[0].function.parsed_arguments);
    });
    await check(`openai: stream, ${title}`, async () => {
      const stream = client.chat.completions.stream({ model: name, messages, response_format: zodResponseFormat(schema, title) });
      schema.parse((await stream.finalChatCompletion()).choices[0].message.parsed);
    });
  }
  await check("openai: runTools, a function of the model's choice, is refused by name", async () => {
    const refused = client.chat.completions.runTools({ model: name, messages, tools: [zodFunction({ name: "Tree", parameters: Tree, function: () => "" })] }).finalContent();
    await assert.rejects(refused, { status: 400, param: "tool_choice" });
  });
  for (const [param, value] of Object.entries({ n: 2, logprobs: true, tool_choice: "required", presence_penalty: 1 })) {
    await check(`openai: ${param} is refused by name`, () => assert.rejects(ask({ [param]: value }), { status: 400, param }));
  }
}

// sdk asks through Vercel's AI SDK, with a model of one of its providers.
async function sdk(provider, model) {
  for (const [title, schema] of Object.entries(schemas)) {
    await check(`${provider}: generateObject, ${title}`, async () => schema.parse((await generateObject({ model, schema, prompt, maxRetries: 0 })).object));
    await check(`${provider}: streamObject, ${title}`, async () => {
      const { object, partialObjectStream } = streamObject({ model, schema, prompt, maxRetries: 0, onError() {} });
      for await (const part of partialObjectStream) assert.equal(typeof part, "object");
      schema.parse(await object);
    });
    await check(`${provider}: generateText with Output.object, ${title}`, async () => {
      schema.parse((await generateText({ model, output: Output.object({ schema }), prompt, maxRetries: 0 })).output);
    });
    await check(`${provider}: generateText with a tool, ${title}`, async () => {
      const { toolCalls } = await generateText({ model, tools: { order: tool({ inputSchema: schema }) }, toolChoice: { type: "tool", toolName: "order" }, prompt, maxRetries: 0 });
      schema.parse(toolCalls[0].input);
    });
  }
  await check(`${provider}: generateText with a tool that is not called`, async () => {
    const { text, toolCalls } = await generateText({ model, tools: { order: tool({ inputSchema: Order }) }, toolChoice: "none", prompt, maxRetries: 0 });
    assert(text.length > 0 && toolCalls.length === 0);
  });
  await check(`${provider}: generateText, text after a tool`, async () => {
    const turn = tool({ inputSchema: Tree, execute: async () => "done" });
    const { steps, text } = await generateText({
      model, tools: { turn }, prompt, maxRetries: 0, stopWhen: stepCountIs(2),
      prepareStep: ({ stepNumber }) => ({ toolChoice: stepNumber === 0 ? { type: "tool", toolName: "turn" } : "none" }),
    });
    assert(steps.length === 2 && text.length > 0);
  });
  await check(`${provider}: generateObject, a list`, async () => {
    z.array(Shape).parse((await generateObject({ model, output: "array", schema: Shape, prompt, maxRetries: 0 })).object);
  });
  await check(`${provider}: generateObject, one of several words`, async () => {
    const words = ["projects", "people"];
    assert(words.includes((await generateObject({ model, output: "enum", enum: words, prompt, maxRetries: 0 })).object));
  });
  await check(`${provider}: generateObject, without a schema`, async () => {
    const { object } = await generateObject({ model, output: "no-schema", prompt, maxRetries: 0 });
    assert.equal(typeof object, "object");
  });
}

console.log(["openai", "zod", "ai", "@ai-sdk/openai", "@ai-sdk/openai-compatible"].map((p) => `${p} ${version(p)}`).join(", "));
await openai();
const compatible = { name: "salamandra", baseURL, apiKey, includeUsage: true };
await sdk("@ai-sdk/openai-compatible", createOpenAICompatible({ ...compatible, supportsStructuredOutputs: true })(name));
await sdk("@ai-sdk/openai", createOpenAI({ baseURL, apiKey }).chat(name));
if (failures.length > 0) process.exit(1);
