// The freeze line in the picture above this component: drag it, or click a stage to freeze up to that stage.
// While dragging only the picture changes; the depth is sent to the server when the line is released.

// Blocks from the input up, without the head, which is never frozen.
const stagesOf = (stack) => [...stack.querySelectorAll(".thaw-block")].reverse().slice(0, -1);

function depthAt(stack, y) {
  return stagesOf(stack).filter((block) => {
    const { top, height } = block.getBoundingClientRect();
    return top + height / 2 > y;
  }).length;
}

function draw(stack, depth, icons) {
  const stages = stagesOf(stack);
  stages.forEach((block, place) => {
    const state = place < depth ? "frozen" : "trained";
    block.classList.remove("thaw-frozen", "thaw-trained");
    block.classList.add(`thaw-${state}`);
    block.querySelector(".thaw-icon").textContent = icons[state];
    block.querySelector(".thaw-word").textContent = state;
  });
  // The first child is on top: put the line above the highest frozen stage, or below all stages.
  stack.insertBefore(stack.querySelector(".thaw-line"), stages[depth - 1] ?? stages[0].nextSibling);
}

const lines = new WeakMap();

function listen(parent) {
  const box = parent.closest(".st-key-freeze_line");
  const line = { depth: 0, sent: 0, stack: null, icons: null, listening: new AbortController() };
  const on = (kind, act) => box.addEventListener(kind, act, { signal: line.listening.signal });
  const move = (stack, depth) => {
    if (depth !== line.depth) draw(stack, depth, line.icons);
    line.depth = depth;
  };
  const send = () => {
    if (line.depth !== line.sent) line.setDepth("depth", line.depth);
    line.sent = line.depth;
  };
  on("pointerdown", (event) => {
    const grip = event.target.closest(".thaw-line");
    if (!grip) return;
    event.preventDefault();
    box.setPointerCapture(event.pointerId);
    line.stack = grip.parentElement;
  });
  on("pointermove", (event) => {
    if (line.stack) move(line.stack, depthAt(line.stack, event.clientY));
  });
  for (const end of ["pointerup", "pointercancel"]) {
    on(end, () => {
      if (line.stack) send();
      line.stack = null;
    });
  }
  on("click", (event) => {
    const block = event.target.closest(".thaw-block");
    const place = block ? stagesOf(block.parentElement).indexOf(block) : -1;
    if (place < 0) return;
    // A click on the highest frozen stage unfreezes it.
    move(block.parentElement, place + 1 === line.depth ? place : place + 1);
    send();
  });
  lines.set(parent, line);
  return line;
}

export default function ({ data, parentElement, setTriggerValue }) {
  const line = lines.get(parentElement) ?? listen(parentElement);
  line.setDepth = setTriggerValue;
  line.icons = data.icons;
  line.depth = line.sent = data.depth;
  return () => {
    line.listening.abort();
    lines.delete(parentElement);
  };
}
