// The live panel: sliders that move number fields (or follow them), and a poll that sleeps with the tab.
// htmx does the asking; without JavaScript the number fields and a button do.

import { watchHealth } from "./health.js"

const live = document.getElementById("live")
const form = document.getElementById("batching")

watchHealth(document.getElementById("health"))
watchLive()
if (form) watchDials()

function watchLive() {
  live.addEventListener("htmx:beforeRequest", (event) => {
    if (document.hidden) event.preventDefault()
  })
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) htmx.trigger(live, "refresh")
  })
  live.addEventListener("htmx:beforeSwap", (event) => {
    event.detail.shouldSwap = event.detail.xhr.status < 400
    live.classList.toggle("lost", !event.detail.shouldSwap)
  })
  live.addEventListener("htmx:sendError", () => live.classList.add("lost"))
}

function watchDials() {
  for (const slider of form.querySelectorAll(".slider")) {
    const field = document.getElementById(slider.dataset.moves)
    const stops = slider.dataset.stops.split(" ").map(Number)
    const follow = () => {
      slider.value = Math.max(0, stops.findLastIndex((stop) => stop <= field.valueAsNumber))
      slider.setAttribute("aria-valuetext", field.value)
    }
    slider.addEventListener("input", () => {
      field.value = stops[slider.value]
      slider.setAttribute("aria-valuetext", field.value)
    })
    field.addEventListener("input", follow)
    // Others change the limits too (glimt tune, another tab); whoever is at the dials is not disturbed.
    live.addEventListener("htmx:afterSettle", () => {
      const now = live.querySelector(".live-head").dataset[field.name === "max_batch" ? "maxBatch" : "maxWaitMs"]
      if (form.contains(document.activeElement) || field.value === now) return
      field.value = now
      follow()
    })
  }
}
