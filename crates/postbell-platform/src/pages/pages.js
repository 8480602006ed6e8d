// Updates live pages and copies commands. Everything else works without it.
"use strict";

const main = document.getElementById("main");

// Identifies an element by its purpose, to find it again in a replaced fragment or in the page after an action. Its position
// is not reliable: another element may be there.
function identify(element) {
  if (element.id) return `#${element.id}`;
  const form = element.closest("form");
  if (form) return `${element.tagName} ${form.getAttribute("action")}`;
  return `${element.tagName} ${element.closest("details")?.id} ${element.getAttribute("href")}`;
}

function find(within, identity) {
  return [...within.querySelectorAll("a, button, summary, [tabindex]")].find((one) => identify(one) === identity);
}

// Screen readers do not announce a toast that was in the initial document.
const toast = document.getElementById("toast");
const announcement = document.getElementById("announcement");
if (toast && announcement) requestAnimationFrame(() => { announcement.textContent = toast.querySelector("p").textContent; });
toast?.querySelector("a").addEventListener("click", (event) => {
  event.preventDefault();
  toast.remove();
});

// The page after an action is a new one: the focus goes to where it was, or to the toast if that is gone.
const FOCUS = "postbell-focus";
document.addEventListener("submit", (event) => {
  if (event.submitter) sessionStorage.setItem(FOCUS, identify(event.submitter));
});
const former = sessionStorage.getItem(FOCUS);
sessionStorage.removeItem(FOCUS);
// The browser moves the focus itself when it scrolls to the section, up to the end of loading.
addEventListener("load", () => requestAnimationFrame(() => {
  const refused = main?.querySelector("[aria-invalid=true]");
  toast?.scrollIntoView({ block: "nearest" });
  if (toast) toast.tabIndex = -1;
  const target = refused ?? (former && toast && (find(main, former) ?? toast));
  if (target) target.focus({ preventScroll: true });
}));

// Shows times in the time zone of the person; the server knows only UTC.
function localize(within) {
  const format = { day: "numeric", month: "long", hour: "2-digit", minute: "2-digit", timeZoneName: "short" };
  for (const time of within.querySelectorAll("time")) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    time.title = at.toLocaleString();
    if (time.classList.contains("date")) time.textContent = at.toLocaleString("en-GB", format);
  }
}
localize(document);

for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", async () => {
    const text = document.getElementById(button.dataset.copy).textContent;
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  });
}

// Replaces the content of a fragment, and keeps the focus and the open details.
function replace(fragment, content, digest) {
  if (fragment.dataset.digest === digest) return;
  fragment.dataset.digest = digest;
  if (fragment.id === "announcement") {
    if (fragment.dataset.begun) fragment.textContent = content;
    fragment.dataset.begun = "yes";
    return;
  }
  const focus = document.activeElement;
  const held = fragment !== focus && fragment.contains(focus) ? identify(focus) : null;
  const open = new Set([...fragment.querySelectorAll("details[open]")].map(identify));
  fragment.innerHTML = content;
  localize(fragment);
  for (const details of fragment.querySelectorAll("details")) details.open = open.has(identify(details));
  if (held === null) return;
  const same = find(fragment, held);
  // The focused element is gone: the next key must do nothing.
  if (!same) fragment.tabIndex = -1;
  (same ?? fragment).focus({ preventScroll: true });
}

const stale = document.getElementById("stale");
let events = null;

// Connects, and reconnects after the browser gives up, until the session has ended. A hidden page does
// not connect: browsers limit the connections to a host.
function connect() {
  if (events || document.hidden) return;
  events = new EventSource(main.dataset.events);
  for (const fragment of [...main.querySelectorAll("[data-live]"), announcement]) {
    if (fragment) events.addEventListener(fragment.id, (event) => replace(fragment, event.data, event.lastEventId));
  }
  events.addEventListener("open", () => {
    main.dataset.live = "yes";
    stale.hidden = true;
  });
  events.addEventListener("error", () => {
    delete main.dataset.live;
    if (stale.hidden) {
      stale.textContent = `Disconnected: this page shows the state at ${new Date().toLocaleTimeString()}.`;
      stale.hidden = false;
    }
    if (events.readyState !== EventSource.CLOSED) return;
    events = null;
    setTimeout(reconnect, 10_000 * (0.5 + Math.random()));
  });
}

async function reconnect() {
  if (events || document.hidden) return;
  try {
    const response = await fetch(main.dataset.events, { method: "HEAD", redirect: "manual" });
    // Reloading could submit a form again.
    if (response.type === "opaqueredirect") location.assign("/");
    else connect();
  } catch {
    setTimeout(reconnect, 10_000);
  }
}

if (main?.dataset.events && window.EventSource) {
  connect();
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) return connect();
    events?.close();
    events = null;
    delete main.dataset.live;
  });
}
