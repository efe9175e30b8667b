// Keeps the parts of a page as the server has them, and shows times in the reader's zone. The page can be read without it.
(() => {
  "use strict";
  const body = document.body, announce = document.getElementById("announce"), lost = document.getElementById("connection");
  const known = new Map(); // part's id → what the server sent, to leave alone what has not changed
  const zoned = new Intl.DateTimeFormat(undefined, {dateStyle: "medium", timeStyle: "medium"});

  const localise = (root) => root.querySelectorAll("time[datetime]").forEach((t) => {
    t.title = t.textContent;
    t.textContent = zoned.format(new Date(t.dateTime));
  });
  const state = () => document.querySelector("[data-state]")?.dataset.state;

  const take = (fresh) => {
    const before = state();
    document.title = fresh.title;
    for (const part of fresh.querySelectorAll("[data-part]")) {
      const old = document.getElementById(part.id);
      if (!old || known.get(part.id) === part.innerHTML) continue;
      known.set(part.id, part.innerHTML);
      const focused = old.contains(document.activeElement) ? document.activeElement : null;
      const scrolled = [...old.querySelectorAll(".scroll")].map((s) => s.scrollLeft);
      old.replaceChildren(...part.childNodes);
      localise(old);
      old.querySelectorAll(".scroll").forEach((s, i) => { s.scrollLeft = scrolled[i] ?? 0; });
      if (focused) same(old, focused).focus({preventScroll: true});
    }
    if (state() !== before) announce.textContent = state() ?? "";
  };
  // What had the focus, in the part made anew; the main part of the page where it is gone.
  const same = (part, was) => {
    const found = [...part.querySelectorAll("a, [tabindex]")].find((e) =>
      was.id ? e.id === was.id : e.getAttribute("href") === was.getAttribute("href") && e.ariaLabel === was.ariaLabel);
    return found ?? document.getElementById("main");
  };

  let busy = false, missed = false, last = 0;
  const refresh = async () => {
    if (busy) { missed = true; return; }
    busy = true; last = Date.now();
    try {
      const answer = await fetch(location.href, {headers: {Accept: "text/html"}, cache: "no-store"});
      if (!answer.ok || answer.redirected) throw new Error(answer.status);
      take(new DOMParser().parseFromString(await answer.text(), "text/html"));
      lost.hidden = true;
    } catch { lost.hidden = false; }
    busy = false;
    if (missed) { missed = false; setTimeout(refresh, 500); }
  };

  let source = null, again = 0;
  const listen = () => {
    again = Date.now() + 30_000; // where there is no room for one more listener, looking has to do
    source = new EventSource(body.dataset.events);
    source.addEventListener("state", refresh);
    source.addEventListener("end", () => { source.close(); delete body.dataset.events; refresh(); });
    source.onopen = () => { if (!lost.hidden) refresh(); };
  };

  for (const part of document.querySelectorAll("[data-part]")) known.set(part.id, part.innerHTML);
  localise(document);
  if (!("live" in body.dataset)) return;
  document.querySelector(".live").hidden = false;
  // News come by events where there are any; looking from time to time finds what they missed.
  setInterval(() => {
    if (document.hidden) return;
    if (body.dataset.events && source?.readyState === EventSource.CLOSED && Date.now() > again) listen();
    if (Date.now() - last > (source?.readyState === EventSource.OPEN ? 10_000 : 3_000)) refresh();
  }, 1000);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
  if (body.dataset.events) listen();
})();
