// Before anything is drawn: the theme that the reader chose, if any, and that scripts run.
{
  const root = document.documentElement;
  root.classList.add("scripted");
  try {
    const kept = localStorage.getItem("encore-theme");
    if (kept === "light" || kept === "dark") root.dataset.theme = kept;
  } catch { /* a browser that keeps nothing for files */ }
}
