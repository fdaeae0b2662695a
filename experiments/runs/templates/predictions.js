"use strict";
/* The filters of the page of all predictions. Their state is the address after #. */
(() => {
  const ROWS_AT_ONCE = 100;
  const ORDERS = {
    confident: (one, other) => other.confidence - one.confidence,
    doubtful: (one, other) => one.confidence - other.confidence,
    missed: (one, other) => one.probability - other.probability,
    found: (one, other) => other.probability - one.probability,
  };
  const form = document.querySelector(".filters");
  const body = document.querySelector(".predictions tbody");
  const count = document.querySelector(".count");
  const more = document.querySelector(".more");
  const fields = ["true", "predicted", "verdict", "text", "sort"].map((name) =>
    form.elements.namedItem(name),
  );
  const rows = Array.from(body.rows, (element) => ({
    element,
    true: element.dataset.true.split(" "), // several where a clip may be of several classes
    predicted: element.dataset.predicted,
    verdict: element.dataset.true.split(" ").includes(element.dataset.predicted)
      ? "right"
      : "wrong",
    confidence: Number(element.dataset.confidence),
    probability: Number(element.dataset.probability),
    text: element.querySelector("code").textContent.toLowerCase(),
  }));
  let found = rows;
  let shown = 0;

  function readAddress() {
    const state = new URLSearchParams(location.hash.slice(1));
    for (const field of fields) {
      field.value = state.get(field.name) ?? "";
      if (field.selectedIndex < 0) field.value = "";
    }
    search();
  }

  function writeAddress() {
    const given = fields.filter((field) => field.value !== "");
    const state = new URLSearchParams(given.map((field) => [field.name, field.value]));
    history.replaceState(null, "", `#${state}`);
    search();
  }

  function search() {
    const [label, predicted, verdict, text, sort] = fields.map((field) => field.value);
    const part = text.toLowerCase();
    found = rows.filter(
      (row) =>
        (label === "" || row.true.includes(label)) &&
        (predicted === "" || row.predicted === predicted) &&
        (verdict === "" || row.verdict === verdict) &&
        row.text.includes(part),
    );
    if (sort !== "") found.sort(ORDERS[sort]);
    body.replaceChildren();
    shown = 0;
    showMore();
  }

  function showMore() {
    const next = found.slice(shown, shown + ROWS_AT_ONCE);
    body.append(...next.map((row) => row.element));
    shown += next.length;
    const number = (value) => value.toLocaleString("en");
    const total = `${number(found.length)} of ${number(rows.length)} clips`;
    const first = `; the first ${number(shown)} are shown`;
    count.textContent = shown < found.length ? total + first : total;
    more.hidden = shown === found.length;
  }

  form.addEventListener("input", writeAddress);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(writeAddress));
  more.addEventListener("click", showMore);
  addEventListener("hashchange", readAddress);
  form.hidden = false;
  readAddress();
})();
