// Rows of jobs that htmx asks for each second: they sleep with the tab, stay when nobody answers, and say their end.

export function watchRows(root, announce) {
  root.addEventListener("htmx:beforeRequest", (event) => {
    if (isPoll(event) && document.hidden) event.preventDefault()
  })
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return
    for (const row of document.querySelectorAll(".job[hx-get]")) htmx.trigger(row, "refresh")
  })
  root.addEventListener("htmx:beforeSwap", (event) => {
    const { xhr, target, requestConfig } = event.detail
    if (!target.matches(".job")) return
    const refused = xhr.status >= 400
    if (requestConfig.elt === target) { // it asked for itself
      if (refused) event.detail.shouldSwap = false
      if (xhr.status === 404) removed(target)
      target.classList.toggle("lost", refused)
      return
    }
    target.parentElement.querySelector(":scope > .problem")?.remove() // of the last try
    if (refused) event.detail.swapOverride = "afterend" // the row stays, with the reason below it
  })
  for (const silence of ["htmx:sendError", "htmx:timeout"]) {
    root.addEventListener(silence, (event) => event.target.closest?.(".job")?.classList.add("lost"))
  }
  root.addEventListener("htmx:afterSwap", (event) => {
    const row = document.getElementById((event.detail.target ?? event.target).id)
    if (!row?.matches(".job") || row.hasAttribute("hx-get")) return
    const name = row.querySelector(".job-name")?.textContent ?? ""
    announce(`${name} ${row.querySelector(".job-state").textContent}.`)
  })
}

const isPoll = (event) => event.target.matches?.(".job")

function removed(row) { // in another window
  const inList = row.closest("li")
  if (inList) inList.remove()
  else location.reload() // its own page: there is none any more, and that is what it says then
}
