"use strict";
// Model text comes into the page as text nodes alone.
const texts = {
  ca: {
    tagline: "De preguntes a filtres de cerca", question: "Què busqueu?", queryLanguage: "Llengua de la consulta", auto: "Automàtica",
    model: "Model", key: "Clau d'accés", send: "Analitza", stop: "Atura", fields: "Camps", nothing: "Cap camp amb valor.",
    copy: "Copia", copied: "Copiat", valid: "La resposta sempre és JSON vàlid segons l'esquema.",
    total: "en total", first: "fins al primer token", tokens: "tokens", needKey: "Aquest servidor demana una clau d'accés.",
    offline: "No s'ha pogut connectar amb el servidor.", failed: "Error",
    examples: ["Projectes sobre hidrogen verd a Catalunya des de 2020", "Quins projectes europeus té la UPC sobre robòtica?", "Intel·ligència artificial en salut, H2020"],
    names: {
      "doc_type": "Tipus de document", "filters": "Filtres", "programme": "Programa", "funding_level": "Finançament", "year": "Any", "location": "Lloc",
      "location_level": "Àmbit del lloc", "organisations": "Organització", "type": "Tipus", "name": "Nom", "semantic_query": "Tema",
      "query_rewrite": "Consulta reescrita", "meta": "Consulta", "lang": "Llengua", "notes": "Notes",
    },
  },
  es: {
    tagline: "De preguntas a filtros de búsqueda", question: "¿Qué buscas?", queryLanguage: "Idioma de la consulta", auto: "Automático",
    model: "Modelo", key: "Clave de acceso", send: "Analizar", stop: "Detener", fields: "Campos", nothing: "Ningún campo con valor.",
    copy: "Copiar", copied: "Copiado", valid: "La respuesta siempre es JSON válido según el esquema.",
    total: "en total", first: "hasta el primer token", tokens: "tokens", needKey: "Este servidor pide una clave de acceso.",
    offline: "No se ha podido conectar con el servidor.", failed: "Error",
    examples: ["Proyectos sobre hidrógeno verde en Cataluña desde 2020", "¿Qué proyectos europeos tiene la UPC sobre robótica?", "Inteligencia artificial en salud, H2020"],
    names: {
      "doc_type": "Tipo de documento", "filters": "Filtros", "programme": "Programa", "funding_level": "Financiación", "year": "Año", "location": "Lugar",
      "location_level": "Ámbito del lugar", "organisations": "Organización", "type": "Tipo", "name": "Nombre", "semantic_query": "Tema",
      "query_rewrite": "Consulta reescrita", "meta": "Consulta", "lang": "Idioma", "notes": "Notas",
    },
  },
  en: {
    tagline: "From questions to search filters", question: "What are you looking for?", queryLanguage: "Query language", auto: "Automatic",
    model: "Model", key: "Access key", send: "Analyse", stop: "Stop", fields: "Fields", nothing: "No field has a value.",
    copy: "Copy", copied: "Copied", valid: "The answer is always valid JSON of the schema.",
    total: "in all", first: "to the first token", tokens: "tokens", needKey: "This server asks for an access key.",
    offline: "The server could not be reached.", failed: "Error",
    examples: ["Projects on green hydrogen in Catalonia since 2020", "Which European projects does UPC have on robotics?", "Artificial intelligence in health, H2020"],
    names: {
      "doc_type": "Document type", "filters": "Filters", "programme": "Programme", "funding_level": "Funding", "year": "Year", "location": "Place",
      "location_level": "Level of the place", "organisations": "Organisation", "type": "Type", "name": "Name", "semantic_query": "Topic",
      "query_rewrite": "Rewritten query", "meta": "Query", "lang": "Language", "notes": "Notes",
    },
  },
};
const at = (id) => document.getElementById(id);
let language = "en", running = null, last = null;

function say(name) { return texts[language][name]; }

function speak(to) {
  language = texts[to] ? to : "en";
  document.documentElement.lang = language;
  for (const e of document.querySelectorAll("[data-text]")) e.textContent = say(e.dataset.text);
  for (const b of document.querySelectorAll("[data-language]")) b.setAttribute("aria-pressed", b.dataset.language === language);
  at("examples").replaceChildren(...say("examples").map((text) => {
    const b = element("button", "", text);
    b.type = "button";
    b.addEventListener("click", () => { at("query").value = text; at("form").requestSubmit(); });
    return b;
  }));
  if (running) at("send").firstElementChild.textContent = say("stop");
  if (last) show(last);
  try { localStorage.setItem("language", language); } catch { /* not kept */ }
}

function element(tag, style, ...children) {
  const e = document.createElement(tag);
  if (style) e.className = style;
  e.append(...children);
  return e;
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
function leaves(value, path) {
  if (value === null || value === "") return [];
  if (typeof value !== "object") return [[path, String(value)]];
  const name = (key) => say("names")[key] || key.replaceAll("_", " ");
  return Object.entries(value).flatMap(([key, item]) =>
    leaves(item, Array.isArray(value) ? [...path.slice(0, -1), `${path.at(-1) || ""} ${Number(key) + 1}`] : [...path, name(key)]));
}

function seconds(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return `${(ms / 1000).toLocaleString(language, { maximumFractionDigits: 2 })} s`;
}

function show(reply) {
  last = reply;
  const figure = (value, name) => element("li", "", element("b", "", value), name);
  at("figures").replaceChildren(
    figure(seconds(reply.timing.total_ms), say("total")),
    figure(seconds(reply.timing.first_token_ms), say("first")),
    figure(String(reply.usage.completion_tokens), say("tokens")));
  const asked = reply.query;
  const rows = leaves(reply.answer, []).filter(([, text]) => text !== asked).map(([path, text]) =>
    element("div", "", element("dt", "", path.join(" › ")), element("dd", "", text)));
  at("fields").replaceChildren(...rows);
  at("empty").hidden = rows.length > 0;
  at("json").replaceChildren(...highlight(reply.answer));
  at("result").hidden = false;
}

function complain(text) {
  at("error").textContent = text;
  at("error").hidden = text === "";
}

async function call(path, options) {
  const headers = { ...options.headers };
  if (at("key").value) headers.Authorization = `Bearer ${at("key").value}`;
  const response = await fetch(path, { ...options, headers });
  if (response.status === 401) {
    at("keys").hidden = false;
    at("key").focus();
  }
  const body = await response.json();
  if (!response.ok) {
    throw new Error(response.status === 401 ? say("needKey") : `${say("failed")} ${response.status}: ${body.error.message}`);
  }
  return body;
}

async function listModels() {
  try {
    const models = (await call("v1/models", {})).data.filter((m) => m.parse);
    at("model").replaceChildren(...models.map((m) => new Option(m.id, m.id)));
    at("models").hidden = models.length < 2;
  } catch { /* the query will tell */ }
}

async function ask(query) {
  running = new AbortController();
  const send = at("send");
  send.dataset.busy = "";
  send.firstElementChild.textContent = say("stop");
  at("result").setAttribute("aria-busy", "true");
  complain("");
  try {
    const body = { query, timing: true };
    if (at("language").value) body.language = at("language").value;
    if (at("model").value) body.model = at("model").value;
    const reply = await call("parse", {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal: running.signal,
    });
    show({ ...reply, query });
    if (!at("model").value) listModels();
  } catch (e) {
    if (e.name !== "AbortError") {
      at("result").hidden = true; // it answers another query
      last = null;
      complain(e instanceof TypeError ? say("offline") : e.message);
    }
  }
  running = null;
  delete send.dataset.busy;
  send.firstElementChild.textContent = say("send");
  at("result").removeAttribute("aria-busy");
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
at("copy").hidden = !navigator.clipboard; // which pages without TLS have on localhost alone
at("copy").addEventListener("click", async () => {
  await navigator.clipboard.writeText(JSON.stringify(last.answer, null, 2));
  at("copy").textContent = say("copied");
  setTimeout(() => { at("copy").textContent = say("copy"); }, 1500);
});
for (const b of document.querySelectorAll("[data-language]")) b.addEventListener("click", () => speak(b.dataset.language));

let chosen = null;
try { chosen = localStorage.getItem("language"); } catch { /* private mode */ }
speak(chosen || (navigator.languages || []).map((l) => l.slice(0, 2)).find((l) => texts[l]));
listModels();
