// The review by keyboard: each key presses the button or the link that shows it. Without this all of it can be clicked.

import { watchCombobox } from "./combobox.js"

const ALIKE = { Enter: "y" } // unless something else has the focus, which Enter then presses
let decided = false // the next page is on its way: a second press must not decide on it unseen

watchCombobox(document.getElementById("main"))

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.defaultPrevented) return
  const focused = document.activeElement
  if (focused?.matches("input, textarea, select")) {
    if (event.key === "Escape") focused.blur()
    return
  }
  if (event.key === "/") {
    event.preventDefault()
    document.querySelector("[data-focus]")?.focus()
    return
  }
  if (event.key === "Enter" && focused?.matches("a, button, summary")) return
  press(ALIKE[event.key] ?? event.key.toLowerCase(), event)
})

function press(key, event) {
  const target = [...document.querySelectorAll("[data-key]")].find((it) => it.dataset.key === key)
  if (!target || decided) return
  event.preventDefault()
  decided = true
  target.click()
}

addEventListener("pageshow", () => (decided = false)) // back again by the browser's own button
