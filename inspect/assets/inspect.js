// The script of the inspector: it fetches the page again and again, and puts what has changed into
// the document. It makes no markup from texts: the browser parses the page of the server into a
// document of its own, in which no script runs, and the nodes that differ are copied from it.
"use strict";

(() => {
  const byId = (id) => document.getElementById(id);
  const interval = byId("interval"), pause = byId("pause"), notice = byId("notice");
  let timer = 0, request = null, paused = sessionStorage.getItem("paused") === "1";

  // fetchPage calls done with the status and the document of the page, or with 0 and null.
  const fetchPage = (done) => {
    if (request) request.abort();
    const r = request = new XMLHttpRequest();
    r.responseType = "document";
    r.timeout = 20000;
    r.onloadend = () => {
      if (request !== r) return; // a later one has taken its place
      request = null;
      done(r.response ? r.status : 0, r.response);
    };
    r.open("GET", location.href);
    r.send();
  };

  // update makes the children of old like those of fresh. It changes only what differs, so the
  // focus, the selection and the scroll positions stay. Elements with an id are matched by it.
  const update = (old, fresh) => {
    let at = old.firstChild;
    for (let next = fresh.firstChild; next; next = next.nextSibling) {
      let same = next.id ? [...old.children].find((c) => c.id === next.id) : at;
      if (!same || same.nodeType !== next.nodeType || same.nodeName !== next.nodeName || (same.id || "") !== (next.id || "")) {
        old.insertBefore(document.importNode(next, true), at);
        continue;
      }
      if (same !== at) old.insertBefore(same, at); else at = at.nextSibling;
      if (next.nodeType === Node.ELEMENT_NODE) patch(same, next);
      else if (same.data !== next.data) same.data = next.data;
    }
    while (at) {
      const gone = at;
      at = at.nextSibling;
      gone.remove();
    }
  };

  // patch makes an element like another one with the same name. What the user types stays.
  const patch = (old, fresh) => {
    for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
    for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    if (old.localName !== "input" && old.localName !== "select") update(old, fresh);
  };

  const say = (text) => {
    notice.hidden = text === "";
    if (notice.textContent !== text) notice.textContent = text;
  };

  const refresh = () => {
    clearTimeout(timer);
    fetchPage((status, page) => {
      const main = page && page.getElementById("main");
      if (status === 200 && main) {
        document.title = page.title;
        patch(byId("main"), main);
        patch(byId("time"), page.getElementById("time"));
        say("");
      } else if (status === 404) {
        const why = page && page.querySelector(".message");
        say((why ? why.textContent : "There is no such page.") + " The page shows the last state.");
      } else {
        say(status === 0 ? "The process does not answer." : "The process answers with status " + status + ".");
      }
      schedule();
    });
  };

  const schedule = () => {
    clearTimeout(timer);
    if (!paused && !document.hidden) timer = setTimeout(refresh, Number(interval.value));
  };

  const show = () => {
    pause.setAttribute("aria-pressed", String(paused));
    pause.textContent = paused ? "Resume" : "Pause";
    document.body.classList.toggle("paused", paused);
  };

  const toggle = () => {
    paused = !paused;
    sessionStorage.setItem("paused", paused ? "1" : "");
    show();
    if (paused) clearTimeout(timer); else refresh();
  };

  // go shows another page of the table, without loading the document anew.
  const go = (url) => {
    history.replaceState(null, "", url);
    refresh();
  };

  // submit applies the form of a table.
  const submit = (form) => {
    const query = new URLSearchParams();
    for (const [name, value] of new FormData(form)) if (value !== "") query.append(name, value);
    go(location.pathname + (query.size ? "?" + query : ""));
  };

  document.addEventListener("input", (e) => { if (e.target.form) submit(e.target.form); });
  document.addEventListener("submit", (e) => {
    e.preventDefault();
    submit(e.target);
  });
  document.addEventListener("click", (e) => {
    const a = e.target.closest("th a, .pages a");
    if (!a || e.button !== 0 || e.ctrlKey || e.metaKey || e.shiftKey || e.altKey) return;
    e.preventDefault();
    go(a.href);
  });
  // On keyup, so that the character of the key does not get into the field that gets the focus.
  document.addEventListener("keyup", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    if (e.key === "Escape" && e.target.type === "search") return e.target.blur();
    if (e.target.closest("input, select")) return;
    if (e.key === "p") toggle();
    else if (e.key === "r") refresh();
    else if (e.key === "/") document.querySelector("input[type=search]")?.focus();
  });
  document.addEventListener("visibilitychange", () => { if (!document.hidden && !paused) refresh(); else schedule(); });
  interval.value = sessionStorage.getItem("interval") || interval.value;
  interval.addEventListener("change", () => {
    sessionStorage.setItem("interval", interval.value);
    schedule();
  });
  pause.addEventListener("click", toggle);

  for (const e of document.querySelectorAll(".script")) e.hidden = false;
  document.body.classList.add("scripted");
  show();
  schedule();
})();
