// Draws a report's figures from the data beside them, in the colours of the page, and again for other colours or paper.
"use strict";
const PAPER = 680;
const nodes = [...document.querySelectorAll(".thaw-plot")];

function template() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(`--${name}`).trim();
  const axis = {
    automargin: true,
    gridcolor: of("line"),
    linecolor: of("line"),
    tickcolor: of("line"),
    zerolinecolor: of("line"),
    zerolinewidth: 1,
    title: { standoff: 8 },
  };
  return {
    layout: {
      font: { family: getComputedStyle(document.body).fontFamily, color: of("ink"), size: 13 },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      xaxis: axis,
      yaxis: axis,
      hoverlabel: { bgcolor: of("panel"), bordercolor: of("line"), font: { color: of("ink") } },
      legend: { bgcolor: "rgba(0,0,0,0)" },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: of("muted"), activecolor: of("accent") },
    },
  };
}

function draw(node, width) {
  const figure = JSON.parse(node.nextElementSibling.textContent);
  const layout = { ...figure.layout, template: template(), autosize: !width };
  if (width) layout.width = width;
  // A finger dragged over a chart scrolls the page; zooming by drag is for pointers that hover.
  if (!matchMedia("(hover: hover)").matches) layout.dragmode = false;
  Plotly.react(node, figure.data, layout, {
    displaylogo: false,
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
  });
}

const drawAll = (width) => nodes.forEach((node) => draw(node, width));
drawAll();
const resized = new ResizeObserver((entries) => entries.forEach(({ target }) => Plotly.Plots.resize(target)));
nodes.forEach((node) => resized.observe(node));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll());
// Paper has a width of its own, and the colours of the print style.
matchMedia("print").addEventListener("change", ({ matches }) => drawAll(matches ? PAPER : undefined));
