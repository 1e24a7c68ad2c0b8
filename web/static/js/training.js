// Datasets: sent with progress, then to be chosen in the form; the rows of runs ask for themselves.

import { watchHealth } from "./health.js"
import { watchRows } from "./rows.js"
import { watchZips } from "./zips.js"

const announcer = document.getElementById("announcer")
const announce = (words) => { announcer.textContent = words }

watchHealth(document.getElementById("health"))
watchRows(document.body, announce)
watchZips({
  address: "/training/datasets",
  list: document.getElementById("datasets"),
  otherwise: "Pack the folders of the classes into one.",
  announce,
  onArrived: (row) => choose(row.querySelector(".dataset")),
})

function choose(dataset) {
  const select = document.getElementById("set-data")
  if (!dataset) return
  select.querySelector('option[value=""]')?.remove() // that there is none
  select.add(new Option(dataset.dataset.name, dataset.dataset.id, true, true), 0)
}

document.getElementById("begin").addEventListener("invalid", ({ target }) => { // else the browser could not show which
  target.closest("details")?.setAttribute("open", "")
}, true)
