// Keys, the help, and dark or light.

function theme() {
  const root = document.documentElement, button = $("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const remembered = () => { try { return localStorage.getItem("jade-theme"); } catch { return null; } };
  const apply = (name) => {
    root.dataset.theme = name;
    button.textContent = name === "dark" ? "Light" : "Dark";
    button.setAttribute("aria-label", `Switch to ${name === "dark" ? "light" : "dark"} colours`);
  };
  const current = () => remembered() ?? (system.matches ? "dark" : "light");
  apply(current());
  system.addEventListener("change", () => apply(current()));
  const toggle = () => {
    const name = root.dataset.theme === "dark" ? "light" : "dark";
    try { localStorage.setItem("jade-theme", name); } catch { /* a page from a file may have nowhere to remember it */ }
    apply(name);
  };
  button.addEventListener("click", toggle);
  return toggle;
}

/** Obey keys: `keymap` by key; while something is typed only Escape is heard. */
function listen(keymap) {
  $("help-open").addEventListener("click", () => $("help").showModal());
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
    const typing = event.target.matches("input:not([type=checkbox]), select, textarea");
    if (typing && event.key !== "Escape") return;
    if (keymap[event.key] && keymap[event.key](event) !== false) event.preventDefault();
  });
}

/** Tabs by the pattern of ARIA: arrows move among them. */
function tabs(names, show) {
  const buttons = names.map((name) => $(`tab-${name}`));
  buttons.forEach((button, i) => {
    button.hidden = false;
    button.addEventListener("click", () => show(names[i]));
    button.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = (i + step + names.length) % names.length;
      show(names[next]);
      buttons[next].focus();
    });
  });
}
