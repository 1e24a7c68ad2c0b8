// The health light: htmx polls it; here it sleeps with the tab and says when nobody answers.

export function watchHealth(light) {
  light.setAttribute("hx-request", '{"timeout": 5000}')
  light.addEventListener("htmx:beforeRequest", (event) => {
    if (document.hidden) event.preventDefault()
  })
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) htmx.trigger(light, "refresh")
  })
  light.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.xhr.status < 400) return
    event.detail.shouldSwap = false
    unreachable(light)
  })
  for (const failure of ["htmx:sendError", "htmx:timeout"]) light.addEventListener(failure, () => unreachable(light))
}

function unreachable(light) {
  light.querySelector(".light").dataset.state = "unreachable"
  light.querySelector(".health-words").textContent = "Not reachable"
}
