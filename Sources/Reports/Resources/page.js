const preset = new URLSearchParams(location.hash.slice(1));
document.querySelectorAll("table.rows").forEach((table, position) => {
  const body = table.tBodies[0];
  const original = [...body.rows];
  const headings = [...table.tHead.rows[0].cells];
  const parse = { inf: Infinity, "-inf": -Infinity, nan: NaN };
  const key = (row, column) => {
    const cell = row.cells[column];
    const value = cell.dataset.value;
    if (value === undefined) return cell.classList.contains("number") ? null : cell.textContent;
    return value in parse ? parse[value] : Number(value);
  };
  const compare = (a, b) =>
    typeof a === "string" ? a.localeCompare(b, undefined, { numeric: true })
      : a === b ? 0 : a < b ? -1 : 1;
  const filter = table.closest("section").querySelector(".filter input");
  const shown = table.closest("section").querySelector(".filter output");
  const apply = () => {
    const text = filter.value.trim();
    const pattern = text.replace(/[.+?^${}()|[\]\\]/g, "\\$&").replaceAll("*", ".*");
    const match = new RegExp(text.includes("*") ? `^${pattern}$` : pattern, "i");
    let count = 0;
    for (const row of original) {
      const name = row.cells[0].firstChild ? row.cells[0].cloneNode(true) : null;
      name?.querySelectorAll("small").forEach((remark) => remark.remove());
      row.hidden = text !== "" && !match.test(name?.textContent ?? "");
      if (!row.hidden) count += 1;
    }
    shown.value = text === "" ? "" : `${count} of ${original.length}`;
  };
  filter?.addEventListener("input", apply);
  headings.forEach((heading, column) => {
    heading.firstElementChild.addEventListener("click", () => {
      const isNumber = heading.classList.contains("number");
      const cycle = isNumber ? ["descending", "ascending"] : ["ascending", "descending"];
      const order = cycle[cycle.indexOf(heading.getAttribute("aria-sort")) + 1];
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      let rows = original;
      if (order) {
        heading.setAttribute("aria-sort", order);
        const sign = order === "ascending" ? 1 : -1;
        rows = [...original].sort((a, b) => {
          const [x, y] = [key(a, column), key(b, column)];
          const [xEmpty, yEmpty] = [x === null || x !== x, y === null || y !== y];
          return xEmpty || yEmpty ? xEmpty - yEmpty : sign * compare(x, y);
        });
      }
      body.append(...rows);
    });
  });
  if (position === 0) {
    if (filter && preset.has("filter")) {
      filter.value = preset.get("filter");
      apply();
    }
    const sorted = headings.find((heading) => heading.dataset.key === preset.get("sort"));
    const order = preset.get("order") ?? sorted?.getAttribute("aria-sort") ?? null;
    for (let click = 0; sorted && click < 2; click += 1) {
      sorted.firstElementChild.click();
      if (!order || sorted.getAttribute("aria-sort") === order) break;
    }
  }
});
