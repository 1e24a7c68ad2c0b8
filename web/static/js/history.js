// The history: htmx deletes and looks again in place; here the focus is kept, and what failed is said in its row.

import { watchHealth } from "./health.js"

const list = document.getElementById("past")
const slotOf = (element) => element.closest(".past")?.querySelector(".past-again")

watchHealth(document.getElementById("health"))

list.addEventListener("htmx:beforeSwap", (event) => {
  const { xhr, target } = event.detail
  if (xhr.status >= 400) {
    event.detail.target = slotOf(target)
    event.detail.swapOverride = "innerHTML"
  } else if (target.matches(".past")) {
    leave(target)
  }
})
for (const failure of ["htmx:sendError", "htmx:timeout"]) {
  list.addEventListener(failure, (event) => {
    slotOf(event.target)?.replaceChildren(document.getElementById("offline-template").content.cloneNode(true))
  })
}

// The row goes, and the button that was pressed with it: read on in the next.
function leave(row) {
  const next = row.nextElementSibling ?? row.previousElementSibling
  const to = next?.querySelector(".past-acts form:last-child button") ?? document.getElementById("history-title")
  to.focus()
  document.getElementById("past-said").textContent = "Deleted."
}
