// Fetches the page again and replaces its content, so that the numbers live and nothing flickers.
"use strict";
const EVERY = 3000, STALE_AFTER = 20000;
let last = "", changed = Date.now();
async function refresh() {
  const live = document.getElementById("live");
  try {
    const answer = await fetch(location.href, { cache: "no-store" });
    if (!answer.ok) throw new Error(answer.status === 503 ? "busy" : "error " + answer.status);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const old = document.querySelector("main"), next = page.querySelector("main");
    if (!next || !getSelection().isCollapsed) return;
    const scrolls = [...old.querySelectorAll(".scroll")].map((part) => part.scrollLeft);
    const open = new Set([...old.querySelectorAll("details[open]")].map((part) => part.dataset.why));
    next.querySelectorAll("details").forEach((part) => { part.open = open.has(part.dataset.why); });
    old.replaceWith(document.adoptNode(next));
    next.querySelectorAll(".scroll").forEach((part, n) => { part.scrollLeft = scrolls[n] || 0; });
    document.title = page.title;
    const asOf = (document.getElementById("as-of") || {}).textContent || "";
    if (asOf !== last) { last = asOf; changed = Date.now(); }
    if (asOf && Date.now() - changed > STALE_AFTER) say("no new numbers since " + asOf);
  } catch (error) {
    if (live) say("cannot reach the exporter (" + error.message + "), numbers are old");
  }
}
function say(text) {
  const live = document.getElementById("live");
  live.classList.add("stale");
  live.textContent = text;
}
setInterval(() => { if (!document.hidden) refresh(); }, EVERY);
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
