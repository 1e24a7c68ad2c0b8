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
    const { xhr, target } = event.detail
    if (!target.matches(".job")) return
    if (isPoll(event) && xhr.status === 404) target.closest("li")?.remove() // removed in another window
    if (isPoll(event) && xhr.status >= 400) event.detail.shouldSwap = false
    target.classList.toggle("lost", xhr.status >= 400)
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

const isPoll = (event) => event.detail.elt?.matches?.(".job") || event.target.matches?.(".job")
