// Light and dark: the reader's system decides until the button does.

const themeButton = document.getElementById("theme");
const systemDark = matchMedia("(prefers-color-scheme: dark)");
const printing = { now: false };
const themeListeners = [];

function isDark() {
  if (printing.now) return false;
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : systemDark.matches;
}

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function themeChanged() {
  themeButton.textContent = isDark() ? "Light" : "Dark";
  themeButton.setAttribute("aria-label", isDark() ? "Switch to light colours" : "Switch to dark colours");
  for (const listener of themeListeners) listener();
}

// A page opened from a file may be refused any storage; the choice then lasts as long as the page.
function remembered(value) {
  try {
    if (value !== undefined) localStorage.setItem("rlpipe-theme", value);
    return localStorage.getItem("rlpipe-theme");
  } catch {
    return null;
  }
}

themeButton.addEventListener("click", () => {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  remembered(document.documentElement.dataset.theme);
  themeChanged();
});
systemDark.addEventListener("change", themeChanged);
if (["light", "dark"].includes(remembered())) document.documentElement.dataset.theme = remembered();
