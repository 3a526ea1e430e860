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

  const theme = of("theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (document.documentElement.dataset.theme || (dark.matches ? "dark" : "light")) === "dark";
  const tell = () => (theme.textContent = isDark() ? "Light theme" : "Dark theme");
  theme.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    tell();
  });
  dark.addEventListener("change", tell);
  theme.hidden = false;
  tell();
})();
