"use strict";
(() => {
  const of = (id) => document.getElementById(id);
  const table = of("cells");
  const body = table && table.tBodies[0];
  const heads = table ? [...table.tHead.rows[0].cells] : [];

  const key = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.key === undefined ? cell.textContent : Number(cell.dataset.key);
  };
  const none = (row, column) => row.cells[column].textContent === "–" && row.cells[column].dataset.key === undefined;
  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });

  // What there is no figure for comes last, whichever way.
  const sort = (column, way) => {
    const rows = [...body.rows];
    rows.sort((a, b) => {
      const missing = none(a, column) - none(b, column);
      return missing || way * compare(key(a, column), key(b, column));
    });
    body.append(...rows);
    heads.forEach((head, at) => {
      if (at === column) head.setAttribute("aria-sort", way > 0 ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    });
  };
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(column, head.getAttribute("aria-sort") === "ascending" ? -1 : 1));
    head.append(button);
  });

  const filters = of("filters");
  if (filters) {
    const names = heads.map((head) => head.textContent);
    const filter = () => {
      const words = of("words").value.toLowerCase().split(/\s+/).filter(Boolean);
      const wanted = [...filters.querySelectorAll("select")].filter((select) => select.value);
      let shown = 0;
      for (const row of body.rows) {
        const cells = [...row.cells];
        const fits =
          words.every((word) => cells.some((cell) => cell.textContent.toLowerCase().includes(word))) &&
          wanted.every((select) => row.cells[names.indexOf(select.dataset.column)].textContent === select.value);
        row.hidden = !fits;
        shown += fits;
      }
      of("count").textContent = `${shown} of ${body.rows.length} rows`;
    };
    filters.addEventListener("input", filter);
    filters.addEventListener("submit", (event) => event.preventDefault());
    filters.addEventListener("reset", () => setTimeout(filter));
    filters.hidden = false;
    filter();
  }

  // A pointer on a chart, or the arrow keys, show the figures of the nearest row of its table.
  for (const plot of document.querySelectorAll(".plot")) {
    const table = plot.parentElement.querySelector("table");
    const heads = [...table.tHead.rows[0].cells].map((head) => head.textContent);
    const places = plot.dataset.x.split(" ").map(Number);
    const cursor = document.createElementNS(plot.namespaceURI, "line");
    const tip = document.createElement("div");
    let at = places.length - 1;
    const show = (row) => {
      at = Math.max(0, Math.min(row, places.length - 1));
      const cells = [...table.tBodies[0].rows[at].cells].map((cell) => cell.textContent);
      const words = heads.slice(1).map((head, column) => `${head}: ${cells[column + 1]}`);
      tip.textContent = [cells[0], ...words.filter((word) => !/: –?$/.test(word))].join("\n");
      for (const end of ["x1", "x2"]) cursor.setAttribute(end, `${places[at]}%`);
      plot.append(cursor);
      tip.hidden = false;
      const [box, around] = [plot, plot.parentElement].map((part) => part.getBoundingClientRect());
      const x = box.left - around.left + (box.width * places[at]) / 100;
      tip.style.top = `${box.top - around.top}px`;
      tip.style.left = `${places[at] < 50 ? x + 10 : Math.max(0, x - 10 - tip.offsetWidth)}px`;
    };
    const hide = () => {
      tip.hidden = true;
      cursor.remove();
    };
    cursor.setAttribute("class", "cursor");
    cursor.setAttribute("y2", "100%");
    tip.className = "tip";
    tip.setAttribute("role", "status");
    tip.hidden = true;
    plot.parentElement.append(tip);
    plot.tabIndex = 0;
    plot.addEventListener("pointermove", (event) => {
      const box = plot.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width) * 100;
      show(places.reduce((best, place, row) => (Math.abs(place - x) < Math.abs(places[best] - x) ? row : best), 0));
    });
    plot.addEventListener("keydown", (event) => {
      const row = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: places.length - 1 }[event.key];
      if (event.key === "Escape") hide();
      if (row === undefined) return;
      event.preventDefault();
      show(row);
    });
    plot.addEventListener("focus", () => show(at));
    plot.addEventListener("blur", hide);
    plot.addEventListener("pointerleave", hide);
  }

  const theme = of("theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (document.documentElement.dataset.theme || (dark.matches ? "dark" : "light")) === "dark";
  const label = () => (theme.textContent = isDark() ? "Light theme" : "Dark theme");
  theme.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    label();
  });
  dark.addEventListener("change", label);
  theme.hidden = false;
  label();
})();
