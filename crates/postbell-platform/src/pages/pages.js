// Keeps a page up to date, and copies commands. Everything else works without it.
"use strict";

const main = document.getElementById("main");

// A toast that was there from the start is not read out by itself.
const toast = document.getElementById("toast");
const announcement = document.getElementById("announcement");
if (toast && announcement) requestAnimationFrame(() => { announcement.textContent = toast.querySelector("p").textContent; });
toast?.querySelector("a").addEventListener("click", (event) => {
  event.preventDefault();
  toast.remove();
});

for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", async () => {
    const text = document.getElementById(button.dataset.copy).textContent;
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  });
}

// What an element is for, by which it is found again in a part that is made anew. Its place says
// nothing: another one may stand there by then.
function nameOf(element) {
  if (element.id) return `#${element.id}`;
  const form = element.closest("form");
  if (form) return `${element.tagName} ${form.getAttribute("action")}`;
  return `${element.tagName} ${element.closest("details")?.id} ${element.getAttribute("href")}`;
}

// Puts new content into a part, and leaves what somebody is at as it is.
function replace(part, content, digest) {
  if (part.dataset.digest === digest) return;
  part.dataset.digest = digest;
  if (part.id === "announcement") {
    if (part.dataset.begun) part.textContent = content;
    part.dataset.begun = "yes";
    return;
  }
  const focus = document.activeElement;
  const held = part !== focus && part.contains(focus) ? nameOf(focus) : null;
  const open = new Set([...part.querySelectorAll("details[open]")].map(nameOf));
  part.innerHTML = content;
  for (const details of part.querySelectorAll("details")) details.open = open.has(nameOf(details));
  if (held === null) return;
  const same = [...part.querySelectorAll("a, button, summary, [tabindex]")].find((one) => nameOf(one) === held);
  // What had the focus is gone: the next key must do nothing.
  if (!same) part.tabIndex = -1;
  (same ?? part).focus({ preventScroll: true });
}

const stale = document.getElementById("stale");
let events = null;

// Listens, and listens again where that ended for good: until it works, or nobody is signed in any
// more. A page that nobody sees does not listen: a browser has few connections to one host.
function listen() {
  if (events || document.hidden) return;
  events = new EventSource(main.dataset.events);
  for (const part of [...main.querySelectorAll("[data-live]"), announcement]) {
    if (part) events.addEventListener(part.id, (event) => replace(part, event.data, event.lastEventId));
  }
  events.addEventListener("open", () => {
    main.dataset.live = "yes";
    stale.hidden = true;
  });
  events.addEventListener("error", () => {
    delete main.dataset.live;
    if (stale.hidden) {
      stale.textContent = `Not connected: this is how things stood at ${new Date().toLocaleTimeString()}.`;
      stale.hidden = false;
    }
    if (events.readyState !== EventSource.CLOSED) return;
    events = null;
    setTimeout(listenAgain, 10_000 * (0.5 + Math.random()));
  });
}

async function listenAgain() {
  if (events || document.hidden) return;
  try {
    const answer = await fetch(main.dataset.events, { method: "HEAD", redirect: "manual" });
    // Not this page anew: it may be the answer to a form.
    if (answer.type === "opaqueredirect") location.assign("/");
    else listen();
  } catch {
    setTimeout(listenAgain, 10_000);
  }
}

if (main?.dataset.events && window.EventSource) {
  listen();
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) return listen();
    events?.close();
    events = null;
    delete main.dataset.live;
  });
}
