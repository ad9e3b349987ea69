"use strict";
// A click on a column's head sorts its table; printing opens what is folded.
const number = text => {
  const match = text.replace(/\u2212/g, "-").match(/-?\d[\d,]*\.?\d*(e[+-]?\d+)?/i);
  return match ? parseFloat(match[0].replace(/,/g, "")) : NaN;
};
const compare = (a, b, numeric) => {
  if (!numeric) return a.localeCompare(b);
  const [x, y] = [number(a), number(b)];
  return isNaN(x) || isNaN(y) ? isNaN(x) - isNaN(y) : x - y;
};
document.querySelectorAll("table.stack").forEach(table => {
  const body = table.tBodies[0];
  if (!table.tHead || body.rows.length < 3) return;
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    head.setAttribute("aria-sort", "none");
    head.tabIndex = 0;
    const sort = () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      const numeric = head.classList.contains("n");
      const text = row => row.cells[column].textContent.trim();
      const known = row => !numeric || !isNaN(number(text(row)));
      const rows = [...body.rows].sort((a, b) =>
        known(b) - known(a) || (down ? -1 : 1) * compare(text(a), text(b), numeric));
      body.append(...rows);
      [...head.parentNode.cells].forEach(cell => cell.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
    };
    head.addEventListener("click", sort);
    head.addEventListener("keydown", event => { if (event.key === "Enter") sort(); });
  });
});
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(part => { part.open = true; }));
