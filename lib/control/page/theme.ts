/**
 * Light or dark: as the system has it, until the button says otherwise; the choice is kept for this
 * gateway's address.
 *
 * @module
 */
/// <reference lib="dom" />
import { byId, setText } from "./dom.ts";

const STORED_AS = "virtio-gateway.theme";

/** Begins, and calls whenever colours have changed. */
export function startTheme(changed: () => void): void {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const button = byId<HTMLButtonElement>("theme");
  const stored = localStorage.getItem(STORED_AS);
  let chosen: string | null = stored === "light" || stored === "dark" ? stored : null;
  const apply = (): void => {
    const theme = chosen ?? (system.matches ? "dark" : "light");
    document.documentElement.dataset.theme = theme;
    setText(button, theme === "dark" ? "Light mode" : "Dark mode");
    changed();
  };
  button.addEventListener("click", () => {
    chosen = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    localStorage.setItem(STORED_AS, chosen);
    apply();
  });
  system.addEventListener("change", apply);
  apply();
}
