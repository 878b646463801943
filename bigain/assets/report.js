// Sorts and filters the list of runs.  What is chosen stands in the address behind #, such as
// #sort=-acc1&operator=lgtm&q=0.7, so a choice can be kept and sent as a link.
"use strict";
(() => {
  const table = document.getElementById("run-list");
  const form = document.getElementById("run-filter");
  if (!table || !form) return;
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  const menus = [...form.querySelectorAll("select")];
  const search = form.elements.namedItem("q");
  let sort = "";

  const value = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.value ?? cell.textContent.trim();
  };

  const compare = (a, b) => {
    const [x, y] = [Number(a), Number(b)];
    if (!Number.isNaN(x) && !Number.isNaN(y)) return x - y;
    return a < b ? -1 : a > b ? 1 : 0;
  };

  // Rows without a value are last in either direction; equal ones keep their order.
  const sorted = () => {
    const descending = sort.startsWith("-");
    const key = descending ? sort.slice(1) : sort;
    const column = heads.findIndex((head) => head.dataset.key === key);
    heads.forEach((head, index) => {
      if (index !== column) head.removeAttribute("aria-sort");
      else head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    });
    if (column < 0) return rows;
    return [...rows].sort((left, right) => {
      const [a, b] = [value(left, column), value(right, column)];
      if (a === "" || b === "") return (a === "") - (b === "");
      return descending ? compare(b, a) : compare(a, b);
    });
  };

  const matches = (row) => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const text = row.textContent.toLowerCase();
    return menus.every((menu) => !menu.value || row.dataset[menu.name] === menu.value)
      && words.every((word) => text.includes(word));
  };

  // A column that is empty in all rows that are left says nothing.
  const hideEmptyColumns = (shown) => {
    heads.forEach((head, column) => {
      const hidden = shown.length > 0 && shown.every((row) => value(row, column) === "");
      head.hidden = hidden;
      rows.forEach((row) => { row.cells[column].hidden = hidden; });
    });
  };

  const show = () => {
    rows.forEach((row) => { row.hidden = !matches(row); });
    const shown = rows.filter((row) => !row.hidden);
    body.append(...sorted());
    hideEmptyColumns(shown);
    document.getElementById("run-count").value = `${shown.length} of ${rows.length} runs`;
  };

  const remember = () => {
    const chosen = new URLSearchParams();
    if (sort) chosen.set("sort", sort);
    [search, ...menus].forEach((field) => {
      if (field.value) chosen.set(field.name, field.value);
    });
    const text = chosen.toString();
    history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
  };

  // The address of another part of the page, such as #table4, chooses nothing.
  const recall = () => {
    const text = location.hash.slice(1);
    if (!text.includes("=")) return;
    const chosen = new URLSearchParams(text);
    sort = chosen.get("sort") ?? "";
    search.value = chosen.get("q") ?? "";
    menus.forEach((menu) => {
      const wanted = chosen.get(menu.name) ?? "";
      const known = [...menu.options].some((option) => option.value === wanted);
      menu.value = known ? wanted : "";
    });
    show();
    document.getElementById("runs").scrollIntoView();
  };

  const change = () => { show(); remember(); };

  heads.forEach((head) => {
    head.querySelector("button").addEventListener("click", () => {
      const key = head.dataset.key;
      sort = sort === key ? `-${key}` : sort === `-${key}` ? "" : key;
      change();
    });
  });
  form.addEventListener("input", change);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => { sort = ""; setTimeout(change); });
  window.addEventListener("hashchange", recall);
  form.hidden = false;
  show();
  recall();
})();
