"use strict";
// Keeps a live page up to date: see NewLiveHead.
const period = 2000;
let tag = "";

// adopt puts the body of another state of the page in place of this one.
function adopt(next) {
  const open = new Map([...document.querySelectorAll("details[id]")].map(d => [d.id, d.open]));
  const checked = new Map([...document.querySelectorAll("input[id]")].map(i => [i.id, i.checked]));
  const focus = document.activeElement && document.activeElement.id;
  const y = window.scrollY;
  document.title = next.title;
  document.body.replaceChildren(...next.body.childNodes);
  for (const d of document.querySelectorAll("details[id]")) if (open.has(d.id)) d.open = open.get(d.id);
  for (const i of document.querySelectorAll("input[id]")) if (checked.has(i.id)) i.checked = checked.get(i.id);
  if (focus) document.getElementById(focus)?.focus({ preventScroll: true });
  window.scrollTo(0, y);
}

async function refresh() {
  try {
    const response = await fetch(location.pathname, { headers: tag ? { "If-None-Match": tag } : {}, cache: "no-store" });
    if (response.status === 200) {
      tag = response.headers.get("ETag") || "";
      adopt(new DOMParser().parseFromString(await response.text(), "text/html"));
    }
    document.body.classList.remove("stale");
  } catch {
    document.body.classList.add("stale");
  }
}

setInterval(() => { if (!document.hidden) refresh(); }, period);
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
