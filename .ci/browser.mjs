// Headless Chromium, spoken to in its debugging protocol, for the scripts here.
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
export async function until(what, condition) {
  for (const end = Date.now() + 60_000; Date.now() < end; await sleep(30)) if (await condition()) return;
  throw new Error(`not within a minute: ${what}`);
}
export const freePort = () => new Promise((done) => {
  const s = createServer().listen(0, "127.0.0.1", () => { const { port } = s.address(); s.close(() => done(port)); });
});

// findBrowser is the program to start, undefined where there is none. CHROMIUM names
// one that is not on the PATH.
export const findBrowser = () =>
  [process.env.CHROMIUM, "chromium", "chromium-browser", "google-chrome"].find((b) => b && !spawnSync(b, ["--version"]).error);

// startBrowser starts it, with an empty page.
export async function startBrowser(browser) {
  const profile = mkdtempSync(join(tmpdir(), "page-"));
  const chromium = spawn(browser, ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe", `--user-data-dir=${profile}`],
    { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] });
  let session, count = 0, rest = "";
  const waiting = new Map(), complaints = [];
  chromium.stdio[4].setEncoding("utf8").on("data", (text) => {
    const parts = (rest + text).split("\0");
    rest = parts.pop();
    for (const m of parts.map((p) => JSON.parse(p))) {
      if (m.id) { waiting.get(m.id)(m); waiting.delete(m.id); }
      // Errors of scripts, violations of the content security policy, failed requests.
      if (["Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled"].includes(m.method)) complaints.push(m.params.entry?.text ?? JSON.stringify(m.params));
    }
  });
  const send = (method, params = {}) => new Promise((done, failed) => {
    waiting.set(++count, (m) => m.error ? failed(new Error(`${method}: ${m.error.message}`)) : done(m.result));
    chromium.stdio[3].write(JSON.stringify({ id: count, sessionId: session, method, params }) + "\0");
  });
  async function js(expression) {
    const r = await send("Runtime.evaluate", { expression, returnByValue: true, awaitPromise: true });
    if (r.exceptionDetails) throw new Error(`${expression}: ${r.exceptionDetails.exception.description}`);
    return r.result.value;
  }
  async function view(width, height, phone, scheme = "light") {
    await send("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 1, mobile: phone });
    await send("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: scheme }] });
  }
  async function shoot(file) {
    await sleep(500); // transitions
    writeFileSync(file, (await send("Page.captureScreenshot", { format: "png" })).data, "base64");
  }
  async function close() {
    chromium.kill();
    await until("Chromium ends", () => chromium.exitCode !== null || chromium.signalCode !== null);
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  }
  const { targetId } = await send("Target.createTarget", { url: "about:blank" });
  session = (await send("Target.attachToTarget", { targetId, flatten: true })).sessionId;
  for (const domain of ["Page", "Runtime", "Log"]) await send(domain + ".enable");
  return { send, js, view, shoot, close, complaints };
}
