// Keeps a page up to date, and copies commands. Everything else works without it.
"use strict";

const main = document.getElementById("main");

// A toast that was there from the start is not read out by itself.
const toast = document.getElementById("toast");
const said = document.getElementById("said");
if (toast && said) requestAnimationFrame(() => { said.textContent = toast.textContent; });

for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", async () => {
    const text = document.getElementById(button.dataset.copy).textContent;
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  });
}

// Puts new content into a part, and leaves what somebody is at as it is.
function replace(part, content, digest) {
  if (part.dataset.digest === digest) return;
  part.dataset.digest = digest;
  if (part.id === "said") {
    if (part.dataset.begun) part.textContent = content;
    part.dataset.begun = "yes";
    return;
  }
  const open = [...part.querySelectorAll("details")].map((details) => details.open);
  const all = (where) => [...where.querySelectorAll("a, button, summary, [tabindex]")];
  const focus = all(part).indexOf(document.activeElement);
  part.innerHTML = content;
  part.querySelectorAll("details").forEach((details, number) => { details.open = open[number]; });
  if (focus >= 0) all(part)[focus]?.focus({ preventScroll: true });
}

// Listens, and listens again where that ended for good: until it works, or nobody is signed in any more.
function listen() {
  const events = new EventSource(main.dataset.events);
  for (const part of [...main.querySelectorAll("[data-live]"), said]) {
    if (part) events.addEventListener(part.id, (event) => replace(part, event.data, event.lastEventId));
  }
  events.addEventListener("open", () => { main.dataset.live = "yes"; });
  events.addEventListener("error", () => {
    delete main.dataset.live;
    if (events.readyState === EventSource.CLOSED) setTimeout(listenAgain, 10_000 * (0.5 + Math.random()));
  });
}

async function listenAgain() {
  try {
    const page = await fetch(location.pathname, { method: "HEAD", redirect: "manual" });
    if (page.type === "opaqueredirect") location.reload();
    else listen();
  } catch {
    setTimeout(listenAgain, 10_000);
  }
}

if (main?.dataset.events && window.EventSource) listen();
