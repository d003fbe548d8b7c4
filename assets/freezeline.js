// The freeze line in the picture above this component: one drags it, or clicks a stage to freeze up to that stage.
// Only the picture moves meanwhile; the depth is told when the line is let go.

// Blocks from the input up; the head, which is never frozen, is left out.
const stagesOf = (stack) => [...stack.querySelectorAll(".thaw-block")].reverse().slice(0, -1);

function depthAt(stack, y) {
  return stagesOf(stack).filter((block) => {
    const { top, height } = block.getBoundingClientRect();
    return top + height / 2 > y;
  }).length;
}

function show(stack, depth, icons) {
  const stages = stagesOf(stack);
  stages.forEach((block, place) => {
    const state = place < depth ? "frozen" : "trained";
    block.classList.remove("thaw-frozen", "thaw-trained");
    block.classList.add(`thaw-${state}`);
    block.querySelector(".thaw-icon").textContent = icons[state];
    block.querySelector(".thaw-word").textContent = state;
  });
  // The first child lies on top: the line goes above the highest frozen stage, or below them all.
  stack.insertBefore(stack.querySelector(".thaw-line"), stages[depth - 1] ?? stages[0].nextSibling);
}

const moved = new WeakMap();

function listen(parent) {
  const box = parent.closest(".st-key-freeze_line");
  const line = { depth: 0, told: 0, stack: null, icons: null, listening: new AbortController() };
  const on = (kind, act) => box.addEventListener(kind, act, { signal: line.listening.signal });
  const put = (stack, depth) => {
    if (depth !== line.depth) show(stack, depth, line.icons);
    line.depth = depth;
  };
  const tell = () => {
    if (line.depth !== line.told) line.tell("depth", line.depth);
    line.told = line.depth;
  };
  on("pointerdown", (event) => {
    const grip = event.target.closest(".thaw-line");
    if (!grip) return;
    event.preventDefault();
    box.setPointerCapture(event.pointerId);
    line.stack = grip.parentElement;
  });
  on("pointermove", (event) => {
    if (line.stack) put(line.stack, depthAt(line.stack, event.clientY));
  });
  for (const end of ["pointerup", "pointercancel"]) {
    on(end, () => {
      if (line.stack) tell();
      line.stack = null;
    });
  }
  on("click", (event) => {
    const block = event.target.closest(".thaw-block");
    const place = block ? stagesOf(block.parentElement).indexOf(block) : -1;
    if (place < 0) return;
    // A click on the highest frozen stage thaws it.
    put(block.parentElement, place + 1 === line.depth ? place : place + 1);
    tell();
  });
  moved.set(parent, line);
  return line;
}

export default function ({ data, parentElement, setTriggerValue }) {
  const line = moved.get(parentElement) ?? listen(parentElement);
  line.tell = setTriggerValue;
  line.icons = data.icons;
  line.depth = line.told = data.depth;
  return () => {
    line.listening.abort();
    moved.delete(parentElement);
  };
}
