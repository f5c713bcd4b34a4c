// Put the page together, and make it printable.

const sections = { curves: buildCurves, effects: buildEffects, samples: buildSamples };
for (const [id, build] of Object.entries(sections)) {
  const section = document.getElementById(id);
  if (section) build(section);
}
themeListeners.push(() => paintSwatches(), redraw);
armListeners.push(redraw);
armsChanged();
themeChanged();

// On paper everything that is unfolded is drawn, in the light colours.
function setPrinting(now) {
  printing.now = now;
  document.documentElement.toggleAttribute("data-printing", now);
  paintSwatches();
  for (const plot of plots) plot.stale = true;
  for (const plot of now ? plots : visible) if (plot.box.clientWidth) plot.draw();
}

addEventListener("beforeprint", () => setPrinting(true));
addEventListener("afterprint", () => setPrinting(false));
document.documentElement.dataset.ready = "";
