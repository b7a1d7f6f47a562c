"use strict";
// Model text comes into the page as text nodes alone.
const texts = {
  ca: {
    question: "La vostra pregunta", answerLanguage: "Llengua", auto: "Automàtica", model: "Model", key: "Clau d'accés",
    send: "Pregunta", stop: "Atura", fields: "Camps", answer: "Resposta", nothing: "Cap camp amb valor.", copy: "Copia", copied: "Copiat",
    valid: "Les respostes sempre són JSON vàlid segons l'esquema.", outline: "Una resposta conté", history: "Preguntes d'aquesta visita",
    total: "en total", first: "fins al primer token", tokens: "tokens", cut: "La resposta s'ha tallat: ha arribat a la llargada màxima.",
    needKey: "Aquest servidor demana una clau d'accés.", offline: "No s'ha pogut connectar amb el servidor.", broken: "La resposta s'ha interromput.", failed: "Error",
    list: "llista", string: "text", number: "nombre", integer: "enter", boolean: "sí o no",
  },
  es: {
    question: "Tu pregunta", answerLanguage: "Idioma", auto: "Automático", model: "Modelo", key: "Clave de acceso",
    send: "Preguntar", stop: "Detener", fields: "Campos", answer: "Respuesta", nothing: "Ningún campo con valor.", copy: "Copiar", copied: "Copiado",
    valid: "Las respuestas siempre son JSON válido según el esquema.", outline: "Una respuesta contiene", history: "Preguntas de esta visita",
    total: "en total", first: "hasta el primer token", tokens: "tokens", cut: "La respuesta se ha cortado: ha llegado a la longitud máxima.",
    needKey: "Este servidor pide una clave de acceso.", offline: "No se ha podido conectar con el servidor.", broken: "La respuesta se ha interrumpido.", failed: "Error",
    list: "lista", string: "texto", number: "número", integer: "entero", boolean: "sí o no",
  },
  en: {
    question: "Your question", answerLanguage: "Language", auto: "Automatic", model: "Model", key: "Access key",
    send: "Ask", stop: "Stop", fields: "Fields", answer: "Answer", nothing: "No field has a value.", copy: "Copy", copied: "Copied",
    valid: "Answers are always valid JSON of the schema.", outline: "An answer holds", history: "Questions of this visit",
    total: "in all", first: "to the first token", tokens: "tokens", cut: "The answer was cut: it reached the greatest length.",
    needKey: "This server asks for an access key.", offline: "The server could not be reached.", broken: "The answer broke off.", failed: "Error",
    list: "list", string: "text", number: "number", integer: "whole number", boolean: "yes or no",
  },
};
const at = (id) => document.getElementById(id);
let language = "en", running = null, last = null, model = null, copyable = "";
const visits = [];

function say(name) { return texts[language][name]; }

function speak(to) {
  language = texts[to] ? to : "en";
  document.documentElement.lang = language;
  for (const e of document.querySelectorAll("[data-text]")) e.textContent = say(e.dataset.text);
  for (const b of document.querySelectorAll("[data-language]")) b.setAttribute("aria-pressed", b.dataset.language === language);
  if (running) at("sendText").textContent = say("stop");
  if (model) describe();
  if (last) show(last);
  try { localStorage.setItem("language", language); } catch { /* not kept */ }
}

function element(tag, style, ...children) {
  const e = document.createElement(tag);
  if (style) e.className = style;
  e.append(...children);
  return e;
}

function button(style, text, action) {
  const b = element("button", style, text);
  b.type = "button";
  b.addEventListener("click", action);
  return b;
}

// resolve follows references within the schema, and takes the branch that is not null.
function resolve(node, depth = 0) {
  if (!node || typeof node !== "object" || depth > 8) return {};
  if (typeof node.$ref === "string" && node.$ref.startsWith("#")) {
    const steps = node.$ref.slice(1).split("/").slice(1).map((s) => decodeURIComponent(s).replaceAll("~1", "/").replaceAll("~0", "~"));
    return { ...resolve(steps.reduce((n, s) => n?.[s], model.schema), depth + 1), ...(node.title ? { title: node.title } : {}) };
  }
  const branch = (node.anyOf || node.oneOf || node.allOf || []).map((b) => resolve(b, depth + 1)).find((b) => b.type !== "null");
  return branch ? { ...branch, ...node } : node;
}

function child(node, key) { return resolve(resolve(node).properties?.[key]); }

function nameOf(node, key) {
  const words = key.replaceAll("_", " ");
  return node.title || words.charAt(0).toUpperCase() + words.slice(1);
}

function kind(node) {
  if (node.enum) return node.enum.filter((v) => v !== null).map(String).join(" · ");
  if ("const" in node) return String(node.const);
  const types = [].concat(node.type || []).filter((t) => t !== "null");
  return types.map((t) => (t === "array" ? say("list") : say(t) || t)).join(" · ");
}

// outline lists the fields of an answer, with the names that lead there.
function outline(node, path = [], names = [], depth = 0) {
  return Object.keys(node.properties || {}).flatMap((key) => {
    const inner = child(node, key), here = [...path, key], shown = [...names, nameOf(inner, key)];
    if (model.request_values?.[here.join(".")]) return [];
    const item = inner.items ? resolve(inner.items) : inner;
    if (item.properties && depth < 4) return outline(item, here, shown, depth + 1);
    return [[shown, kind(item) + (inner.items ? ` (${say("list")})` : ""), inner.description]];
  });
}

// answerLanguages are those that the answer can be told to name.
function answerLanguages() {
  const place = Object.entries(model.request_values || {}).find(([, value]) => value === "language")?.[0];
  if (!place || !model.schema) return [];
  return (place.split(".").reduce(child, model.schema).enum || []).filter((v) => typeof v === "string");
}

function languageName(code) {
  try {
    const name = new Intl.DisplayNames([language], { type: "language" }).of(code.toLowerCase());
    return name.charAt(0).toUpperCase() + name.slice(1);
  } catch {
    return code;
  }
}

// describe shows what the model says of itself.
function describe() {
  at("title").textContent = document.title = model.title || model.id;
  at("description").textContent = model.description || "";
  at("description").hidden = !model.description;
  at("examples").replaceChildren(...(model.examples || []).map((text) => button("", text, () => {
    at("query").value = text;
    if (!running) at("form").requestSubmit();
  })));
  at("examples").hidden = !model.examples?.length;
  const chosen = at("answerLanguage").value, codes = answerLanguages();
  at("answerLanguage").replaceChildren(new Option(say("auto"), ""), ...codes.map((c) => new Option(languageName(c), c)));
  at("answerLanguage").value = codes.includes(chosen) ? chosen : "";
  at("answerLanguages").hidden = codes.length === 0;
  const rows = model.schema ? outline(resolve(model.schema)) : [];
  at("outlineFields").replaceChildren(...rows.map(([names, what, note]) => element("li", "",
    element("b", "", names.join(" › ")), element("span", "", note || what))));
  at("outline").hidden = rows.length === 0 || last !== null || running !== null;
  at("valid").hidden = !model.parse;
}

// highlight returns a value as the lines of indented JSON.
function highlight(value) {
  const lines = [];
  let line;
  const begin = (indent) => {
    line = element("span", "line", " ".repeat(indent));
    // What does not fit goes on below where the line began.
    line.style.paddingInlineStart = `${indent + 2}ch`;
    line.style.textIndent = `-${indent + 2}ch`;
    lines.push(line);
  };
  const put = (style, text) => line.append(element("span", style, text));
  const write = (item, indent) => {
    if (item === null) return put("z", "null");
    if (typeof item !== "object") return put({ string: "s", number: "n", boolean: "l" }[typeof item], JSON.stringify(item));
    const list = Array.isArray(item), entries = Object.entries(item), [open, close] = list ? "[]" : "{}";
    if (entries.length === 0) return put("p", open + close);
    put("p", open);
    entries.forEach(([key, inner], i) => {
      begin(indent + 2);
      if (!list) { put("k", JSON.stringify(key)); put("p", ": "); }
      write(inner, indent + 2);
      if (i < entries.length - 1) put("p", ",");
    });
    begin(indent);
    put("p", close);
  };
  begin(0);
  write(value, 0);
  return lines;
}

// leaves lists what has a value, with the names that lead there.
function leaves(value, node, names) {
  if (value === null || value === "") return [];
  if (typeof value !== "object") return [[names, String(value)]];
  return Object.entries(value).flatMap(([key, item]) => {
    if (!Array.isArray(value)) return leaves(item, child(node, key), [...names, nameOf(child(node, key), key)]);
    const inner = resolve(resolve(node).items), own = `${names.at(-1) || ""} ${Number(key) + 1}`;
    return leaves(item, inner, [...names.slice(0, -1), own]);
  });
}

function seconds(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return `${(ms / 1000).toLocaleString(language, { maximumFractionDigits: 2 })} s`;
}

// begin makes room for an answer under way.
function begin(query) {
  at("asked").textContent = query;
  at("figures").replaceChildren();
  at("fields").replaceChildren();
  at("fieldsCard").hidden = model?.parse === false;
  at("empty").hidden = at("copy").hidden = true;
  at("textTitle").textContent = model?.parse === false ? say("answer") : "JSON";
  at("text").replaceChildren();
  at("outline").hidden = at("result").hidden = true;
}

function write(piece) {
  at("text").append(piece);
  at("result").hidden = false;
}

function show(visit) {
  last = visit;
  const figure = (value, name) => element("li", "", element("b", "", value), name);
  at("asked").textContent = visit.query;
  at("figures").replaceChildren(figure(seconds(visit.total), say("total")),
    ...(visit.first ? [figure(seconds(visit.first), say("first"))] : []), figure(String(visit.tokens), say("tokens")));
  const json = visit.answer !== undefined;
  copyable = json ? JSON.stringify(visit.answer, null, 2) : visit.text;
  at("textTitle").textContent = json ? "JSON" : say("answer");
  at("text").replaceChildren(...(json ? highlight(visit.answer) : [visit.text, ...(visit.cut ? [element("span", "line p", say("cut"))] : [])]));
  const rows = json ? leaves(visit.answer, visit.schema, []).filter(([, text]) => text !== visit.query) : [];
  at("fields").replaceChildren(...rows.map(([names, text]) =>
    element("div", "", element("dt", "", names.join(" › ")), element("dd", "", text))));
  at("fieldsCard").hidden = !json;
  at("empty").hidden = rows.length > 0;
  at("copy").hidden = !navigator.clipboard; // which pages without TLS have on localhost alone
  at("outline").hidden = true;
  at("result").hidden = false;
  listVisits();
}

function listVisits() {
  at("visits").replaceChildren(...visits.toReversed().map((v) => {
    const b = button("", "", () => { if (!running) { at("query").value = v.query; show(v); scrollTo({ top: 0 }); } });
    b.append(element("span", "", v.query), element("time", "", v.at.toLocaleTimeString(language, { hour: "2-digit", minute: "2-digit" })));
    if (v === last) b.setAttribute("aria-current", "true");
    return element("li", "", b);
  }));
  at("history").hidden = visits.length < 2;
}

function complain(text) {
  at("error").textContent = text;
  at("error").hidden = text === "";
}

async function call(path, options = {}) {
  const headers = { ...options.headers };
  if (at("key").value) headers.Authorization = `Bearer ${at("key").value}`;
  const response = await fetch(path, { ...options, headers });
  if (response.ok) return response;
  if (response.status === 401) {
    at("keys").hidden = false;
    at("key").focus();
    throw new Error(say("needKey"));
  }
  throw new Error(`${say("failed")} ${response.status}: ${(await response.json()).error.message}`);
}

// events gives the events of a stream, and fails if it breaks off.
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let text = ""; ;) {
    const { value, done } = await reader.read();
    if (done) throw new Error(say("broken"));
    const parts = (text + value).split("\n\n");
    text = parts.pop();
    for (const part of parts) {
      const data = part.replace(/^data: /, "");
      if (data === "[DONE]") return;
      const event = JSON.parse(data);
      if (event.error) throw new Error(`${say("failed")}: ${event.error.message}`);
      yield event;
    }
  }
}

async function listModels() {
  try {
    const models = (await (await call("v1/models")).json()).data;
    const chosen = at("model").value;
    at("model").replaceChildren(...models.map((m) => new Option(m.id, m.id)));
    if (models.some((m) => m.id === chosen)) at("model").value = chosen;
    at("models").hidden = models.length < 2;
    await chooseModel();
  } catch (e) { complain(e instanceof TypeError ? say("offline") : e.message); }
}

async function chooseModel() {
  model = await (await call(`v1/models/${encodeURIComponent(at("model").value)}`)).json();
  complain("");
  describe();
}

// answer asks the model, in its schema or in free text.
async function answer(query, signal) {
  const start = performance.now(), schema = model?.schema;
  const visit = { query, text: "", tokens: 0, schema, at: new Date() };
  const body = { stream: true };
  if (at("model").value) body.model = at("model").value;
  const free = model?.parse === false;
  if (free) Object.assign(body, { messages: [{ role: "user", content: query }], stream_options: { include_usage: true } });
  else Object.assign(body, { query }, at("answerLanguage").value && { language: at("answerLanguage").value });
  const response = await call(free ? "v1/chat/completions" : "parse", {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal,
  });
  for await (const e of events(response)) {
    const piece = free ? e.choices[0]?.delta.content : e.text;
    if (piece) {
      visit.first ??= performance.now() - start;
      visit.text += piece;
      write(piece);
    }
    if (e.choices?.[0]?.finish_reason === "length") visit.cut = true;
    if (e.usage) visit.tokens = e.usage.completion_tokens;
    if (e.timing) visit.first = e.timing.first_token_ms;
    if (e.answer !== undefined) visit.answer = e.answer;
  }
  visit.total = performance.now() - start;
  return visit;
}

async function ask(query) {
  running = new AbortController();
  const send = at("send"), start = performance.now();
  const tick = () => { at("elapsed").textContent = `${((performance.now() - start) / 1000).toLocaleString(language, { minimumFractionDigits: 1, maximumFractionDigits: 1 })} s`; };
  send.dataset.busy = "";
  at("sendText").textContent = say("stop");
  at("elapsed").hidden = false;
  tick();
  const timer = setInterval(tick, 100);
  at("result").setAttribute("aria-busy", "true");
  complain("");
  const before = last;
  begin(query);
  try {
    const visit = await answer(query, running.signal);
    visits.push(visit);
    show(visit);
    if (!model) listModels();
  } catch (e) {
    last = null;
    if (e.name !== "AbortError") complain(e instanceof TypeError ? say("offline") : e.message);
    else if (before) show(before);
    if (!last) at("result").hidden = true; // it answers another question
  }
  running = null;
  clearInterval(timer);
  delete send.dataset.busy;
  at("elapsed").hidden = true;
  at("sendText").textContent = say("send");
  at("result").removeAttribute("aria-busy");
  if (model) describe();
}

at("form").addEventListener("submit", (e) => {
  e.preventDefault();
  if (running) return running.abort();
  const query = at("query").value.trim();
  if (query) ask(query);
});
at("query").addEventListener("keydown", (e) => {
  if (e.key === "Enter" && !e.shiftKey && !e.isComposing) {
    e.preventDefault();
    if (!running) at("form").requestSubmit();
  }
});
at("key").addEventListener("change", listModels);
at("model").addEventListener("change", () => chooseModel().catch((e) => complain(e.message)));
at("copy").addEventListener("click", async () => {
  await navigator.clipboard.writeText(copyable);
  at("copy").textContent = say("copied");
  setTimeout(() => { at("copy").textContent = say("copy"); }, 1500);
});
for (const b of document.querySelectorAll("[data-language]")) b.addEventListener("click", () => speak(b.dataset.language));

let chosen = null;
try { chosen = localStorage.getItem("language"); } catch { /* private mode */ }
speak(chosen || (navigator.languages || []).map((l) => l.slice(0, 2)).find((l) => texts[l]));
listModels();
