// Drives the page of `impulse serve` in headless Chromium as a person would.
//
//   node .ci/page.mjs IMPULSE MODEL_DIR [SCREENSHOT.png [MORE_SCREENSHOTS_DIR]]
//
// The first screenshot is that of the documentation. Where there is no Chromium
// it says so and does nothing; CHROMIUM names one that is not on the PATH.
import { spawn } from "node:child_process";
import { join } from "node:path";
import { findBrowser, freePort, startBrowser, until } from "./browser.mjs";

const [impulse, model, screenshot, more] = process.argv.slice(2);
const browser = findBrowser();
if (!browser) {
  console.log("the page was not driven: no Chromium on the PATH, nor named by CHROMIUM");
  process.exit();
}

const faults = [];
const check = (ok, what) => { if (!ok) faults.push(what); };
const port = await freePort(), url = `http://127.0.0.1:${port}/`;
let log = "";
const server = spawn(impulse, ["serve", "--model-path", model, "--addr", `127.0.0.1:${port}`], { stdio: ["ignore", "pipe", "pipe"] });
for (const stream of [server.stdout, server.stderr]) stream.on("data", (d) => { log += d; });

const { send, js, view, shoot, close, complaints } = await startBrowser(browser);
const text = (id) => js(`document.getElementById("${id}").textContent`);
async function type(query) {
  await js(`document.getElementById("query").focus(); document.getElementById("query").select()`);
  await send("Input.insertText", { text: query });
  for (const type of ["keyDown", "keyUp"]) await send("Input.dispatchKeyEvent", { type, key: "Enter", code: "Enter", windowsVirtualKeyCode: 13, text: type === "keyDown" ? "\r" : undefined });
}
async function answer(query) {
  await type(query);
  await until(`an answer to ${query}`, () => js(`!document.getElementById("error").hidden ||
    !document.getElementById("result").hidden && !document.getElementById("result").hasAttribute("aria-busy")`));
  check(await js(`document.getElementById("error").hidden`), `${query}: ${await text("error")}`);
  // Each line is an element of its own.
  return JSON.parse(await js(`[...document.querySelectorAll("#json .line")].map((l) => l.textContent).join("\\n")`));
}

// Queries and the names that each language has for the button and the field of the query.
const languages = {
  ca: ["projectes sobre hidrogen verd a Catalunya des de 2020", "Analitza", "Tipus de document"],
  es: ["proyectos sobre energía eólica en Galicia", "Analizar", "Tipo de documento"],
  en: ["projects on quantum computing since 2018", "Analyse", "Document type"],
};

async function ask(name, size) {
  await view(...size);
  for (const [language, [query, button, field]] of Object.entries(languages)) {
    const where = `${name}, ${language}: `;
    await js(`document.querySelector('[data-language="${language}"]').click()`);
    const shown = await answer(query);
    check(shown.meta.original_query === query, `${where}the JSON answers ${JSON.stringify(shown.meta.original_query)}`);
    check(await js("document.documentElement.lang") === language, where + "lang of the page");
    check((await text("send")).trim() === button, `${where}the button says ${await text("send")}`);
    check((await text("fields")).includes(field), `${where}fields are ${await text("fields")}`);
    check(/\d (ms|s)/.test(await text("figures")), `${where}no latency in ${await text("figures")}`);
    for (const [style, what] of [["k", "names"], ["s", "strings"], ["z", "null"], ["p", "punctuation"]]) {
      const colour = (selector) => `getComputedStyle(document.querySelector(${JSON.stringify(selector)})).color`;
      check(await js(`!!document.querySelector("#json .${style}") && ${colour(`#json .${style}`)} !== ${colour("body")}`), `${where}${what} are not highlighted`);
    }
    const [wide, window] = await js(`[document.documentElement.scrollWidth, innerWidth]`);
    check(wide <= window && window === size[0], `${where}${wide} pixels wide in a window of ${window}`);
  }
  if (more) await shoot(join(more, `${name}.png`));
}

async function drive() {
  await until("the server is ready", async () => {
    if (server.exitCode !== null) throw new Error("the server ended");
    return fetch(url + "readyz").then((r) => r.ok, () => false);
  });
  await view(1100, 800, false);
  await send("Page.navigate", { url });
  await until("the page is there", () => js(`document.readyState === "complete" && !!document.querySelector("#examples button")`));

  await ask("desktop", [1100, 1000, false]);
  await ask("phone", [390, 844, true]);
  if (more) await ask("dark", [1100, 1000, false, "dark"]);

  const markup = `<img src=x onerror="document.title='run'"> <script>document.title='run'</script>`;
  check((await answer(markup)).meta.original_query === markup, "markup is not shown as it is");
  check(await js(`document.querySelectorAll("main img, main script").length === 0 && document.title === "Salamandra"`), "markup was not taken for text");
  check(complaints.length === 0, `the browser complains: ${complaints.join("; ")}`);

  await view(1100, 1000, false);
  await answer(languages.ca[0]);
  if (screenshot) await shoot(screenshot);

  // What goes wrong is told: the server's error, and a server that is gone.
  const complaint = async (query, want) => {
    await type(query);
    await until(`an error about ${query.slice(0, 20)}`, () => js(`!document.getElementById("error").hidden`));
    check(want.test(await text("error")), `the error says ${await text("error")}`);
    check(await js(`document.getElementById("error").getBoundingClientRect().height > 20`), "the error is not visible");
    check(await js(`document.getElementById("result").hidden`), "the answer to another query stands below the error");
  };
  await complaint("x y ".repeat(999), /^Error 400: .*tokens/);
  server.kill();
  await until("the server ends", () => server.exitCode !== null);
  check(server.exitCode === 0, `the server ended with ${server.exitCode}`);
  await complaint("hola", /^The server could not be reached\.$/);
  if (more) await shoot(join(more, "error.png"));
}

try {
  await drive();
} catch (e) {
  faults.push(e.message);
}
server.kill();
await close();
for (const f of faults) console.error(`page: ${f}`);
if (faults.length > 0) {
  console.error(log);
  process.exit(1);
}
console.log("the page answers in Catalan, Spanish and English, on a desktop and on a phone");
