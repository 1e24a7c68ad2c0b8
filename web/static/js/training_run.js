// One run: its row asks for itself, its curves come anew with each epoch, and a cell's pictures open in a dialog.

import { watchHealth } from "./health.js"
import { watchRows } from "./rows.js"

const dialog = document.getElementById("cell")
const announcer = document.getElementById("announcer")
const curves = document.getElementById("curves")
let said = stateOf(document)

watchHealth(document.getElementById("health"))
watchRows(document.body, () => {}) // its page loads anew at the end
document.body.addEventListener("htmx:afterSwap", () => {
  const now = stateOf(document)
  if (now && now !== said) announcer.textContent = now // each part once, not each second
  said = now
})
if (curves) keepOpen(curves)

document.addEventListener("click", async (event) => {
  const link = event.target.closest?.("#chart-confusion a")
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return
  event.preventDefault()
  const address = link.getAttribute("href")
  await htmx.ajax("GET", address, { target: "#cell-body" }).catch(() => location.assign(address))
  if (document.getElementById("cell-body").childElementCount && !dialog.open) dialog.showModal()
})
dialog.addEventListener("click", (event) => event.target === dialog && dialog.close()) // beside it
dialog.addEventListener("close", () => document.getElementById("cell-body").replaceChildren())

function stateOf(root) {
  return root.querySelector(".run .job-state")?.textContent
}

function keepOpen(box) { // a table of figures that somebody reads stays so when the curves come anew
  let open = []
  box.addEventListener("htmx:beforeSwap", () => {
    open = [...box.querySelectorAll("details[open]")].map((details) => details.closest("figure").id)
  })
  box.addEventListener("htmx:afterSettle", () => {
    for (const id of open) document.getElementById(id)?.querySelector("details")?.setAttribute("open", "")
  })
}
