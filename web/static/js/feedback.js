// Feedback in a card: htmx sends the forms; here the picture goes along, and an error keeps what was typed.

export function watchFeedback(fileOf, sendPictures) {
  document.body.addEventListener("htmx:configRequest", (event) => {
    const form = event.target
    if (!sendPictures || form.getAttribute("action") !== "/cards/feedback") return
    const file = fileOf(form)
    if (file) event.detail.formData.append("file", file, file.name)
  })
  document.body.addEventListener("htmx:beforeSwap", (event) => {
    const slot = slotOf(event.detail.requestConfig.elt)
    if (!slot || event.detail.xhr.status < 400) return
    event.detail.target = slot
    event.detail.swapOverride = "innerHTML"
  })
  document.body.addEventListener("htmx:sendError", (event) => {
    slotOf(event.target)?.replaceChildren(document.getElementById("offline-template").content.cloneNode(true))
  })
  document.body.addEventListener("htmx:afterSwap", (event) => {
    const card = event.detail.requestConfig?.elt.matches("form") && event.detail.target.closest(".card")
    if (!card) return
    card.querySelector(".thanks, .feedback-ask")?.focus() // the pressed button is gone; read on from here
  })
  document.body.addEventListener("toggle", (event) => {
    if (event.target.matches?.(".wrong") && event.target.open) openCorrection(event.target)
  }, true) // toggle does not bubble
}

function slotOf(element) {
  return element.closest(".feedback")?.querySelector(".feedback-problem")
}

function openCorrection(details) {
  const card = details.closest(".card")
  const form = card.querySelector(".correction")
  const input = form.querySelector("[name=correct_label]")
  const guesses = [...card.querySelectorAll(".reading")].slice(1)
  form.querySelector(".suggestions").replaceChildren(...guesses.map((guess) => chip(guess, input)))
  input.focus()
}

function chip(guess, input) {
  const button = document.createElement("button")
  button.type = "button"
  button.className = "chip"
  button.textContent = guess.querySelector(".reading-label").textContent
  button.addEventListener("click", () => {
    input.value = button.textContent
    input.focus()
  })
  return button
}
