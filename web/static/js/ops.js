// The live panel: sliders that move number fields (or follow them), and a poll that sleeps with the tab or on demand.
// htmx does the asking; without JavaScript the number fields and a button do.

import { watchHealth } from "./health.js"

const SILENCE = ["htmx:sendError", "htmx:timeout"]

const live = document.getElementById("live")
const hold = document.getElementById("hold")
const form = document.getElementById("batching")

watchHealth(document.getElementById("health"))
watchLive()
if (form) {
  watchDials()
  watchAnswers()
}

function watchLive() {
  live.addEventListener("htmx:beforeRequest", (event) => {
    if (document.hidden || hold.checked) event.preventDefault()
  })
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) htmx.trigger(live, "refresh")
  })
  hold.addEventListener("change", () => htmx.trigger(live, hold.checked ? "htmx:abort" : "refresh"))
  live.addEventListener("htmx:beforeSwap", (event) => {
    event.detail.shouldSwap = event.detail.xhr.status < 400
    live.classList.toggle("lost", !event.detail.shouldSwap)
  })
  for (const silence of SILENCE) live.addEventListener(silence, () => live.classList.add("lost"))
}

function watchDials() {
  const touched = new Set() // moved, and not yet answered; a request that another replaced was not
  for (const slider of form.querySelectorAll(".slider")) {
    const dial = slider.closest(".dial")
    const field = document.getElementById(slider.dataset.moves)
    const stops = slider.dataset.stops.split(" ").map(Number)
    const mine = () => touched.has(field) || dial.matches(":focus-within, :active")
    const follow = () => {
      slider.value = Math.max(0, stops.findLastIndex((stop) => stop <= field.valueAsNumber))
      slider.setAttribute("aria-valuetext", field.value)
    }
    slider.addEventListener("input", () => {
      field.value = stops[slider.value]
      slider.setAttribute("aria-valuetext", field.value)
    })
    field.addEventListener("input", follow)
    dial.addEventListener("change", () => touched.add(field))
    // Others change the limits too (glimt tune, another tab): a dial that nobody here moves follows, and is not sent.
    form.addEventListener("htmx:configRequest", (event) => {
      if (!mine()) delete event.detail.parameters[field.name]
    })
    live.addEventListener("htmx:afterSettle", () => {
      const now = live.querySelector(".live-head").dataset[field.name === "max_batch" ? "maxBatch" : "maxWaitMs"]
      if (mine() || field.value === now) return
      field.value = now
      follow()
    })
  }
  for (const end of ["htmx:afterOnLoad", ...SILENCE]) form.addEventListener(end, () => touched.clear())
}

function watchAnswers() {
  const controls = document.getElementById("controls")
  const said = document.getElementById("batching-said")
  for (const silence of SILENCE) {
    controls.addEventListener(silence, () => {
      said.textContent = "No answer: whether it changed is not known."
    })
  }
  const automatic = document.getElementById("automatic")
  if (!automatic) return
  live.addEventListener("htmx:afterSettle", () => {
    const auto = "auto" in live.querySelector(".live-head").dataset
    automatic.hidden = auto && !automatic.contains(document.activeElement) // focus would be lost
  })
}
