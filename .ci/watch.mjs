// Drives the live report of `impulse watch` in headless Chromium: it shows what comes
// to the files of a run, and keeps what a person has opened.
//
//   node .ci/watch.mjs IMPULSE RUN_DIR [SCREENSHOT.png [MORE_SCREENSHOTS_DIR]]
//
// RUN_DIR is the output directory of a finished run with sample answers, of which
// a copy grows. The screenshots are of the whole run.
import { spawn } from "node:child_process";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findBrowser, freePort, startBrowser, until } from "./browser.mjs";

const [impulse, run, screenshot, more] = process.argv.slice(2);
const browser = findBrowser();
if (!browser) {
  console.log("the live report was not driven: no Chromium on the PATH, nor named by CHROMIUM");
  process.exit();
}
const faults = [];
const check = (ok, what) => { if (!ok) faults.push(what); };

const copy = mkdtempSync(join(tmpdir(), "run-"));
const lines = readFileSync(join(run, "metrics.jsonl"), "utf8").trimEnd().split("\n");
const grow = (n) => writeFileSync(join(copy, "metrics.jsonl"), lines.slice(0, n).join("\n") + "\n");
const port = await freePort(), url = `http://127.0.0.1:${port}/`;
const server = spawn(impulse, ["watch", "--port", port, copy], { stdio: "ignore" });
const { send, js, view, shoot, close, complaints } = await startBrowser(browser);
const shows = (text) => js(`document.body.innerText.includes(${JSON.stringify(text)})`);

async function drive() {
  await until("the report is served", () => fetch(url).then((r) => r.ok, () => false));
  await view(1100, 900, false);
  await send("Page.navigate", { url });
  await until("the empty report", () => shows("no run yet"));

  copyFileSync(join(run, "report.json"), join(copy, "report.json"));
  copyFileSync(join(run, "samples.jsonl"), join(copy, "samples.jsonl"));
  grow(2);
  await until("the first steps", () => shows("2 of "));
  await js(`document.getElementById("settings").open = true; document.getElementById("q0").open = false; document.getElementById("log").click(); scrollTo(0, 300)`);
  grow(3);
  await until("another step", () => shows("3 of "));
  check(await js(`document.getElementById("settings").open && !document.getElementById("q0").open`), "sections do not stay as they were");
  check(await js(`document.getElementById("log").checked && scrollY === 300`), "the scale or the place on the page is lost");
  check(await js(`getComputedStyle(document.querySelector("svg.log")).display === "block" && getComputedStyle(document.querySelector("svg.linear")).display === "none"`), "the scale does not change");
  await js(`document.getElementById("settings").open = false; document.getElementById("q0").open = true; document.getElementById("log").click(); scrollTo(0, 0)`);

  grow(lines.length);
  await until("the end", () => js(`document.querySelector("p span").textContent.startsWith("finished")`));
  check(await js(`document.querySelectorAll("ins, del").length > 0`), "no difference is marked");
  for (const [name, size] of Object.entries({ desktop: [1100, 1500, false], "desktop-dark": [1100, 1500, false, "dark"], phone: [390, 2600, true], "phone-dark": [390, 2600, true, "dark"] })) {
    await view(...size);
    const [wide, window] = await js(`[document.documentElement.scrollWidth, innerWidth]`);
    check(wide <= window && window === size[0], `${name}: ${wide} pixels wide in a window of ${window}`);
    if (more) await shoot(join(more, `watch-${name}.png`));
  }
  check(complaints.length === 0, `the browser complains: ${complaints.join("; ")}`);
  await view(1100, 1500, false);
  if (screenshot) await shoot(screenshot);

  server.kill();
  await until("it is said that the server is gone", () => js(`document.body.classList.contains("stale")`));
}

try {
  await drive();
} catch (e) {
  faults.push(e.message);
}
server.kill();
await close();
rmSync(copy, { recursive: true, force: true });
for (const f of faults) console.error(`watch: ${f}`);
if (faults.length > 0) process.exit(1);
console.log("the live report follows its run, on a desktop and on a phone, light and dark");
