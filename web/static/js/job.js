// One archive: its row asks for itself, the sheet turns in place, and a picture opens in a dialog to be corrected.

import { watchCombobox } from "./combobox.js"
import { watchFeedback } from "./feedback.js"
import { watchHealth } from "./health.js"
import { watchRows } from "./rows.js"

const dialog = document.getElementById("item")
const body = document.getElementById("item-body")
const sheet = document.getElementById("sheet")
let opener = null

watchHealth(document.getElementById("health"))
watchRows(document.body, () => {}) // its page loads anew at the end
watchFeedback(() => null, false) // the picture is in the archive already
watchCombobox(body)

sheet.addEventListener("htmx:beforeRequest", (event) => {
  if (event.target.closest(".tile")) opener = event.target
})
sheet.addEventListener("htmx:sendError", (event) => event.target.href && location.assign(event.target.href))
document.body.addEventListener("htmx:afterSwap", (event) => {
  if (event.detail.target === body && !dialog.open) dialog.showModal()
  if (event.detail.target === sheet && event.detail.requestConfig.elt.matches("a")) document.getElementById("sheet-title").focus()
  if (dialog.open) opener?.classList.toggle("corrected", Boolean(body.querySelector(".thanks")))
})
dialog.addEventListener("click", (event) => event.target === dialog && dialog.close()) // beside it
dialog.addEventListener("close", () => body.replaceChildren())
