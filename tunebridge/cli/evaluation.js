const find = document.getElementById("find"), which = document.getElementById("which");
const flips = [...document.querySelectorAll("details.flip")].map((part) => [part, part.textContent.toLowerCase()]);
function show() {
  const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const [part, text] of flips) {
    const fits = (!which.value || part.dataset.kind === which.value) && words.every((word) => text.includes(word));
    part.hidden = !fits;
    shown += fits;
  }
  document.getElementById("count").textContent = `${shown} of ${flips.length} shown`;
}
if (find) {
  find.addEventListener("input", show);
  which.addEventListener("change", show);
  show();
}
