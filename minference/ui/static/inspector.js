"use strict";
// Everything works without this script; with it the slider shows versions while it moves, keys work, and pages stay up to date.

(() => {
  const EVERY = 1500; // milliseconds between two looks at whether there is something new
  const SETTLED = 70; // milliseconds for which the slider has to rest before a version is loaded
  const find = (id) => document.getElementById(id);
  let asked = 0;

  // Load a page, and put its content in the place of what is shown. Of several at once the last wins.
  async function show(url, { remember = true, keepEnd = false } = {}) {
    const mine = ++asked;
    const answer = await fetch(url, { headers: { Accept: "text/html" } });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const view = page.getElementById("view");
    if (mine !== asked || !view) return;
    const open = [...document.querySelectorAll("#view .message details[open]")].map(nameOf);
    const atEnd = innerHeight + scrollY >= document.documentElement.scrollHeight - 80;
    find("view").replaceWith(document.adoptNode(view));
    for (const each of document.querySelectorAll("#view .message details")) if (open.includes(nameOf(each))) each.open = true;
    document.title = page.title;
    document.body.dataset.mark = page.body.dataset.mark ?? "";
    if (page.body.dataset.markUrl) document.body.dataset.markUrl = page.body.dataset.markUrl;
    else delete document.body.dataset.markUrl;
    if (remember) history.replaceState(null, "", answer.url);
    if (keepEnd && atEnd) scrollTo({ top: document.documentElement.scrollHeight });
    align(page);
  }

  const nameOf = (details) => {
    const message = details.closest(".message");
    return `${message.id} ${[...message.querySelectorAll("details")].indexOf(details)}`;
  };

  // Let the slider and the links beside it say where we are.
  function align(page) {
    const slider = find("slider");
    const fresh = page.getElementById("line");
    if (!slider || !fresh) return;
    const state = find("state").dataset;
    find("line").dataset.step = state.step;
    find("line").dataset.tip = fresh.dataset.tip;
    slider.max = String(Number(state.count) - 1);
    slider.disabled = state.count === "1";
    if (!waiting) slider.value = state.place;
    document.querySelector(".ticks").replaceWith(document.adoptNode(page.querySelector(".ticks")));
    for (const id of ["previous", "next"]) find(id).replaceWith(document.adoptNode(page.getElementById(id)));
    label();
  }

  function label() {
    const slider = find("slider");
    find("place").textContent = `${(Number(slider.value) + 1).toLocaleString("en")} / ${(Number(slider.max) + 1).toLocaleString("en")}`;
  }

  let waiting = 0;
  function slide() {
    label();
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      waiting = 0;
      const { step, tip } = find("line").dataset;
      const from = new URLSearchParams(location.search).get("from");
      const rest = new URLSearchParams({ tip, ...(from ? { from } : {}) });
      show(`${step}${find("slider").value}?${rest}`).catch(lost);
    }, SETTLED);
  }

  function move(steps) {
    const slider = find("slider");
    const place = Math.min(Number(slider.max), Math.max(0, Number(slider.value) + steps));
    if (place === Number(slider.value)) return;
    slider.value = String(place);
    slide();
  }

  document.addEventListener("input", (event) => {
    if (event.target.id === "slider") slide();
  });

  document.addEventListener("click", (event) => {
    const link = event.target.closest("#previous, #next");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    move(link.id === "next" ? 1 : -1);
  });

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input:not([type=radio]), select, textarea")) return;
    const slider = find("slider");
    if (event.key === "/") document.querySelector(".search input").focus();
    else if (event.key === "ArrowLeft" && slider) move(-1);
    else if (event.key === "ArrowRight" && slider) move(1);
    else if (event.key === "d" && find("compare")) find("compare").click();
    else if (event.key === "t" && find("tree")) find("tree").click();
    else return;
    event.preventDefault();
  });

  function lost() {
    const live = find("live");
    live.hidden = false;
    live.classList.add("stale");
    live.textContent = "the inspector has stopped";
  }

  // Ask for the mark of what is shown; if it is another one, show it anew, unless that would take away what somebody looks at.
  async function look() {
    const { mark, markUrl } = document.body.dataset;
    if (!markUrl || document.hidden || waiting) return;
    const answer = await fetch(markUrl);
    const live = find("live");
    live.hidden = false;
    live.classList.remove("stale");
    live.textContent = "live";
    if (!answer.ok || (await answer.json()).mark === mark || document.body.dataset.mark !== mark) return;
    const state = find("state");
    if (state && state.dataset.follows === "no") {
      document.body.dataset.mark = "";
      delete document.body.dataset.markUrl;
      live.textContent = "";
      const link = document.createElement("a");
      link.href = location.pathname.replace(/\/at\/.*/, "");
      link.textContent = "there is something new: show the newest version";
      live.append(link);
    } else if (!document.querySelector(".tree-form :checked:focus")) {
      await show(location.href, { remember: false, keepEnd: true });
    }
  }

  if (document.body.dataset.markUrl) {
    const again = () => look().catch(lost).finally(() => setTimeout(again, EVERY));
    again();
    document.addEventListener("visibilitychange", () => look().catch(lost));
  }
  // A browser that restores a form's old values would let the slider stand elsewhere than the page.
  if (find("slider")) find("slider").value = find("state").dataset.place;
})();
