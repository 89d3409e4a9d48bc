// Draws the figures that the page describes in data blocks, and sends a form as soon as a file is chosen.
"use strict";
(function () {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  function draw(root) {
    if (!window.Plotly) return;
    for (const place of root.querySelectorAll("[data-figure]:not([data-drawn])")) {
      const figure = JSON.parse(document.getElementById(place.dataset.figure).textContent);
      const ink = dark ? "#e8edf1" : "#1d2730", line = dark ? "#35424c" : "#d9dfe4";
      const axis = { gridcolor: line, zerolinecolor: line };
      const layout = figure.layout;
      layout.font = Object.assign({}, layout.font, { color: ink });
      layout.xaxis = Object.assign({}, axis, layout.xaxis);
      layout.yaxis = Object.assign({}, axis, layout.yaxis);
      const options = { responsive: true, displaylogo: false, toImageButtonOptions: { format: "svg", filename: "halfmax" },
        modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };
      place.replaceChildren();
      Plotly.newPlot(place, figure.data, layout, options);
      place.dataset.drawn = "1";
    }
  }
  document.addEventListener("DOMContentLoaded", () => draw(document));
  document.addEventListener("htmx:afterSwap", (event) => draw(event.target));
  document.addEventListener("change", (event) => {
    if (event.target.matches("select[data-send]")) event.target.form.requestSubmit();
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button || !navigator.clipboard) return;
    navigator.clipboard.writeText(new URL(button.dataset.copy, location.href).href);
    button.textContent = "copied";
  });
})();
