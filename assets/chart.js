// The plot widget: Plotly.react on a persistent node, so that live charts neither flicker nor lose the zoom.
const SOURCE = "/assets/plotly.min.js";
const charts = new WeakMap();
let library = null;

function loadPlotly(version) {
  library ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = `${SOURCE}?v=${version}`;
    script.onload = () => (window.Plotly ? resolve(window.Plotly) : script.onerror());
    script.onerror = () => {
      library = null;
      script.remove();
      reject(new Error(`${SOURCE} could not be loaded; start Thaw with "make app" or "streamlit run app.py".`));
    };
    document.head.append(script);
  });
  return library;
}

// Plotly cannot read CSS variables: the theme is converted to a plotly template for every drawing.
function themeTemplate(node) {
  const style = getComputedStyle(node);
  const of = (name) => style.getPropertyValue(`--st-${name}`).trim();
  const grid = of("border-color-light") || of("border-color");
  const axis = {
    automargin: true,
    gridcolor: grid,
    linecolor: of("border-color"),
    tickcolor: of("border-color"),
    zerolinecolor: of("border-color"),
    zerolinewidth: 1,
    title: { standoff: 8 },
  };
  return {
    layout: {
      font: { family: of("font"), color: of("text-color"), size: 13 },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      colorway: of("chart-categorical-colors").split(","),
      xaxis: axis,
      yaxis: axis,
      hoverlabel: {
        bgcolor: of("secondary-background-color"),
        bordercolor: of("border-color"),
        font: { color: of("text-color"), family: of("font") },
      },
      legend: { bgcolor: "rgba(0,0,0,0)" },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: of("gray-color"), activecolor: of("primary-color") },
      margin: { l: 56, r: 16, t: 32, b: 48 },
      title: { font: { size: 15 } },
    },
  };
}

async function draw(chart) {
  const { node, data } = chart;
  const Plotly = await loadPlotly(data.version);
  // Without a figure, only the library is loaded, for the charts of the next page.
  if (chart.gone || !data.figure) return;
  const figure = JSON.parse(data.figure);
  const layout = { uirevision: "keep", ...figure.layout, template: themeTemplate(node), autosize: true };
  delete layout.width;
  layout.height = data.height;
  // On touch screens, dragging over a chart scrolls the page; zooming by dragging needs a pointer that hovers, and so do
  // the buttons, which would always cover the legend otherwise.
  const hovers = matchMedia("(hover: hover)").matches;
  if (!hovers) layout.dragmode = false;
  await Plotly.react(node, figure.data, layout, {
    displaylogo: false,
    displayModeBar: data.modebar && hovers ? "hover" : false,
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
    responsive: false,
  });
}

// If several figures arrive during a drawing, only the newest is drawn.
async function pump(chart) {
  if (chart.drawing) return;
  chart.drawing = true;
  try {
    while (chart.dirty && !chart.gone) {
      chart.dirty = false;
      await draw(chart);
    }
    chart.message.textContent = "";
  } catch (error) {
    // A chart that was removed while drawing has no layout any more.
    if (chart.gone) return;
    console.error(error);
    chart.message.textContent = `The chart cannot be drawn: ${error.message}`;
  } finally {
    chart.drawing = false;
  }
}

function mount(parent) {
  const node = parent.querySelector(".thaw-chart");
  const chart = { node, message: parent.querySelector(".thaw-chart-message"), dirty: false, drawing: false, gone: false };
  chart.observer = new ResizeObserver(() => {
    // A chart in a closed tab has no width; resize it when the tab opens.
    if (node.offsetWidth && node.classList.contains("js-plotly-plot")) window.Plotly.Plots.resize(node);
  });
  chart.observer.observe(node);
  charts.set(parent, chart);
  return chart;
}

export default function ({ data, parentElement }) {
  const chart = charts.get(parentElement) ?? mount(parentElement);
  chart.data = data;
  chart.node.style.height = `${data.height}px`;
  chart.node.hidden = !data.figure;
  chart.node.setAttribute("aria-label", data.alt);
  chart.dirty = true;
  pump(chart);
  return () => {
    chart.gone = true;
    chart.observer.disconnect();
    charts.delete(parentElement);
    window.Plotly?.purge(chart.node);
  };
}
