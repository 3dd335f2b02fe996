// The page of `kumulus trace --html`: choosing, finding and walking boxes; without it they are links to the details.
"use strict";
(() => {
  const one = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const cells = all("a.cell"), lines = all("path.line"), panel = one("#panel");
  const entries = all("#ledger .entry");
  const byTarget = new Map(cells.map((cell) => [cell.getAttribute("href").slice(1), cell]));
  let chosen = null;

  // What hangs together with a cell stands out while it is pointed at, walked to or chosen.
  function light(cell) {
    const near = new Set();
    for (const line of lines) {
      const { start, end } = line.dataset;
      const touches = cell && (start === cell.dataset.cell || end === cell.dataset.cell);
      line.classList.toggle("near", Boolean(touches));
      if (touches) { near.add(start); near.add(end); }
    }
    for (const other of cells) other.classList.toggle("near", near.has(other.dataset.cell));
  }
  for (const cell of cells) {
    cell.addEventListener("mouseenter", () => light(cell));
    cell.addEventListener("focus", () => light(cell));
    for (const end of ["mouseleave", "blur"]) cell.addEventListener(end, () => light(chosen));
    cell.addEventListener("click", (event) => { event.preventDefault(); choose(cell); });
  }

  // Details beside the graph: a copy of the entry below it, unfolded.
  function choose(cell) {
    close();
    chosen = cell;
    cell.classList.add("chosen");
    const copy = document.getElementById(cell.getAttribute("href").slice(1)).cloneNode(true);
    for (const part of [copy, ...all("[id]", copy)]) part.removeAttribute("id");
    for (const part of [copy, ...all("[data-hide]", copy)]) part.removeAttribute("data-hide");
    for (const fold of all("details", copy)) fold.open = true;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "close";
    button.textContent = "close";
    button.addEventListener("click", () => close(true));
    panel.append(button, copy);
    panel.classList.add("open");
    panel.scrollTop = 0;
    light(cell);
  }
  function close(back = false) {
    if (!chosen) return;
    chosen.classList.remove("chosen");
    const cell = chosen;
    chosen = null;
    panel.classList.remove("open");
    for (const part of all("button, .entry", panel)) part.remove();
    light(null);
    if (back) cell.focus();
  }
  // Links to a box of the graph choose it; links to a row unfold what it lies in.
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#']:not(.cell)");
    if (!link) return;
    const target = link.getAttribute("href").slice(1);
    const cell = byTarget.get(target);
    if (cell && !link.closest("#ledger")) {
      event.preventDefault();
      choose(cell);
      cell.focus({ preventScroll: true });
      cell.scrollIntoView({ block: "center", inline: "center" });
    } else {
      reveal(target);
    }
  });
  function reveal(target) {
    const place = target && document.getElementById(target);
    for (let part = place; part; part = part.parentElement) if (part.tagName === "DETAILS") part.open = true;
    if (place) place.scrollIntoView({ block: "center" });
  }

  // Keys: arrows go to the nearest box that way, / finds, Esc closes.
  const directions = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };
  function nearest(cell, [dx, dy]) {
    const centre = (one) => { const box = one.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; };
    const [x, y] = centre(cell);
    let best = null, least = Infinity;
    for (const other of cells) {
      const [ox, oy] = centre(other);
      const ahead = (ox - x) * dx + (oy - y) * dy, aside = Math.abs((ox - x) * dy) + Math.abs((oy - y) * dx);
      if (ahead > 4 && ahead + 2.5 * aside < least) { best = other; least = ahead + 2.5 * aside; }
    }
    return best;
  }
  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches("input, select");
    if (event.key === "Escape") {
      if (typing) { find.value = ""; filter(); event.target.blur(); } else close(true);
    } else if (event.key === "/" && !typing) {
      event.preventDefault();
      find.focus();
    } else if (event.key in directions && event.target.matches("a.cell")) {
      const next = nearest(event.target, directions[event.key]);
      if (next) { event.preventDefault(); next.focus(); }
    } else if (event.key === "Enter" && event.target.matches("a.cell")) {
      event.preventDefault();
      choose(event.target);
      panel.focus();
    }
  });

  // Filter: boxes that do not match fade, entries and rows that do not match go, folds with matches open.
  const find = one("#find"), ofKind = one("#of-kind"), ofVerdict = one("#of-verdict");
  const written = new Map();
  for (const part of [...entries, ...all("#ledger tbody tr")]) {
    const own = [...part.children].filter((one) => !one.matches(".ways")); // names of neighbours are no own words
    written.set(part, own.map((one) => one.textContent).join(" ").toLowerCase());
  }
  function filter() {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    const kind = ofKind.value, verdict = ofVerdict ? ofVerdict.value : "";
    const active = words.length > 0 || kind !== "" || verdict !== "";
    const says = (part) => words.every((word) => written.get(part).includes(word));
    let shown = 0;
    for (const entry of entries) {
      const rows = all("tbody tr", entry);
      const fits = (!kind || entry.dataset.kind === kind)
        && (!verdict || entry.dataset.verdict === verdict || rows.some((row) => row.dataset.verdict === verdict));
      const matches = fits && says(entry);
      const hits = rows.filter((row) => says(row) && (!verdict || row.dataset.verdict === verdict));
      for (const row of rows) row.toggleAttribute("data-hide", active && hits.length > 0 && !hits.includes(row));
      for (const fold of all("details", entry)) {
        const holds = words.length > 0 && matches && hits.some((row) => fold.contains(row));
        if (holds || !active) fold.open = holds || fold.hasAttribute("data-open");
      }
      entry.toggleAttribute("data-hide", active && !matches);
      const cell = byTarget.get(entry.id);
      if (cell) {
        cell.classList.toggle("other", active && !matches);
        shown += matches ? 1 : 0;
      }
    }
    const hidden = new Set(cells.filter((cell) => cell.classList.contains("other")).map((cell) => cell.dataset.cell));
    for (const line of lines) line.classList.toggle("other", hidden.has(line.dataset.start) || hidden.has(line.dataset.end));
    for (const heading of all("#ledger h2")) {
      let next = heading.nextElementSibling, any = false;
      for (; next && next.tagName !== "H2"; next = next.nextElementSibling) any = any || !next.hasAttribute("data-hide");
      heading.toggleAttribute("data-hide", !any);
    }
    one("#matches").textContent = active ? `${shown} of ${cells.length} boxes` : "";
  }
  for (const fold of all("details[open]")) fold.setAttribute("data-open", "");
  for (const input of [find, ofKind, ofVerdict]) if (input) input.addEventListener("input", filter);
  one("#toolbar").addEventListener("submit", (event) => event.preventDefault());
  const unfold = one("#unfold");
  unfold.addEventListener("click", () => {
    const open = unfold.getAttribute("aria-pressed") !== "true";
    for (const fold of all("#ledger details")) fold.open = open;
    unfold.setAttribute("aria-pressed", String(open));
    unfold.textContent = open ? "fold all" : "unfold all";
  });

  // On paper nothing is folded.
  let folded = [];
  addEventListener("beforeprint", () => { folded = all("details:not([open])"); for (const fold of folded) fold.open = true; });
  addEventListener("afterprint", () => { for (const fold of folded) fold.open = false; });
  addEventListener("hashchange", () => reveal(location.hash.slice(1)));
  one("#toolbar").hidden = false;
  if (location.hash) reveal(location.hash.slice(1));
})();
