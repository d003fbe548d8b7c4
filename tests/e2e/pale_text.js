// What of the visible text has a contrast to its ground below WCAG's AA: 4.5, or 3 where it is large.
() => {
  const numbers = (color) => {
    const found = color.match(/[\d.]+/g).map(Number);
    return found.length < 4 ? [...found, 1] : found;
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3]));
  const luminance = (color) => {
    const [r, g, b] = color.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ancestors = (node) => (node ? [node, ...ancestors(node.parentElement)] : []);
  const pale = [];
  for (const node of document.querySelectorAll("[data-testid=stApp] *")) {
    const text = [...node.childNodes].filter((one) => one.nodeType === 3).map((one) => one.data.trim()).join("");
    const { width, height } = node.getBoundingClientRect();
    const style = getComputedStyle(node);
    const ink = node instanceof SVGElement ? style.fill : style.color;
    // A control that is off may be pale; a slider's number stands beside the thumb that it belongs to.
    const excused = "button:disabled, [data-disabled], [aria-disabled=true], [data-testid=stSliderThumbValue]";
    if (!text || width < 3 || height < 3 || !ink.startsWith("rgb") || node.closest(excused)) continue;
    const line = ancestors(node);
    const opacity = line.reduce((share, one) => share * getComputedStyle(one).opacity, 1);
    if (!opacity || style.visibility === "hidden") continue;
    const grounds = line.map((one) => numbers(getComputedStyle(one).backgroundColor));
    const ground = grounds.reduceRight((below, top) => over(top, below), [255, 255, 255]);
    const [r, g, b, alpha] = numbers(ink);
    const lights = [over([r, g, b, alpha * opacity], ground), ground].map(luminance);
    const contrast = (Math.max(...lights) + 0.05) / (Math.min(...lights) + 0.05);
    const large = parseFloat(style.fontSize) >= 24;
    if (contrast < (large ? 3 : 4.5)) pale.push(`${contrast.toFixed(2)}: ${text.slice(0, 40)}`);
  }
  return pale;
}
